"""Counts for a command: what an earlier run kept, or what is counted now behind a bar."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from dashboard.calibration import (
    Calibration,
    CalibrationText,
    calibrate,
    calibrate_in_passes,
    calibration_store,
)
from dashboard.calibration.calibration_store import CalibrationStore, CountsKey, counts_key
from dashboard.checkpoints import (
    Checkpoint,
    default_device,
    forward_dtype,
    load_backbone,
    load_language_model,
)
from dashboard.cli.options import tokenizer_directory
from dashboard.cli.output import UsageError, progress_bar
from dashboard.text import captions
from dashboard.text.language import ENGLISH


def check_batch_size(arguments: argparse.Namespace) -> None:
    """Refuse what ``--batch-size`` cannot be."""
    if arguments.batch_size < 1:
        raise UsageError(f"--batch-size is {arguments.batch_size}; it must be at least 1")
    if arguments.gradients and arguments.batch_size > 1:
        raise UsageError("--batch-size does not go with --gradients, counted one at a time")


def counted_now(checkpoint: Checkpoint, text: CalibrationText, gradients: bool) -> Calibration:
    """All layers, counted now, behind a bar."""
    load = load_language_model if gradients else load_backbone
    with progress_bar() as show:
        return calibrate(checkpoint, load(checkpoint), text, gradients=gradients, on_progress=show)


class KeptCounts:
    """What earlier runs counted of a checkpoint on a text; nothing with ``--no-store``."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        checkpoint: Checkpoint,
        text: CalibrationText,
        gradients: bool,
        dtype: str | None = None,
    ) -> None:
        self._arguments, self._checkpoint, self._text = arguments, checkpoint, text
        self._gradients = gradients
        device = default_device()
        self._forward = device, forward_dtype(checkpoint, device, dtype)

    @cached_property
    def _store(self) -> CalibrationStore | None:
        return None if self._arguments.no_store else calibration_store.default_store()

    @cached_property
    def _key(self) -> CountsKey:
        device, dtype = self._forward
        return counts_key(
            self._checkpoint.path,
            self._text.sha256,
            self._text.batches,
            self._text.seq_len,
            self._gradients,
            device,
            self._store,
            tokenizer_directory(self._arguments.tokenizer),
            dtype,
        )

    def get(self) -> Calibration | None:
        """What was kept, or what a sample carries; None where it is to be counted."""
        if self._arguments.no_store:
            return None
        return calibration_store.recalled(self._store, self._checkpoint, self._text.name, self._key)

    def put(self, calibration: Calibration) -> None:
        """Keep it, if it has all layers."""
        if self._store is not None and len(calibration.layers) == self._checkpoint.n_layers:
            self._store.put(self._key, calibration)


def kept_or_counted(
    arguments: argparse.Namespace,
    checkpoint: Checkpoint,
    text: CalibrationText,
    gradients: bool,
    count: Callable[[], Calibration],
) -> Calibration:
    """The counts of an earlier run, of all layers, or what ``count`` makes now, which is kept."""
    kept = KeptCounts(arguments, checkpoint, text, gradients)
    calibration = kept.get()
    if calibration is None:
        calibration = count()
        kept.put(calibration)
    return calibration


def kept_counts(arguments: argparse.Namespace) -> str:
    """How many calibrations are kept on disk, and where; a line, or "" where none may be."""
    store = None if arguments.no_store else calibration_store.default_store()
    if store is None:
        return ""
    return captions.kept_counts_line(store.holdings(), ENGLISH) + "\n"


def calibrated_in_passes(
    checkpoint: Checkpoint, text: CalibrationText, layers: Sequence[int]
) -> Iterator[Calibration]:
    """Every layer with its conv input, as many layers a pass as have room."""
    backbone = load_backbone(checkpoint)
    with progress_bar() as show:
        yield from calibrate_in_passes(checkpoint, backbone, text, layers, on_progress=show)
