"""Explore under the hand: drag the cut line, and all that is on show follows without the server.

``transfer`` draws the figure that is dragged. Three parts without looks of their own stand on the
page, in the order in which a run knows more:

    arrived     after the figures: which α they show, so that the browser lets go of its own
    follow      after the kernel: the table of answers, made once a slice and kept
    confirm     after the kernel, too: that it has run with what is on show

``browser/instrument.js`` does the following. When a hand lets go it reports the α, which is then
chosen as a click under the slider chooses it, and the live kernel runs. Streamlit's own slider and
metrics stay what they are: the browser tells the slider where the hand is, and shows copies of the
metrics and sentences, made by the functions that make the page's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import streamlit as st

from dashboard import figures
from dashboard.analysis.answers import Answers, cuts_and_gains
from dashboard.analysis.report import ScaleReport, format_alpha
from dashboard.figures import moving
from dashboard.figures.transfer import MARGIN_FOR_CUTS, RULER, preimage
from dashboard.pages import assets, controls, pinning, studies
from dashboard.pages.controls import Choice
from dashboard.pages.exporting import show_figure
from dashboard.pages.remembering import STATE, keep, kept, one_of
from dashboard.pages.studies import SliceStudy
from dashboard.text import captions, prose
from dashboard.text.language import Language


def _component(name: str, call: str, end: str = "") -> Any:
    return st.components.v2.component(
        f"scalescope_{name}",
        html=f"<div class='scalescope-{name}'></div>",
        js=f"""{assets.module_loader("instrument.js", "figure.js")}
const module = modules.then(([instrument, figure]) => (instrument.begin(figure), instrument));
export default ({{ data, parentElement, setTriggerValue }}) => {{
  module.then((instrument) => {{ {call} }});
  {end}
}};""",
        isolate_styles=False,
    )


_ARRIVED = _component(
    "arrived",
    "instrument.arrived(data, parentElement.querySelector('.scalescope-arrived'))",
    "return () => module.then((instrument) => instrument.stop());",
)
_FOLLOW = _component(
    "follow",
    "const table = JSON.parse(new TextDecoder().decode(data)); "
    "instrument.follows(table, (asked) => setTriggerValue('asked', asked)); "
    "parentElement.querySelector('.scalescope-follow').dataset.ready = table.hash",
)
_CONFIRM = _component("confirm", "instrument.confirmed(data)")


def transfer(choice: Choice, study: SliceStudy, say: Language) -> None:
    """The figure that is taken in the hand: from SiLU's input to the code, every scale's cut."""
    counts = {"log counts": say("log counts"), "linear counts": say("linear counts")}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            "### " + say("From SiLU input to INT8 code"),
            help=say(
                "Follow a value: up from the input, across the curve, onto the ruler of codes. "
                "Drag the cut line; click to keep a value's way."
            ),
        )
        pinning.button(choice, say)
        kept("counts", one_of(tuple(counts)))
        kind = st.segmented_control(
            say("Counts"),
            counts,
            default="log counts",
            key="counts",
            format_func=counts.__getitem__,
            required=True,
            label_visibility="collapsed",
            help=say("How tall a count is drawn in both histograms."),
        )
        keep("counts", kind, "log counts")
    figure = figures.transfer(study.report, _other_cuts(study), log_counts(), say)
    show_figure(figure, "transfer", choice, say)
    with st.container(key="transfer_note"):
        st.caption(captions.transfer_caption(study.report, say))


def log_counts() -> bool:
    """Whether counts are drawn logarithmically, as the switch over the figure has it."""
    return STATE.counts == "log counts"


def _other_cuts(study: SliceStudy) -> list[tuple[ScaleReport, str]]:
    """The other cuts of the transfer figure, and how each is drawn."""
    limits = [(limit, "baseline") for limit in study.limits]
    return [(study.beside, "beside"), (study.best, "best"), *limits]


def arrived(choice: Choice, study: SliceStudy, say: Language) -> None:
    """Tell the browser what the figures of this run show."""
    chosen, rule = study.report.chosen, choice.rule
    on_axis = rule.observer == "percentile" and rule.alpha in choice.alphas
    _ARRIVED(
        key="arrived",
        data={
            "subject": _subject(choice, study, say),
            "chosen": choice.alphas.index(rule.alpha) if on_axis else None,
            "high": chosen.high,
            "v": preimage(chosen.high),
            "ruler": RULER,
            "scale": chosen.x_out_scale,
            "zero": chosen.zero_point,
            "counts": chosen.output.code_counts.tolist(),
            "words": {
                **_probe_words(say),
                "handle": say("Cut line: code 127 stands for this value"),
                "value": f"α {format_alpha(rule.alpha)}" if on_axis else say(chosen.label),
            },
            "run": _count_runs(),
        },
    )


def _probe_words(say: Language) -> dict[str, str]:
    """What the probe says, with places for the numbers that it puts in."""
    places = {
        name: f"**{{{name}}}**"
        for name in ("v", "y", "quotient", "code", "back", "error", "sharing")
    }
    sentences = {
        "probe": say("Probe: a value of SiLU's input"),
        "idle": say(
            "Point at a value: its whole way to a code and back lights up; a click keeps it."
        ),
        "way": say(
            "v = {v} → SiLU(v) = {y} → y / scale = {quotient} → code {code} → back {back}: error "
            "{error}. {sharing} values share this code.",
            **places,
        ),
        "clipped": say(
            "v = {v} → SiLU(v) = {y} → y / scale = {quotient} → clipped to code {code} → back "
            "{back}: error {error}. {sharing} values share this code.",
            **places,
        ),
    }
    return {name: prose.inline(text) for name, text in sentences.items()}


def follow(choice: Choice, study: SliceStudy, say: Language) -> None:
    """Give the browser the table of answers, and choose the α that a hand leaves the line at."""
    best = study.landscape.best_rule

    def choose() -> None:
        alpha = float(STATE.follow.asked["alpha"])
        if alpha in choice.alphas:
            controls.use(replace(best, alpha=alpha))

    chosen, index = study.report.chosen, choice.slice_index
    known = studies.answers(choice.shown, choice.layer, index, choice.alphas, choice.rule.symmetric)
    if chosen.rule.observer == "percentile" and not known.agrees(chosen):
        st.error(
            say("The table that the figures followed and the numbers computed now differ. Reload.")
        )
    subject = _subject(choice, study, say)
    table = studies.table(
        subject,
        lambda: json.dumps(
            _table(subject, choice, study, say), separators=(",", ":"), allow_nan=False
        ).encode(),
    )
    _FOLLOW(
        key="follow",
        data=table,  # bytes: Streamlit would write a string of 700 kB as JSON, twice in each run
        height=1,
        on_asked_change=choose,
    )


def confirm() -> None:
    """Tell the browser that the kernel has run with what is on show."""
    _CONFIRM(key="confirm", data={"run": STATE.runs}, height=1)


def _count_runs() -> int:
    STATE.runs = STATE.get("runs", 0) + 1
    return STATE.runs


def _subject(choice: Choice, study: SliceStudy, say: Language) -> str:
    """What the answers are about, apart from α: two runs with one subject share a table."""
    chosen = study.report.chosen
    limit = MARGIN_FOR_CUTS * study.report.silu_output.absmax
    beyond = chosen.high if chosen.high > limit else None  # it widens the axes
    companion = (study.beside.high, say(study.beside.label))
    return repr(
        (
            choice.shown,
            choice.shown.edition,
            choice.layer,
            choice.slice_index,
            log_counts(),
            choice.rule.symmetric,
            choice.alphas,
            companion,
            beyond,
            study.landscape.by,
            chosen.predicted_nats is not None,
            say.code,
        )
    )


def _table(subject: str, choice: Choice, study: SliceStudy, say: Language) -> dict[str, Any]:
    answers = studies.answers(
        choice.shown, choice.layer, choice.slice_index, choice.alphas, choice.rule.symmetric
    )
    layers, index, by = choice.outline.layers, choice.slice_index, study.landscape.by
    reports = [studies.slice_report(choice.shown, layer, index, choice.rule) for layer in layers]
    cuts, gains = zip(
        *(
            cuts_and_gains(
                studies.landscape(choice.shown, layer, index, choice.rule.symmetric, by),
                choice.calibration.layer(layer).slices[index],
                choice.alphas,
            )
            for layer in layers
        ),
        strict=True,
    )
    highs = [scale.high for scale in answers.scales]
    return {
        "subject": subject,
        "hash": sha256(subject.encode()).hexdigest()[:12],
        "alphas": list(choice.alphas),
        "names": [format_alpha(alpha) for alpha in choice.alphas],
        "scale": [scale.x_out_scale for scale in answers.scales],
        "zero": [scale.zero_point for scale in answers.scales],
        "counts": [scale.output.code_counts.tolist() for scale in answers.scales],
        "cut": highs,
        "vCut": [preimage(high) for high in highs],
        "figures": {
            "strip": moving.strip_moves(layers, reports, choice.layer, cuts, gains, say, by),
            "landscape": moving.landscape_moves(study.landscape, choice.alphas, answers),
            "sweep": moving.sweep_moves(answers, say),
            "transfer": moving.transfer_moves(
                study.report, _other_cuts(study), log_counts(), answers, say
            ),
            "table": moving.table_moves(study.rows, answers, say),
        },
        "texts": _texts(answers, study, say),
    }


def _texts(answers: Answers, study: SliceStudy, say: Language) -> dict[str, list[str]]:
    """Every sentence and number that depends on α, for each α, by where on the page it stands."""
    texts: dict[str, list[str]] = {}

    def add(selector: str, text: str) -> None:
        texts.setdefault(selector, []).append(prose.inline(text))

    for report in answers.reports:
        add(
            ".st-key-verdict [data-testid=stMarkdown]",
            captions.verdict(report, study.landscape, say),
        )
        add(".st-key-proof [data-testid=stMarkdown]", captions.proof(report, study.landscape, say))
        add(
            ".st-key-transfer_note [data-testid=stCaptionContainer]",
            captions.transfer_caption(report, say),
        )
        add(
            ".st-key-sweep_note [data-testid=stCaptionContainer]",
            captions.sweep_caption(report, say),
        )
        for metric in captions.metrics(report, study.beside, say):
            add(f".st-key-metric_{metric.name} [data-testid=stMetricValue]", metric.value)
    return texts
