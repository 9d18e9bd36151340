"""The commands and their options."""

from __future__ import annotations

import argparse
from typing import NoReturn

from dashboard.analysis.quantized_forward import MODES
from dashboard.calibration import DEFAULT_BATCHES, DEFAULT_SEQ_LEN, DEFAULT_TEXT
from dashboard.calibration.archive import SUFFIX
from dashboard.checkpoints import DTYPES
from dashboard.cli import columns
from dashboard.cli.analyze import run_analyze
from dashboard.cli.calibrate import run_calibrate
from dashboard.cli.check import run_check
from dashboard.cli.compare import run_compare
from dashboard.cli.export import run_export
from dashboard.cli.impact import run_impact
from dashboard.export import tables
from dashboard.export.impact import IMPACT_FORMATS
from dashboard.formats import DEFAULT_FORMAT
from dashboard.formats import REGISTERED as FORMATS
from dashboard.logs import LEVELS
from dashboard.rules.observers import DEFAULT_ALPHA, DEFAULT_RULE, DEFAULT_SIGMA, RULES


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other fault."""
        self.exit(2, f"dashboard: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Of all commands; each has its function as ``run``."""
    parser = _Parser(prog="python -m dashboard", description="INT8 activation scales of Mamba.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "analyze", help="report the scales of a checkpoint or a calibration file"
    )
    _add_source(command, "directory, Hub id, sample, or a calibration file")
    _add_rule(command)
    command.add_argument(
        "--group-size", type=int, metavar="N", help="one scale for N neighbouring channels"
    )
    command.add_argument(
        "--recommend", action="store_true", help="the best α of each layer, and of the model"
    )
    _add_number_format(command)
    command.add_argument("--layers", metavar="0,3-5", help="default: all")
    command.add_argument(
        "--format",
        choices=tables.FORMATS,
        default="table",
        metavar="FORM",
        help=", ".join(tables.FORMATS),
    )
    command.add_argument("--out", metavar="FILE", help="default: standard output")
    command.set_defaults(run=run_analyze)

    command = commands.add_parser("compare", help="scales side by side, layer by layer")
    columns.add_arguments(command)
    _add_tokenizer(command)
    _add_log_level(command)
    _add_no_store(command)
    command.set_defaults(run=run_compare)

    command = commands.add_parser("calibrate", help="count what the convolutions make, and save it")
    _add_source(command, "directory, Hub id or sample")
    command.add_argument(
        "--gradients",
        action="store_true",
        help="of the model's loss, too: then the best α is the one that is predicted to cost least",
    )
    command.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="sequences in one forward, on a GPU; the result is the same",
    )
    command.add_argument(
        "--dtype",
        choices=DTYPES,
        metavar="DTYPE",
        help="of the forward, on a GPU: float32, bfloat16, float16; default: the weights'",
    )
    command.add_argument("--out", metavar=f"FILE{SUFFIX}", required=True)
    _add_no_store(command)
    command.set_defaults(run=run_calibrate)
    command = commands.add_parser("check", help="is each scale of a quantized checkpoint sound?")
    _add_source(command, "a quantized checkpoint: directory, Hub id or sample")
    command.add_argument(
        "--against", metavar="FLOAT_CHECKPOINT", help="the model it was made of, to judge by"
    )
    command.add_argument(
        "--format", choices=("table", "json"), default="table", metavar="FORM", help="table, json"
    )
    command.add_argument("--out", metavar="FILE", help="default: standard output")
    command.set_defaults(run=run_check)

    command = commands.add_parser("export", help="write scales as Quamba's checkpoints store them")
    _add_source(command, "a float checkpoint: directory, Hub id or sample")
    _add_rule(command)
    command.add_argument(
        "--into",
        metavar="QUANTIZED",
        help="the checkpoint that was made of it: its own groups get the rule's scales; needed "
        "for a W8A8 Mamba-1 and for mixed widths",
    )
    command.add_argument(
        "--out", metavar="OUT", required=True, help="FILE.bin; with --into a new directory"
    )
    _add_no_store(command)
    command.set_defaults(run=run_export)

    command = commands.add_parser("impact", help="what quantized layers cost the model, in nats")
    _add_impact(command)
    return parser


def _add_impact(command: argparse.ArgumentParser) -> None:
    _add_source(command, "a float checkpoint: directory, Hub id or sample")
    _add_rule(command)
    command.add_argument(
        "--group-size", type=int, metavar="N", help="one scale for N neighbouring channels"
    )
    _add_number_format(command)
    command.add_argument(
        "--scales",
        metavar="SOURCE",
        help="a calibration file in place of --text, or a quantized checkpoint, whose stored "
        "scales are taken",
    )
    command.add_argument("--layers", metavar="0,3-5", help="default: all")
    command.add_argument("--slices", metavar="x,B,C", help="default: all")
    command.add_argument(
        "--mode",
        choices=MODES,
        default="output",
        help="what is rounded: the output alone; x, weights and bias alone; or both",
    )
    command.add_argument(
        "--on",
        metavar="FILE",
        help="the text that is judged on; default: --text's batches after the calibrated ones",
    )
    command.add_argument("--on-batches", type=int, default=DEFAULT_BATCHES, metavar="N")
    command.add_argument("--each", action="store_true", help="each layer alone, too")
    command.add_argument(
        "--predict", action="store_true", help="count gradients, and predict what is measured"
    )
    command.add_argument(
        "--budget",
        type=float,
        metavar="NATS",
        help="in place of a rule: plan the cheapest scales that are predicted to keep to so much, "
        "and measure the plan; exit status 1 where it does not keep to it",
    )
    command.add_argument(
        "--entries",
        metavar="FILE.bin",
        help="write the plan as Quamba stores scales: one symmetric scale a slice",
    )
    command.add_argument(
        "--no-store",
        action="store_true",
        help="count and measure all anew, and keep nothing on disk; SCALESCOPE_CALIBRATIONS and "
        "SCALESCOPE_RESULTS name the places",
    )
    command.add_argument(
        "--max-kl", type=float, metavar="NATS", help="exit status 1 where kl_nats is above it"
    )
    command.add_argument(
        "--format",
        choices=IMPACT_FORMATS,
        default="table",
        metavar="FORM",
        help=", ".join(IMPACT_FORMATS),
    )
    command.add_argument("--out", metavar="FILE", help="default: standard output")
    command.set_defaults(run=run_impact)


def _add_rule(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--observer", choices=RULES, default=DEFAULT_RULE, metavar="RULE", help=", ".join(RULES)
    )
    command.add_argument("--alpha", type=float, default=DEFAULT_ALPHA, metavar="A")
    command.add_argument(
        "--sigma", type=float, default=DEFAULT_SIGMA, metavar="S", help="of percentile-ema"
    )
    command.add_argument(
        "--order", type=int, metavar="SEED", help="shuffle the batches for percentile-ema"
    )
    command.add_argument("--asymmetric", action="store_true", help="let 0 have another code than 0")


def _add_no_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-store",
        action="store_true",
        help="count anew, and keep no counts on disk, nor those of a run that is stopped; "
        "SCALESCOPE_CALIBRATIONS names the place",
    )


def _add_number_format(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--number-format",
        choices=FORMATS,
        default=DEFAULT_FORMAT,
        metavar="NAME",
        help=f"of the output: {', '.join(FORMATS)}",
    )


def _add_source(command: argparse.ArgumentParser, help: str) -> None:
    command.add_argument("checkpoint", metavar="CHECKPOINT", help=help)
    command.add_argument("--text", default=DEFAULT_TEXT, metavar="FILE", help="UTF-8 text")
    _add_tokenizer(command)
    command.add_argument("--batches", type=int, default=DEFAULT_BATCHES, metavar="N")
    command.add_argument("--seq-len", type=int, default=DEFAULT_SEQ_LEN, metavar="L")
    _add_log_level(command)


def _add_tokenizer(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tokenizer",
        metavar="SOURCE",
        help="a directory or Hub id with the tokenizer; default: the checkpoint's own, bytes for a "
        "vocabulary of 256, or GPT-NeoX's for state-spaces' models",
    )


def _add_log_level(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--log-level",
        choices=LEVELS,
        metavar="LEVEL",
        help=f"{', '.join(LEVELS)}: what is logged to standard error; default: SCALESCOPE_LOG, or "
        "warning",
    )
