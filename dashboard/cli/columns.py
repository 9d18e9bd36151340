"""``python -m dashboard compare``: columns of scales side by side, as the Compare page has them.

    python -m dashboard compare mamba2-small mamba2-small mamba2-small \\
        --number-format int8 fp8-e4m3 int8-asymmetric --alpha 0.9995 best best

A column is a checkpoint, a calibration file, a quantized checkpoint or a published table. Each
option of a column is given once, for all, or once for each column, in their order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from dashboard.analysis.compare import (
    QUANTITIES,
    Column,
    chosen_column,
    compared_rows,
    published_columns,
    stored_column,
)
from dashboard.analysis.scale_choices import BestAlpha, choice_label, choose_scales
from dashboard.calibration import DEFAULT_BATCHES, DEFAULT_SEQ_LEN, DEFAULT_TEXT, Calibration
from dashboard.calibration.archive import is_calibration_file, load_calibration
from dashboard.checkpoints import load_checkpoint
from dashboard.export import tables
from dashboard.formats import DEFAULT_FORMAT
from dashboard.formats import REGISTERED as FORMATS
from dashboard.refusals import Refusal
from dashboard.rules.observers import (
    DEFAULT_ALPHA,
    DEFAULT_RULE,
    REGISTERED,
    SYMMETRIC_RULES,
    ScaleRule,
)
from dashboard.text import captions
from dashboard.text.language import ENGLISH

BEST = "best"  # each layer's own α, or of another format than INT8 its best scale
LETTERS = "ABCDEF"  # of the columns
PER_COLUMN = ("number_format", "observer", "alpha", "text")

# A checkpoint's name and a text's -> what was counted, kept from one column to the next.
Count = Callable[[str, str], Calibration]


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What ``compare`` takes beside the store and the log."""
    published = ", ".join(map(repr, published_columns()))
    command.add_argument(
        "columns",
        nargs="+",
        metavar="COLUMN",
        help=f"directory, Hub id, sample, a calibration file, or a published table: {published}",
    )
    command.add_argument(
        "--number-format",
        nargs="+",
        choices=FORMATS,
        default=[DEFAULT_FORMAT],
        metavar="NAME",
        help=f"of the output: {', '.join(FORMATS)}",
    )
    command.add_argument(
        "--observer",
        nargs="+",
        choices=list(SYMMETRIC_RULES),
        default=[DEFAULT_RULE],
        metavar="RULE",
        help=", ".join(SYMMETRIC_RULES),
    )
    command.add_argument(
        "--alpha",
        nargs="+",
        default=[str(DEFAULT_ALPHA)],
        metavar="A",
        help=f"a number, or {BEST}: each layer's own",
    )
    command.add_argument("--text", nargs="+", default=[DEFAULT_TEXT], metavar="FILE")
    command.add_argument("--batches", type=int, default=DEFAULT_BATCHES, metavar="N")
    command.add_argument("--seq-len", type=int, default=DEFAULT_SEQ_LEN, metavar="L")
    command.add_argument(
        "--quantity",
        choices=QUANTITIES,
        default="sqnr_db",
        metavar="NAME",
        help=f"of the table: {', '.join(QUANTITIES)}; csv and json have all",
    )
    command.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", metavar="FORM",
        help="table, csv, json",
    )  # fmt: skip
    command.add_argument("--out", metavar="FILE", help="default: standard output")


def compare(arguments: argparse.Namespace, count: Count) -> str:
    """The comparison as ``--format`` says.

    Raises Refusal for what does not go together.
    """
    names = arguments.columns
    if not 2 <= len(names) <= len(LETTERS):
        raise Refusal(
            "{given} columns were given; compare takes 2 to {most}",
            given=len(names),
            most=len(LETTERS),
        )
    number_formats, observers, alphas, texts = (
        _spread(name, getattr(arguments, name), len(names)) for name in PER_COLUMN
    )
    columns = [
        _column(name, number_format, observer, alpha, text, count)
        for name, number_format, observer, alpha, text in zip(
            names, number_formats, observers, alphas, texts, strict=True
        )
    ]
    if arguments.format == "csv":
        return tables.rows_as_csv(compared_rows(columns))
    if arguments.format == "json":
        return tables.as_json(
            {
                "columns": [column.label for column in columns],
                "number_formats": [column.number_format for column in columns],
                "batches": arguments.batches,
                "seq_len": arguments.seq_len,
                "rows": compared_rows(columns),
            }
        )
    return _table(columns, arguments.quantity)


def _spread(name: str, given: Sequence[str], columns: int) -> list[str]:
    """A value for each column, of one or of as many."""
    if len(given) not in (1, columns):
        raise Refusal(
            "--{option} has {given} values for {columns} columns; give one, or one for each",
            option=name.replace("_", "-"),
            given=len(given),
            columns=columns,
        )
    return list(given) * (1 if len(given) == columns else columns)


def _column(
    name: str, number_format: str, observer: str, alpha: str, text: str, count: Count
) -> Column:
    published = published_columns()
    stored = None
    if name in published:
        stored = published[name]
    elif not is_calibration_file(name):
        checkpoint = load_checkpoint(name)
        if checkpoint.is_quantized:
            stored = stored_column(f"{name}, stored", checkpoint)
    if stored is not None:
        if number_format != DEFAULT_FORMAT:
            raise Refusal(
                "{name} has stored INT8 scales; the format {value} needs a checkpoint with float "
                "weights",
                name=name,
                value=number_format,
            )
        return stored
    choice = choose_scales(number_format, _rule(observer, alpha))
    counted = load_calibration(name) if is_calibration_file(name) else count(name, text)
    words = [counted.origin.checkpoint, choice_label(choice)]
    words += [counted.origin.text] * (counted.origin.text != DEFAULT_TEXT)
    return chosen_column(", ".join(words), counted.layers, choice)


def _rule(observer: str, alpha: str) -> ScaleRule | BestAlpha:
    if alpha == BEST and REGISTERED[observer].uses_alpha:
        return BestAlpha(observer)
    try:
        return ScaleRule(observer, DEFAULT_ALPHA if alpha == BEST else float(alpha))
    except ValueError as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(
            "--alpha is {value}; give a number above 0 and at most 1, or {best}",
            value=repr(alpha),
            best=BEST,
        ) from None


def _table(columns: Sequence[Column], quantity: str) -> str:
    """One quantity of every layer under the columns' letters, and what follows from all."""
    rows = captions.compare_rows(columns, quantity, ENGLISH)
    names = ["layer", "A"]
    for letter in LETTERS[1 : len(columns)]:
        names += [letter, f"{letter} against A"]
    lines = [
        *captions.column_names(columns, ENGLISH),
        "",
        quantity,
        *tables.aligned(names, [[str(cell) for cell in row.values()] for row in rows]),
        "",
        captions.compare_headline(columns, quantity, ENGLISH),
        captions.compare_verdict(columns, ENGLISH).replace("**", ""),
    ]
    return "\n".join([*lines, ""])
