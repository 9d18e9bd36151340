"""``check``: is each scale of a quantized checkpoint sound?"""

from __future__ import annotations

import argparse

from dashboard.analysis import health
from dashboard.calibration import read_text
from dashboard.checkpoints import Checkpoint, load_checkpoint
from dashboard.cli.counts import calibrated_in_passes
from dashboard.cli.options import tokenizer_of
from dashboard.cli.output import UsageError, check_place, write_result
from dashboard.export import tables
from dashboard.rules.channels import channels_of


def run_check(arguments: argparse.Namespace) -> int:
    """Examine a quantized checkpoint; with ``--against``, compare it with the float model."""
    check_place(arguments.out)
    quantized = load_checkpoint(arguments.checkpoint, tolerant=True)
    try:
        report = health.inspect(quantized)
        if arguments.against is not None:
            report = _evaluate(report, quantized, arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    writes = {"table": health.as_table, "json": lambda h: tables.as_json(health.document(h))}
    write_result(writes[arguments.format](report), arguments.out)
    return 0 if report.is_sound else 1


def _evaluate(
    report: health.Health, quantized: Checkpoint, arguments: argparse.Namespace
) -> health.Health:
    model = load_checkpoint(arguments.against)
    if model.is_quantized:
        raise UsageError(f"--against is {arguments.against!r}, which is quantized, too")
    health.check_same_model(quantized, model)
    text = read_text(
        model, arguments.text, arguments.batches, arguments.seq_len, tokenizer_of(arguments)
    )
    layers = sorted(set(quantized.stored_layers) & set(model.layers))
    for calibration in calibrated_in_passes(model, text, layers):
        outputs = channels_of(calibration, model)
        report = health.evaluate(report, quantized, model, calibration, outputs)
    return report
