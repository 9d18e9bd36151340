"""What a scale rule is, and the register of them all.

A rule looks at a layer's histograms and gives the scale of its INT8 output. Each stands in a file
of its own in ``dashboard/rules/observers`` and registers itself there with everything that the rest
of the project says or asks about it: boxes, labels, help, the command line, tables and snippets
read it here. Adding a rule is adding its file.

Most rules choose ``amax``, the magnitude that code 127 stands for; the scale is amax / 127. SiLU
never goes below -0.2785, so a scale that treats both signs alike strands nearly half of the codes.
*Asymmetric* INT8 spans a range low … high with all 256 codes and moves the code of 0; the rules
that choose a range, and not a magnitude, are defined for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, overload

import numpy as np

from dashboard.calibration.histogram import Histogram
from dashboard.refusals import Refusal
from dashboard.rules.alphas import DEFAULT_ALPHA
from kernels.int8 import QMAX, QMIN, SCALE_MIN, scale_from_amax

DEFAULT_RULE = "percentile"
DEFAULT_SIGMA = 0.01  # Quamba's


@dataclass(frozen=True)
class OutputScale:
    """x_out_scale, real units per code (a float32), and the code of 0."""

    scale: float
    zero_point: int = 0


class Observed(Protocol):
    """What a rule may know of a slice: see ``calibration.SliceCalibration``."""

    @property
    def silu_input(self) -> Histogram: ...

    @property
    def silu_output(self) -> Histogram: ...

    @property
    def batches(self) -> Sequence[Histogram]: ...

    @property
    def scale_wx(self) -> float: ...


# What a rule may give, from its settings, the histogram of y and those of each batch of y …
Amax = Callable[["ScaleRule", Histogram, Sequence[Histogram]], float]
Range = Callable[["ScaleRule", Histogram, Sequence[Histogram]], OutputScale]
# … or, for one that does not look at y, from anything else about the slice: a float32 scale.
Scale = Callable[["ScaleRule", Observed], float]
Given = TypeVar("Given", Amax, Range, Scale)


@dataclass(frozen=True)
class Rule:
    """A scale rule: what it is called, what it needs, and how it chooses.

    At least one of ``amax``, ``scale`` and ``asymmetric_scale`` is there; the first two are two
    ways to a symmetric scale.
    """

    name: str  # as the command line, links and files have it
    # One line, without a full stop. It and the labels are a ``Message`` where they are words.
    help: str
    label: str  # of a row or a cut; "{alpha}" and "{sigma}" stand for the settings
    short: str  # the label where room is scarce
    amax: Amax | None = None
    scale: Scale | None = None
    asymmetric_scale: Range | None = None
    uses_alpha: bool = False
    averages: bool = False  # over the batches, so that σ and their order matter
    grouped: bool = False  # also for groups of channels
    baseline: bool = False  # what a choice is held to, and none to make
    # Plain torch and numpy: of v (the float conv), y (|SiLU output|) in float16, x and w, with
    # {alpha} and {sigma}; the last line is the amax. None where that takes too many lines.
    snippet: str | None = None

    @property
    def symmetric(self) -> bool:
        """Whether it gives symmetric scales."""
        return self.amax is not None or self.scale is not None

    @property
    def asymmetric(self) -> bool:
        """Whether it gives scales with a zero point."""
        return self.asymmetric_scale is not None


REGISTERED: dict[str, Rule] = {}  # by name, in the order in which boxes and tables list them


def register(
    name: str,
    *,
    help: str,
    label: str = "",
    short: str = "",
    gives: Literal["amax", "scale", "asymmetric"] = "amax",
    asymmetric: Range | None = None,
    uses_alpha: bool = False,
    averages: bool = False,
    grouped: bool = False,
    baseline: bool = False,
    snippet: str | None = None,
) -> Callable[[Given], Given]:
    """Register the function below as a scale rule; the rest is as ``Rule`` has it.

    Args:
        help, label, short: each a ``Message``, so that a page can put it into its reader's
            language. Without the last two a rule goes by its name, or its label.
        gives: what the function gives: an amax, a symmetric scale, or a scale with a zero point.
        asymmetric: beside an amax, the function that gives a scale with a zero point.

    Raises ValueError for a name that is taken, and for groups without an amax.
    """
    if name in REGISTERED:
        raise ValueError(f"a scale rule named {name!r} is registered already")
    if grouped and gives != "amax":
        raise ValueError(f"{name} gives no amax; groups of channels need one each")

    def registered(function: Given) -> Given:
        functions: dict[str, Any] = {"asymmetric_scale": asymmetric}
        functions["asymmetric_scale" if gives == "asymmetric" else gives] = function
        REGISTERED[name] = Rule(
            name,
            help,
            label or name,
            short or label or name,
            **functions,
            uses_alpha=uses_alpha,
            averages=averages,
            grouped=grouped,
            baseline=baseline,
            snippet=snippet,
        )
        return function

    return registered


class Names(Sequence[str]):
    """The names of those registered rules that a condition picks, in order, as of now."""

    def __init__(self, picks: Callable[[Rule], bool]) -> None:
        self._picks = picks

    def _now(self) -> tuple[str, ...]:
        return tuple(rule.name for rule in REGISTERED.values() if self._picks(rule))

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._now()[index]

    def __len__(self) -> int:
        return len(self._now())


RULES = Names(lambda rule: True)
ALPHA_RULES = Names(lambda rule: rule.uses_alpha)
SYMMETRIC_RULES = Names(lambda rule: rule.symmetric)
ASYMMETRIC_RULES = Names(lambda rule: rule.asymmetric)
CHANNEL_RULES = Names(lambda rule: rule.grouped)
SNIPPET_RULES = Names(lambda rule: rule.snippet is not None)


@dataclass(frozen=True)
class ScaleRule:
    """A rule with its settings; each setting is used by the rules that have it.

    ``alpha`` in (0, 1] and ``sigma`` in (0, 1] are checked for every rule. ``order`` is the seed
    that shuffles the batches for the moving average; None keeps the order in which they were read.

    Raises Refusal for a setting that is not allowed, or a kind of scale that the rule has not.
    """

    observer: str = DEFAULT_RULE
    alpha: float = DEFAULT_ALPHA
    sigma: float = DEFAULT_SIGMA
    order: int | None = None
    symmetric: bool = True

    def __post_init__(self) -> None:
        if self.observer not in REGISTERED:
            raise Refusal(
                "observer is {value}; allowed are {rules}",
                value=repr(self.observer),
                rules=tuple(RULES),
            )
        if not 0.0 < self.alpha <= 1.0:
            raise Refusal("alpha is {value}; a percentile needs 0 < alpha <= 1", value=self.alpha)
        if not 0.0 < self.sigma <= 1.0:
            raise Refusal(
                "sigma is {value}; a moving average needs 0 < sigma <= 1", value=self.sigma
            )
        if self.order is not None and self.order < 0:
            raise Refusal("order is {value}; the seed of a shuffle is at least 0", value=self.order)
        if not self.symmetric and not self.registered.asymmetric:
            raise Refusal(
                "{rule} is defined for symmetric INT8 alone; asymmetric are {rules}",
                rule=self.observer,
                rules=tuple(ASYMMETRIC_RULES),
            )
        if self.symmetric and not self.registered.symmetric:
            raise Refusal(
                "{rule} is defined for asymmetric INT8 alone; symmetric are {rules}",
                rule=self.observer,
                rules=tuple(SYMMETRIC_RULES),
            )

    @property
    def registered(self) -> Rule:
        """The rule itself, without settings."""
        return REGISTERED[self.observer]


def output_scale(rule: ScaleRule, observed: Observed) -> OutputScale:
    """The scale that a rule gives a slice, at least 1e-6."""
    registered = rule.registered
    if not rule.symmetric:
        assert registered.asymmetric_scale is not None  # ScaleRule refuses what has none
        return registered.asymmetric_scale(rule, observed.silu_output, observed.batches)
    if registered.scale is not None:
        return OutputScale(registered.scale(rule, observed))
    return OutputScale(scale_from_amax(amax(rule, observed.silu_output, observed.batches)))


def amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram] = ()) -> float:
    """The magnitude that code 127 stands for, by a rule that looks at SiLU's output alone.

    Args:
        output: the histogram of y: of a slice, a group of channels or one channel.
        batches: the same for each batch, in the order read; for "percentile-ema" alone.

    Raises ValueError for a rule that gives a scale and no amax.
    """
    if rule.registered.amax is None:
        raise ValueError(f"{rule.observer} does not look at SiLU's output")
    return rule.registered.amax(rule, output, batches)


def range_scale(low: float, high: float) -> OutputScale:
    """The scale and zero point that spread 256 codes over low … high, widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(np.float32((high - low) / (QMAX - QMIN)), np.float32(SCALE_MIN))
    zero_point = QMIN + math.floor(-low / float(scale) + 0.5)
    return OutputScale(float(scale), min(max(zero_point, QMIN), QMAX))
