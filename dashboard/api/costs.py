"""What scales cost the model: measured settings, and plans within a budget."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dashboard.analysis.budget import BudgetPlan
from dashboard.analysis.impact import FloatRun, MeasuredSetting
from dashboard.api.shown import table
from dashboard.calibration.whole_files import write_whole
from dashboard.export import quamba_entries, tables
from dashboard.export.impact import budget_document
from dashboard.refusals import Refusal
from dashboard.text import captions
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import percent, small, spans, with_error


@dataclass(frozen=True, eq=False, repr=False)
class Impact:
    """What quantized layers cost the model, against the float one, token by token.

    The first of ``settings`` is of all layers together; with ``each``, one of each layer alone
    follows. The measures here are the first one's, in nats a token.
    """

    settings: tuple[MeasuredSetting, ...]
    run: FloatRun

    @property
    def kl_nats(self) -> float:
        """Mean KL(float ‖ quantized) of the predictions of the next token."""
        return self.settings[0].impact.kl_nats.mean

    @property
    def kl_nats_error(self) -> float | None:
        """Its standard error over windows; None of a single window."""
        return self.settings[0].impact.kl_nats.error

    @property
    def delta_nats(self) -> float:
        """How much the loss rises."""
        return self.settings[0].impact.delta_nats.mean

    @property
    def delta_nats_error(self) -> float | None:
        """Its standard error over windows, paired."""
        return self.settings[0].impact.delta_nats.error

    @property
    def same_top(self) -> float:
        """The share of tokens whose most likely next token stays."""
        return self.settings[0].impact.same_top.mean

    @property
    def predicted_nats(self) -> float | None:
        """What was predicted for ``kl_nats``; None where no gradients were counted."""
        return self.settings[0].predicted_nats

    def table(self) -> list[dict]:
        """A row a setting, under the names of the measures: what pandas.DataFrame takes."""
        return [{"layers": entry.layers, **entry.measures()} for entry in self.settings]

    def __repr__(self) -> str:
        return f"<{captions.impact_verdict(self.settings[0], ENGLISH)}>"

    def _repr_html_(self) -> str:
        rows = [
            {
                "layers": spans(entry.layers),
                "kl_nats": with_error(entry.impact.kl_nats.mean, entry.impact.kl_nats.error),
                "delta_nats": with_error(
                    entry.impact.delta_nats.mean, entry.impact.delta_nats.error
                ),
                "same_top": percent(entry.impact.same_top.mean),
                "predicted_nats": "–"
                if entry.predicted_nats is None
                else small(entry.predicted_nats),
            }
            for entry in self.settings
        ]
        sentences = [captions.impact_verdict(self.settings[0], ENGLISH)]
        if len(self.settings) > 1:
            sentences.append(captions.impact_ranking(self.settings[1:], ENGLISH))
        return f"<p>{escape(ENGLISH.sentences(*sentences))}</p>{table(rows)}"


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """The cheapest scales for a budget in nats, as predicted, and what they were measured to cost.

    ``plan.options`` has, for each layer, its kind, its rules and its scales.
    """

    plan: BudgetPlan
    impact: Impact
    n_groups: int | None  # SSD groups of the model; None of a Mamba-1

    @property
    def fits(self) -> bool:
        """Whether any scales are predicted to keep to the budget."""
        return self.plan.fits

    @property
    def is_kept(self) -> bool:
        """Whether these were measured to keep to it."""
        return self.impact.kl_nats <= self.plan.budget_nats

    @property
    def predicted_nats(self) -> float:
        """What the plan is predicted to cost a token, in nats."""
        return self.plan.predicted_nats

    def table(self) -> list[dict]:
        """A row for each layer and slice: what pandas.DataFrame takes."""
        return [
            {"layer": option["layer"], "kind": option["kind"], "slice": name, **own}
            for option in budget_document(self.plan)["layers"]
            for name, own in option["slices"].items()
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the scales: as JSON, or, to a file that ends in .bin, as Quamba stores them.

        Raises Refusal for another ending, and for scales that Quamba has no place for.
        """
        target = Path(path)
        if target.suffix == ".bin":
            content = quamba_entries.as_bytes(quamba_entries.plan_entries(self.plan, self.n_groups))
        elif target.suffix == ".json":
            measured = self.impact.settings[0].measures()
            document = {**budget_document(self.plan), "measured": measured}
            content = tables.as_json(document).encode("utf-8")
        else:
            raise Refusal("path is {path}; give a file that ends in .json or .bin", path=target)
        write_whole(target, content)

    def __repr__(self) -> str:
        return f"<{captions.budget_sentence(self.plan, self.impact.settings[0], ENGLISH)}>"

    def _repr_html_(self) -> str:
        rows = [
            {
                "layer": str(option.layer),
                "kind": option.kind,
                "predicted_nats": small(option.predicted_nats),
            }
            for option in self.plan.options
        ]
        return f"<p>{escape(repr(self)[1:-1])}</p>{table(rows)}"
