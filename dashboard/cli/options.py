"""What a command's options name: a tokenizer, a rule, a number format, layers, slices."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from dashboard.analysis.formats import INT8
from dashboard.calibration import Tokenizer, open_tokenizer
from dashboard.checkpoints import is_hub_id
from dashboard.checkpoints.hub import TOKENIZER_FILES, fetch
from dashboard.cli.output import UsageError
from dashboard.formats import REGISTERED as FORMATS
from dashboard.formats import NumberFormat
from dashboard.rules.observers import ScaleRule

logger = logging.getLogger(__name__)


MOST_LAYERS = 10_000  # of one range; a longer one is refused without being counted out


def tokenizer_of(arguments: argparse.Namespace) -> Tokenizer | None:
    """The one that ``--tokenizer`` names, in place of the checkpoint's own; None without it."""
    directory = tokenizer_directory(arguments.tokenizer)
    if directory is None:
        return None
    try:
        return open_tokenizer(directory)
    except Exception as error:  # each kind of tokenizer has faults of its own
        logger.info("the tokenizer %s", arguments.tokenizer, exc_info=error)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"--tokenizer is {arguments.tokenizer!r}: {reason}") from error


@cache
def tokenizer_directory(name: str | None) -> Path | None:
    """Where a tokenizer's files lie: a directory, or that of the Hub's cache; None for None."""
    if name is None:
        return None
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    if not is_hub_id(name):
        raise UsageError(f"--tokenizer is {name!r}; give a directory, or a Hub id (owner/name)")
    return fetch(name, TOKENIZER_FILES)


def rule_of(arguments: argparse.Namespace, number_format: NumberFormat | None = None) -> ScaleRule:
    """The rule with the settings that the options give it."""
    asymmetric = arguments.asymmetric or (number_format is not None and number_format.is_asymmetric)
    try:
        return ScaleRule(
            arguments.observer, arguments.alpha, arguments.sigma, arguments.order, not asymmetric
        )
    except ValueError as error:
        raise UsageError(f"--{error}") from None


def number_format_of(arguments: argparse.Namespace) -> NumberFormat:
    """What ``--number-format`` names."""
    name = arguments.number_format
    if arguments.asymmetric and name not in INT8:
        own = f"{name}-asymmetric"
        advice = f"; give --number-format {own}" if own in FORMATS else ""
        raise UsageError(f"--asymmetric is for int8, not for --number-format {name}{advice}")
    return FORMATS[name]


def is_other(number_format: NumberFormat) -> bool:
    """Whether it is not INT8, for which all of the reports, and the kernel, are made."""
    return number_format.name not in INT8


def format_name(number_format: NumberFormat, rule: ScaleRule) -> str:
    """As documents have it: of INT8 by the rule, which --asymmetric makes asymmetric."""
    return number_format.name if is_other(number_format) else INT8[0 if rule.symmetric else 1]


def parse_layers(asked: str | None, known: Collection[int]) -> list[int]:
    """ "0,3-5" -> [0, 3, 4, 5]; None -> all. Raises UsageError for any that is not known."""
    if asked is None:
        return sorted(known)
    layers: set[int] = set()
    for piece in asked.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--layers is {asked!r}; give numbers and ranges, as in 0,3-5")
        least, most = int(first), int(last if dash else first)
        layers.update(range(least, min(most, least + MOST_LAYERS) + 1))
    if not layers or layers - set(known):
        raise UsageError(f"--layers is {asked!r}; there are layers {_ranges(sorted(known))}")
    return sorted(layers)


def _ranges(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0 to 2, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def parse_slices(asked: str | None, known: Sequence[str]) -> list[str]:
    """ "x,B" -> ["x", "B"]; None -> all. Raises UsageError for any that is not known."""
    if asked is None:
        return list(known)
    names = [name.strip() for name in asked.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--slices has {unknown[0]!r}; there are {', '.join(known)}")
    return [name for name in known if name in names]
