"""Claims: what was published, what the chosen checkpoint measures now, and whether it follows.

What was published needs no model and stands there at once; the measurements are filled in.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.analysis.budget import BudgetPlan
from dashboard.analysis.impact import Impact
from dashboard.analysis.measurements import Setting
from dashboard.analysis.report import KernelRun
from dashboard.analysis.scale_choices import ScaleChoice
from dashboard.calibration import CalibrationError
from dashboard.checkpoints import CheckpointError
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.claims import (
    DOES_NOT_FOLLOW,
    HOLDS,
    IN_PART,
    NOT_MEASURED,
    Claim,
    additions,
    claims,
)
from dashboard.lesson.costs import ModelCosts, costed_scales
from dashboard.lesson.quotations import (
    ANALYSIS,
    COMMIT,
    CONCLUSION,
    FOLDER,
    QUOTES,
    REPOSITORY,
    Quote,
)
from dashboard.messages import Message
from dashboard.pages import calibrating, costing, measuring, outlining, registry, speaking, waiting
from dashboard.pages.lesson_model import calibrated_model, model_box
from dashboard.pages.measuring import Study
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE
from dashboard.pages.sources import Source
from dashboard.pages.waiting import Frame
from dashboard.rules.published import ANALYSIS_NAMES, PA_RUN, QUAMBA, QUAMBA2
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import Language

KINDS = {HOLDS: "right", IN_PART: "part", DOES_NOT_FOLLOW: "wrong"}  # classes of the style sheet


@page(
    "claims",
    title=Message("Claims"),
    question=Message("Which of the published claims does this checkpoint bear out?"),
    group="learn",
)
def claims_page(frame: Frame, say: Language) -> None:
    """Draw the page."""
    with frame.bar, st.container(width=300):
        source = model_box(say)
    introduce(say)
    summary, offer = st.empty(), st.empty()
    cards = {
        key: Card.of(key, "".join(quotation(quote, say) for quote in quotes))
        for key, quotes in QUOTES.items()
    }
    model = calibrated_model(source, frame)
    if STATE.get("predict_costs") and not source.from_file:
        waiting.calibrated(frame, outlining.outline(source).source, gradients=True)
    study = None if source.from_file else known_costs(source, model)
    costs = NOT_MEASURED if study is None else costs_of(study)
    with refusals(frame):
        measured = claims(model, live_run(model), say, costs)
    summary.markdown(f"**{count(measured, say)}**")
    for claim in measured:
        cards[claim.key].fill(claim, model.checkpoint, say)
    st.markdown("## " + say("What we add"))
    for claim in additions(model, say, costs):
        statement = f"<b>{prose.inline(claim.statement, glossary(say))}</b>"
        Card.of(claim.key, statement).fill(claim, model.checkpoint, say)
    if study is not None:
        if study.missing and not measuring.is_running(study):
            with offer.container():
                speaking.write(
                    say("What these scales cost the model, in nats, is not measured yet."),
                    say,
                    "note",
                )
                measuring.button(study, say)
        elif not study.missing and None in costs_predicted(study):
            offer.button(
                say("Predict these costs, too"),
                key="predict_costs_now",
                help=say("One backward pass over the calibration batches counts gradients."),
                on_click=_predict,
            )
        measuring.go_on(frame, [study])
    elif not source.from_file:
        run_float_model(source, frame)


def held_out_text(source: Source) -> costing.HeldOutText:
    """The windows after the calibrated batches."""
    return costing.HeldOutText(outlining.outline(source).source, "", costing.WINDOWS)


def known_costs(source: Source, model: CalibratedModel) -> Study | None:
    """What scales cost in all layers, as far as it was measured; None before the float model ran.

    A model without a head has no loss: then None, too.
    """
    held_out = held_out_text(source)
    if not costing.has_float_run(held_out):
        return None
    run = costing.float_run(held_out, lambda _: None)
    asked = costing.measurements(held_out, run, "output")
    layers = outlining.outline(source).layers
    settings = [Setting(own, layers) for own in costed_scales(model.recommendation.alpha)]
    return measuring.study_of("claims", held_out, asked, settings)


def _predict() -> None:
    STATE.predict_costs = True


def costs_predicted(study: Study) -> list[float | None]:
    """What each setting is predicted to cost; None where no gradients were counted."""
    return [study.asked.predicted_nats(setting) for setting in study.settings]


def costs_of(study: Study) -> ModelCosts:
    """What was measured so far of the claims' scales, and is predicted."""
    impacts: dict[ScaleChoice, Impact] = {}
    predicted: dict[ScaleChoice, float] = {}
    for setting, nats in zip(study.settings, costs_predicted(study), strict=True):
        impact, own = study.asked.impact(setting), setting.scales
        assert not isinstance(own, BudgetPlan)  # the claims are about none
        if impact is not None:
            impacts[own] = impact
        if nats is not None:
            predicted[own] = nats
    return ModelCosts(impacts, predicted)


def run_float_model(source: Source, frame: Frame) -> None:
    """Run the model whose loss the others' is compared with, and draw the page again."""
    try:
        costing.float_run(held_out_text(source), lambda _: None)
    except (CheckpointError, CalibrationError) as error:
        speaking.write(
            frame.say("No loss can be measured: {reason}", reason=frame.say.error(error)),
            frame.say,
            "note",
        )
    else:
        st.rerun()


def introduce(say: Language) -> None:
    """What is claimed by whom, and in which notes."""
    speaking.write(
        say(
            "Every claim of the published analysis of {models} that can be measured, in its own "
            "words, and what the chosen checkpoint measures now. The verdicts follow from the "
            "measurements: another checkpoint may give others.",
            models=(*ANALYSIS_NAMES, PA_RUN),
        ),
        say,
        "claim",
    )
    speaking.write(
        say(
            "The analysis is two notes in Chinese, {documents}, in {repository}, folder {folder}, "
            "commit {commit}; other notes beside them are quoted where they bear on it. The "
            "method: {first}. The checkpoints: {second}.",
            documents=(ANALYSIS, CONCLUSION),
            repository=REPOSITORY,
            folder=FOLDER,
            commit=COMMIT,
            first=QUAMBA,
            second=QUAMBA2,
        ),
        say,
        "note",
    )


def quotation(quote: Quote, say: Language) -> str:
    """The passage in the reader's language, its place, and the original of a translation."""
    place = say("{document}, line {lines}", document=quote.document, lines=quote.lines)
    own = say.code == "zh-CN" or quote.english == quote.original
    words = quote.original if own else quote.english
    beside = "" if own else f'<q lang="zh">{html.escape(quote.original)}</q> · '
    return (
        f"<blockquote><b><q>{html.escape(words)}</q></b>"
        f"<cite>{beside}{html.escape(place)}</cite></blockquote>"
    )


def live_run(model: CalibratedModel) -> KernelRun | None:
    """The kernel on the first layer, by MinMax; None for a calibration file, which has no input."""
    if model.activations is None:
        return None
    conv = model.activations.conv(model.layers[0].number)
    return calibrating.run_live(conv, model.activations.minmax(model.layers[0].number))


def count(measured: tuple[Claim, ...], say: Language) -> str:
    """How many hold, hold in part and do not follow."""
    holds, partly, not_so = (
        sum(claim.verdict == verdict for claim in measured) for verdict in KINDS
    )
    return say(
        "Of {all} claims {holds} hold, {partly} hold in part, {not_so} do not follow.",
        all=len(measured),
        holds=holds,
        partly=partly,
        not_so=not_so,
    )


@dataclass(frozen=True)
class Card:
    """A claim in its frame: the verdict, what is claimed, what is measured, where to see it."""

    verdict: DeltaGenerator
    measured: DeltaGenerator
    link: DeltaGenerator

    @staticmethod
    def of(key: str, claimed: str) -> Card:
        """The frame with what is claimed, in HTML."""
        with st.container(border=True, key=f"claim_{key}"):
            verdict = st.empty()
            st.html(f'<div class="quoted">{claimed}</div>')
            return Card(verdict, st.empty(), st.empty())

    def fill(self, claim: Claim, checkpoint: str, say: Language) -> None:
        """Draw the claim into its place, with its verdict once it is known."""
        terms = glossary(say)
        if claim.verdict:
            name = {
                HOLDS: say("holds"),
                IN_PART: say("holds in part"),
                DOES_NOT_FOLLOW: say("does not follow"),
            }[claim.verdict]
            self.verdict.html(f'<span class="verdict {KINDS[claim.verdict]}">{name}</span>')
        criterion = prose.to_html(claim.criterion, terms) if claim.criterion else ""
        self.measured.html(
            f'<div class="prose" lang="{say.code}">{prose.to_html(claim.measured, terms)}</div>'
            f'<div class="note">{criterion}</div>'
        )
        settings = {"checkpoint": checkpoint, "lang": say.code, **claim.settings}
        with self.link.container():
            registry.link(claim.page, say("See it"), settings)
