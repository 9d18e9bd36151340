"""What is raised where a text or a model cannot be calibrated."""

from __future__ import annotations

import logging

from dashboard.checkpoints import Checkpoint
from dashboard.checkpoints.weights import ran_out_of_memory
from dashboard.refusals import Refusal

logger = logging.getLogger(__name__)


class CalibrationError(Refusal):
    """Text or activations that cannot be calibrated on. One sentence, with what to do."""


def model_fault(error: Exception, checkpoint: Checkpoint, seq_len: int) -> CalibrationError:
    """What to raise for whatever a strange configuration made transformers raise.

    Args:
        seq_len: tokens of the batch that ran, which may have been too many.
    """
    if ran_out_of_memory(error):
        return CalibrationError(
            "{path}: {seq_len} tokens a batch take more memory than there is; ask for shorter "
            "batches: {reason}",
            path=checkpoint.path,
            seq_len=seq_len,
            reason=first_line(error),
        )
    logger.info("running %s", checkpoint.path, exc_info=error)
    return CalibrationError(
        "{path}: the model cannot be run: {reason}",
        path=checkpoint.path,
        reason=first_line(error),
    )


def first_line(error: BaseException) -> str:
    """What an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
