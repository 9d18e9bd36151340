"""``export``: write scales as Quamba's checkpoints store them."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from dashboard.analysis import health
from dashboard.analysis.report import LayerReport, report_slices
from dashboard.calibration import CalibrationText, read_text
from dashboard.calibration.whole_files import whole_directory, write_whole
from dashboard.checkpoints import Checkpoint, load_checkpoint, open_weights
from dashboard.cli.counts import calibrated_in_passes, counted_now, kept_or_counted
from dashboard.cli.options import rule_of, tokenizer_of
from dashboard.cli.output import UsageError, check_place
from dashboard.export import quamba_entries
from dashboard.refusals import Refusal
from dashboard.rules.channels import channels_of
from dashboard.rules.observers import ScaleRule


def run_export(arguments: argparse.Namespace) -> int:
    """Scales as entries of Quamba's; with ``--into``, a whole checkpoint that holds them."""
    rule, out = rule_of(arguments), Path(arguments.out)
    if reason := quamba_entries.refusal(rule):
        raise UsageError(reason)
    check_place(arguments.out, is_directory=arguments.into is not None)
    model = load_checkpoint(arguments.checkpoint)
    if model.architecture.is_hybrid:
        raise UsageError(
            f"{model.path} is a hybrid ({model.family}), of which Quamba has no checkpoints"
        )
    text = read_text(
        model, arguments.text, arguments.batches, arguments.seq_len, tokenizer_of(arguments)
    )
    try:
        if arguments.into is None:
            if out.suffix != ".bin":
                raise UsageError(f"--out is {arguments.out!r}; give a file that ends in .bin")
            calibration = kept_or_counted(
                arguments, model, text, False, lambda: counted_now(model, text, False)
            )
            reports = [
                LayerReport(layer.layer, report_slices(layer, rule), None)
                for layer in calibration.layers
            ]
            groups = model.architecture.n_groups
            entries = quamba_entries.scale_entries(reports, groups)
            write_whole(out, quamba_entries.as_bytes(entries))
        else:
            _export_into(load_checkpoint(arguments.into), model, text, rule, out)
    except Refusal:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    return 0


def _export_into(
    quantized: Checkpoint, model: Checkpoint, text: CalibrationText, rule: ScaleRule, out: Path
) -> None:
    if not quantized.stored:
        raise UsageError(f"--into is {quantized.path}, which stores no scales to replace")
    health.check_same_model(quantized, model)
    if out.exists():
        raise UsageError(f"--out is {str(out)!r}, which exists; give a directory to be made")
    weights = open_weights(quantized.weights_path)
    state = {name: weights.read(name) for name in weights.files} | weights.numbers
    changed: dict[str, object] = {}
    for calibration in calibrated_in_passes(model, text, list(quantized.stored_layers)):
        changed |= quamba_entries.replaced(
            state, quantized, model, calibration.layers, channels_of(calibration, model), rule
        )
    with whole_directory(out) as directory:
        for file in sorted(quantized.path.iterdir()):
            if file.is_file() and not file.name.endswith((".bin", ".safetensors", ".index.json")):
                shutil.copyfile(file, directory / file.name)
        write_whole(directory / "pytorch_model.bin", quamba_entries.as_bytes(state | changed))
