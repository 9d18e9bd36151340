"""What the claims' choices of scales cost the model, in nats: SQNR is a proxy, loss is the price.

The settings are few, each with INT8 outputs, or those of another format, in all layers and all
slices, on held-out text against the float model. What is not measured yet is not said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dashboard.analysis.impact import Impact, kl_difference
from dashboard.analysis.report import rule_label
from dashboard.analysis.scale_choices import (
    FormatScales,
    ScaleChoice,
    choice_label,
    number_format_of,
)
from dashboard.formats import REGISTERED
from dashboard.rules.observers import PUBLISHED_ALPHAS, ScaleRule
from dashboard.text.language import Language
from dashboard.text.numbers import small, with_error

# The published variants of the soft edge at the published α, and what fits eight bits at its best.
SOFT_EDGES = tuple(
    FormatScales(name, ScaleRule("percentile", PUBLISHED_ALPHAS[0]))
    for name, number_format in REGISTERED.items()
    if number_format.family == "soft-edge"
)
THREE_SEGMENTS = next(own for own in SOFT_EDGES if own.number_format.endswith("three-segments"))
SHIFTED = FormatScales("int8-asymmetric", None)
MINMAX, SCALE_WX = ScaleRule("minmax"), ScaleRule("scale-wx")
LOW, HIGH = (ScaleRule("percentile", alpha) for alpha in PUBLISHED_ALPHAS)


def costed_rules(best_alpha: float) -> tuple[ScaleRule, ...]:
    """The rules that the claims are about, and the α that serves the model best by SQNR."""
    rules = (LOW, HIGH, MINMAX, ScaleRule("percentile", best_alpha), SCALE_WX)
    return tuple(dict.fromkeys(rules))


def costed_scales(best_alpha: float) -> tuple[ScaleChoice, ...]:
    """All that the claims have the cost of: rules with INT8, and other formats."""
    return (*costed_rules(best_alpha), *SOFT_EDGES, SHIFTED)


@dataclass(frozen=True, eq=False)
class ModelCosts:
    """What scales in all layers cost, as far as it was measured, and was predicted, in nats."""

    impacts: Mapping[ScaleChoice, Impact]
    predicted: Mapping[ScaleChoice, float] = field(default_factory=dict)

    def knows(self, *scales: ScaleChoice) -> bool:
        """Whether what each of some choices costs was measured."""
        return all(own in self.impacts for own in scales)

    def sentence(self, rules: Sequence[ScaleRule], say: Language) -> str:
        """Each rule's KL with its error; empty where one was not measured."""
        rules = tuple(dict.fromkeys(rules))
        if not self.knows(*rules):
            return ""
        windows, following = self.impacts[rules[0]].kl.shape
        return say(
            "By loss, with INT8 outputs in all layers, on {windows} held-out windows of {tokens} "
            "tokens, the KL in nats: {costs}.",
            windows=windows,
            tokens=following + 1,
            costs=say.listed(
                say("{kl} with {rule}", kl=self.kl(rule), rule=say(rule_label(rule)))
                for rule in rules
            ),
        )

    def formats_sentence(self, scales: Sequence[ScaleChoice], say: Language) -> str:
        """Each format's KL with its error, and what was predicted; empty where one is missing."""
        if not self.knows(*scales):
            return ""
        windows, following = self.impacts[scales[0]].kl.shape
        return say(
            "By loss, with the outputs of all layers in each format, on {windows} held-out windows "
            "of {tokens} tokens, the KL in nats: {costs}.",
            windows=windows,
            tokens=following + 1,
            costs=say.clauses([self._format_cost(own, say) for own in scales]),
        )

    def _format_cost(self, own: ScaleChoice, say: Language) -> str:
        label = choice_label(own)
        if own in (*SOFT_EDGES, LOW):  # all at the same scale, which the claim names
            label = REGISTERED[number_format_of(own)].label
        named = {"kl": self.kl(own), "format": say(label)}
        if own not in self.predicted:
            return say("{format} {kl}", **named)
        nats = small(self.predicted[own])
        return say("{format} {kl}, predicted {nats}", nats=nats, **named)

    def kl(self, scales: ScaleChoice) -> str:
        """With its standard error, as it is written."""
        kl = self.impacts[scales].kl_nats
        return with_error(kl.mean, kl.error)

    def comparison(self, one: ScaleChoice, other: ScaleChoice, say: Language) -> str:
        """Which of two costs more, paired by window; empty where one was not measured."""
        if one == other or not self.knows(one, other):
            return ""
        difference = kl_difference(self.impacts[one], self.impacts[other])
        names = {"one": say(choice_label(one)), "other": say(choice_label(other))}
        nats = with_error(abs(difference.mean), difference.error)
        if difference.is_noise:
            return say(
                "What {one} and {other} cost differs by {nats}, which is noise.", nats=nats, **names
            )
        if difference.mean > 0:
            return say("{one} costs {nats} more than {other}.", nats=nats, **names)
        return say("{one} costs {nats} less than {other}.", nats=nats, **names)

    def verdict(self, rules: Sequence[ScaleRule], say: Language) -> str:
        """Which rules cost least, as far as that can be told, and whether the loss itself moves.

        Args:
            rules: measured, two at least.
        """
        ranked = sorted(rules, key=lambda rule: self.impacts[rule].kl_nats.mean)
        least = self.impacts[ranked[0]]
        tied = [rule for rule in ranked[1:] if kl_difference(self.impacts[rule], least).is_noise]
        names = {"least": say(rule_label(ranked[0])), "kl": self.kl(ranked[0])}
        if tied:
            first = say(
                "Least KL has {least}, {kl} nats; what {tied} cost beyond it is noise.",
                tied=say.both([say(rule_label(rule)) for rule in tied]),
                **names,
            )
        else:
            first = say("Least KL has {least}, {kl} nats; all others cost more.", **names)
        moved = [rule for rule in ranked if not self.impacts[rule].delta_nats.is_noise]
        if not moved:
            return say.sentences(
                first, say("The loss itself moves by less than its error under each of them.")
            )
        deltas = [self.impacts[rule].delta_nats for rule in moved]
        second = say(
            "The loss itself moves by more than its error under these alone: {moved}.",
            moved=say.listed(
                say(
                    "{delta} with {rule}",
                    delta=with_error(delta.mean, delta.error),
                    rule=say(rule_label(rule)),
                )
                for rule, delta in zip(moved, deltas, strict=True)
            ),
        )
        return say.sentences(first, second)
