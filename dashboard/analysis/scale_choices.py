"""Which scales all slices of a model have: by a rule, at each one's best α, or in a number format.

A choice is a name and settings, so that it can be a key; what comes of it, a slice's scale or the
points of its codebook, is made of what was counted of the slice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from dashboard.analysis.prediction import PlannedLayer, plan_layers, plan_slices
from dashboard.analysis.report import rule_label
from dashboard.calibration import Calibration, SliceCalibration
from dashboard.checkpoints import Checkpoint
from dashboard.formats import FormatReport, best_format, format_named, format_under_rule
from dashboard.messages import Message
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ASYMMETRIC_RULES, REGISTERED, ScaleRule, output_scale


@dataclass(frozen=True)
class BestAlpha:
    """A rule that uses α, each slice with the one that gives it the most SQNR."""

    observer: str
    symmetric: bool = True

    def rule_of(self, counted: SliceCalibration) -> ScaleRule:
        """The rule of one slice."""
        landscape = Landscape.of(counted.silu_output, symmetric=self.symmetric)
        return ScaleRule(self.observer, landscape.best_alpha, symmetric=self.symmetric)


@dataclass(frozen=True)
class FormatScales:
    """Another number format than INT8, each slice with the scale that a rule gives it.

    ``rule`` is None for the scale, or of a fitted format the points, with the least squared error.
    """

    number_format: str
    rule: ScaleRule | None

    def report_of(self, counted: SliceCalibration) -> FormatReport:
        """The format on one slice."""
        number_format = format_named(self.number_format)
        if self.rule is None:
            return best_format(number_format, counted)
        return format_under_rule(number_format, self.rule, counted)


ScaleChoice = ScaleRule | BestAlpha | FormatScales


def choose_scales(number_format: str, rule: ScaleRule | BestAlpha) -> ScaleChoice:
    """A format's scales by a symmetric rule, or the best ones there are.

    INT8 has a rule's own scale, and with a zero point its asymmetric one. Each slice's best α means
    in another format than INT8 the best scale; a fitted format has no use for a rule.

    Raises Refusal for another name, and for a rule that has no scale with a zero point where the
    format has one.
    """
    registered = format_named(number_format)
    if number_format == "int8":
        return rule
    if registered.is_asymmetric:
        if isinstance(rule, BestAlpha) and rule.observer not in ASYMMETRIC_RULES:
            rule = ScaleRule(rule.observer)  # which refuses what follows
        rule = replace(rule, symmetric=False)
        if number_format == "int8-asymmetric":
            return rule
    if registered.is_fitted or isinstance(rule, BestAlpha):
        return FormatScales(number_format, None)
    return FormatScales(number_format, rule)


def number_format_of(choice: ScaleChoice) -> str:
    """The name of the format that the scales are of."""
    if isinstance(choice, FormatScales):
        return choice.number_format
    return "int8" if choice.symmetric else "int8-asymmetric"


def choice_label(choice: ScaleChoice) -> str:
    """The format, where it is not INT8, and the rule with its settings: a ``Message``."""
    if isinstance(choice, ScaleRule):
        return rule_label(choice)
    if isinstance(choice, BestAlpha):
        label = Message("best α by {rule}", rule=choice.observer)
        return label if choice.symmetric else Message("{rule}, asymmetric", rule=label)
    registered = format_named(choice.number_format)
    if registered.is_fitted:
        return registered.label
    if choice.rule is None:
        return Message("{format}, best scale", format=registered.label)
    symmetric = replace(choice.rule, symmetric=True) if _is_both(choice.rule) else choice.rule
    return Message("{format}, {rule}", format=registered.label, rule=rule_label(symmetric))


def _is_both(rule: ScaleRule) -> bool:
    """Whether its name says nothing of symmetry, so that the format's may."""
    return REGISTERED[rule.observer].symmetric


def plan_choice(
    checkpoint: Checkpoint,
    calibration: Calibration,
    choice: ScaleChoice,
    names: Collection[str] | None = None,
) -> dict[int, PlannedLayer]:
    """Every calibrated layer with the chosen scales, by its number; ``names`` as ``plan_layers``.

    Raises ValueError for a name that is no slice's.
    """
    if isinstance(choice, ScaleRule):
        return plan_layers(checkpoint, calibration, choice, names)
    if isinstance(choice, BestAlpha):
        return plan_slices(
            checkpoint,
            calibration,
            lambda counted: output_scale(choice.rule_of(counted), counted),
            names,
        )
    return plan_slices(
        checkpoint, calibration, lambda counted: choice.report_of(counted).codebook, names
    )
