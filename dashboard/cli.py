"""The same reports without a browser: ``python -m dashboard analyze CHECKPOINT``.

Exit status 0; 2, with one line on standard error, for anything wrong with what was given.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    Calibration,
    CalibrationError,
    CalibrationText,
    Progress,
    calibrate,
    read_text,
)
from dashboard.checkpoints import (
    Checkpoint,
    CheckpointError,
    default_device,
    load_backbone,
    load_checkpoint,
)
from dashboard.observers import DEFAULT_ALPHA, DEFAULT_RULE, RULES
from dashboard.report import (
    LayerReport,
    SliceReport,
    quantize_conv,
    report_slices,
    run_kernel,
)

# Conv inputs held at once while the kernel runs; a larger model is calibrated in several passes.
CAPTURE_BYTES = 2**30

TABLE_COLUMNS = {
    "layer": "{}",
    "x_scale": "{:.8f}",
    "w_scale": "{:.8f}",
    "scale_wx": "{:.8f}",
    "x_out_scale": "{:.8f}",
    "ratio_weight": "{:.4f}",
    "ratio_wx": "{:.1f}",
    "saturation_rate": "{:.2e}",
    "code_utilization": "{:.3f}",
    "effective_bits": "{:.2f}",
    "sqnr_db": "{:.2f}",
    "kernel_sqnr_db": "{:.2f}",
    "kernel_differing_codes": "{}",
}


class UsageError(ValueError):
    """An argument that cannot be used."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        document = analyze(arguments)
        written = FORMATS[arguments.format](document)
        if arguments.out:
            Path(arguments.out).write_text(written, encoding="utf-8")
        else:
            sys.stdout.write(written)
    except (CheckpointError, CalibrationError, UsageError, OSError) as error:
        print(f"dashboard: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def analyze(arguments: argparse.Namespace) -> dict:
    """Calibrate a checkpoint and report on its layers: the document of ``--format json``."""
    if not 0.0 < arguments.alpha <= 1.0:
        raise UsageError(f"--alpha is {arguments.alpha}; it must lie in (0, 1]")
    checkpoint = load_checkpoint(arguments.checkpoint)
    layers = parse_layers(arguments.layers, checkpoint.n_layers)
    text = read_text(checkpoint, arguments.text, arguments.batches, arguments.seq_len)
    reports = [
        _report_layer(checkpoint, calibration, layer, arguments)
        for calibration in _calibrate_in_passes(checkpoint, text, layers)
        for layer in (capture.layer for capture in calibration.captures)
    ]
    return {
        "checkpoint": checkpoint.name,
        "family": checkpoint.family,
        "backend": reports[0].kernel.backend,
        "text": text.name,
        "batches": text.batches,
        "seq_len": text.seq_len,
        "observer": arguments.observer,
        "alpha": arguments.alpha,
        "layers": [report.as_dict() for report in reports],
    }


def _calibrate_in_passes(
    checkpoint: Checkpoint, text: CalibrationText, layers: Sequence[int]
) -> Iterator[Calibration]:
    """As many layers a pass as their conv inputs fit in ``CAPTURE_BYTES``."""
    backbone = load_backbone(checkpoint)
    layer_bytes = 4 * text.tokens.numel() * checkpoint.conv_dim
    size = max(1, CAPTURE_BYTES // layer_bytes)
    for first in range(0, len(layers), size):
        group = layers[first : first + size]
        yield calibrate(
            checkpoint, backbone, text, layers=group, keep=group, on_progress=_show_progress
        )
    _clear_progress()


def _report_layer(
    checkpoint: Checkpoint, calibration: Calibration, layer: int, arguments: argparse.Namespace
) -> LayerReport:
    slices = report_slices(
        checkpoint, calibration.layer(layer), arguments.observer, arguments.alpha
    )
    conv = quantize_conv(
        calibration.capture(layer),
        checkpoint.slices,
        [part.scales for part in slices],
        default_device(),
    )
    return LayerReport(layer, slices, run_kernel(conv, _output_scales(slices)))


def _output_scales(slices: Sequence[SliceReport]) -> list[float]:
    return [part.chosen.x_out_scale for part in slices]


def parse_layers(wanted: str | None, n_layers: int) -> list[int]:
    """ "0,3-5" -> [0, 3, 4, 5]; None -> all. Raises UsageError for anything else."""
    if wanted is None:
        return list(range(n_layers))
    layers: set[int] = set()
    for piece in wanted.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--layers is {wanted!r}; give numbers and ranges, as in 0,3-5")
        layers.update(range(int(first), int(last if dash else first) + 1))
    beyond = [layer for layer in sorted(layers) if layer >= n_layers]
    if beyond or not layers:
        raise UsageError(f"--layers is {wanted!r}; the checkpoint has layers 0 to {n_layers - 1}")
    return sorted(layers)


def _show_progress(progress: Progress) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress}\033[K", end="", file=sys.stderr, flush=True)


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _as_json(document: dict) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _as_csv(document: dict) -> str:
    """A line a slice; ``slice`` names it, the other columns are the JSON's keys."""
    rows = list(_slice_rows(document))
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def _slice_rows(document: dict) -> Iterator[dict]:
    for layer in document["layers"]:
        nested = {name: value for name, value in layer.items() if isinstance(value, dict)}
        own = {name: value for name, value in layer.items() if name not in nested}
        own["shape"] = str(tuple(own["shape"]))
        yield {"slice": "x", **own}
        for name, measures in nested.items():
            yield {"slice": name, **own, **measures, "shape": str(tuple(measures["shape"]))}


def _as_table(document: dict) -> str:
    head = (
        f"{document['checkpoint']} ({document['family']}), {document['batches']} × "
        f"{document['seq_len']} tokens of {document['text']}, {document['observer']}"
        + (f" α {document['alpha']:g}" if document["observer"] == "percentile" else "")
        + f", {document['backend']}"
    )
    cells = [list(TABLE_COLUMNS)] + [
        [form.format(layer[name]) for name, form in TABLE_COLUMNS.items()]
        for layer in document["layers"]
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(TABLE_COLUMNS))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([head, "", *lines, ""])


FORMATS = {"table": _as_table, "csv": _as_csv, "json": _as_json}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        """One line, as for every other fault."""
        self.exit(2, f"dashboard: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m dashboard", description="INT8 activation scales of Mamba.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("analyze", help="calibrate a checkpoint and report its scales")
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="directory, Hub id or sample")
    command.add_argument("--text", default=DEFAULT_TEXT, metavar="FILE", help="UTF-8 text")
    command.add_argument("--batches", type=int, default=DEFAULT_BATCHES, metavar="N")
    command.add_argument("--seq-len", type=int, default=DEFAULT_SEQ_LEN, metavar="L")
    command.add_argument(
        "--observer", choices=RULES, default=DEFAULT_RULE, metavar="RULE", help=", ".join(RULES)
    )
    command.add_argument("--alpha", type=float, default=DEFAULT_ALPHA, metavar="A")
    command.add_argument("--layers", metavar="0,3-5", help="default: all")
    command.add_argument("--format", choices=FORMATS, default="table")
    command.add_argument("--out", metavar="FILE", help="default: standard output")
    return parser
