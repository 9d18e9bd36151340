"""``calibrate``: count what the convolutions make, and save it, alone or with other processes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from dashboard.calibration import Calibration, CalibrationText, read_text
from dashboard.calibration.archive import SUFFIX, fingerprint, save_calibration
from dashboard.calibration.forward import forward_of
from dashboard.calibration.processes import Processes, launched_processes
from dashboard.calibration.unfinished import (
    Segments,
    calibrate_to_the_end,
    default_directory,
    segments_of,
)
from dashboard.checkpoints import (
    DTYPES,
    Checkpoint,
    backbone_of,
    load_backbone,
    load_checkpoint,
    load_language_model,
)
from dashboard.cli.counts import KeptCounts, check_batch_size, kept_counts
from dashboard.cli.options import tokenizer_of
from dashboard.cli.output import (
    STOPPED,
    UsageError,
    check_place,
    progress_bar,
    write_line,
    write_note,
)


def run_calibrate(arguments: argparse.Namespace) -> int:
    """Calibrate every layer and save the counts."""
    out = Path(arguments.out)
    if out.suffix != SUFFIX:
        raise UsageError(f"--out is {arguments.out!r}; a calibration file ends in {SUFFIX}")
    check_place(arguments.out)
    checkpoint = load_checkpoint(arguments.checkpoint)
    text = read_text(
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, tokenizer_of(arguments)
    )
    check_batch_size(arguments)
    unfinished: list[Segments] = []
    with launched_processes() as processes:
        kept = KeptCounts(arguments, checkpoint, text, arguments.gradients, arguments.dtype)
        try:
            calibration = kept.get() if processes.is_first else None
            if not processes.all_objects(calibration is not None)[0]:
                calibration = _count_to_the_end(arguments, checkpoint, text, processes, unfinished)
                if calibration is not None:
                    kept.put(calibration)
        except KeyboardInterrupt:
            goes_on = (
                "" if arguments.no_store else "; the same command goes on from what was counted"
            )
            write_line(f"stopped{goes_on}")
            return STOPPED
        if calibration is not None:
            origin = replace(calibration.origin, fingerprint=fingerprint(checkpoint))
            save_calibration(out, replace(calibration, origin=origin))
            write_line(
                f"{out}: the counts of {len(calibration.layers)} layers of {origin.checkpoint} on "
                f"{origin.batches} × {origin.seq_len} tokens of {origin.text}"
            )
        processes.wait()
        for segments in unfinished:
            segments.remove()
    if calibration is not None:
        write_note(sys.stdout, kept_counts(arguments))
    return 0


def _count_to_the_end(
    arguments: argparse.Namespace,
    checkpoint: Checkpoint,
    text: CalibrationText,
    processes: Processes,
    unfinished: list[Segments],
) -> Calibration | None:
    """Count all layers, from where an earlier run was stopped; None but in the first process.

    Adds to ``unfinished`` what has to be removed once the calibration is written.
    """
    load = load_language_model if arguments.gradients else load_backbone
    model = load(checkpoint, processes.device, DTYPES.get(arguments.dtype))
    backbone = backbone_of(model)
    directory = None if arguments.no_store else default_directory()
    segments = segments_of(directory, checkpoint, backbone, text, arguments.gradients)
    unfinished.append(segments)
    with progress_bar(processes.is_first) as show:
        calibration = calibrate_to_the_end(
            checkpoint,
            model,
            text,
            segments,
            processes,
            gradients=arguments.gradients,
            batch_size=arguments.batch_size,
            on_progress=show,
        )
    if processes.is_first:
        together = f", {processes.size} processes" if processes.size > 1 else ""
        write_line(
            f"{text.batches} batches of {text.seq_len} tokens counted; the forward ran in "
            f"{forward_of(backbone)}{together}"
        )
    return calibration
