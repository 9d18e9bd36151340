"""Claims: what was published, what the chosen checkpoint measures now, and whether it follows."""

import html

import streamlit as st

from dashboard.analysis.report import run_kernel
from dashboard.lesson.claims import DOES_NOT_FOLLOW, HOLDS, IN_PART, Claim, additions
from dashboard.lesson.claims import claims as examined
from dashboard.lesson.quoted import ANALYSIS, COMMIT, CONCLUSION, FOLDER, REPOSITORY, Quote
from dashboard.messages import Message
from dashboard.pages import loading, registry, speaking
from dashboard.pages.lesson_steps import studied, trained
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.waiting import Frame
from dashboard.rules.published import ANALYSIS_NAMES, PA_RUN, QUAMBA, QUAMBA2
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import Language
from kernels.int8 import scale_from_amax


@page(
    "claims",
    title=Message("Claims"),
    question=Message("Which of the published claims does this checkpoint bear out?"),
    group="learn",
)
def claims(frame: Frame, say: Language) -> None:
    """Draw the page."""
    speaking.write(
        say(
            "Every claim of the published analysis of {models} that can be measured, in its own "
            "words, and what the chosen checkpoint measures now. The verdicts follow from the "
            "measurements: another checkpoint may give others.",
            models=f"{ANALYSIS_NAMES}, {PA_RUN}",
        ),
        say, "claim",
    )  # fmt: skip
    speaking.write(
        say(
            "The analysis is two notes in Chinese, {documents}, in {repository}, folder {folder}, "
            "commit {commit}; other notes beside them are quoted where they bear on it. The "
            "method: {first}. The checkpoints: {second}.",
            documents=f"{ANALYSIS}, {CONCLUSION}", repository=REPOSITORY, folder=FOLDER,
            commit=COMMIT, first=QUAMBA, second=QUAMBA2,
        ),
        say, "note",
    )  # fmt: skip
    with st.container(width=300):
        model = studied(say, frame)
    found = trained(model)
    kernel = None
    if not model.source.from_file:
        first = found.layers[0].layer
        with refusals(frame):
            conv = loading.quantized_conv(model.source, first, frame.show)
            counted = loading.calibration(model.source, frame.show).layer(first)
            scales = [scale_from_amax(part.silu_output.absmax) for part in counted.slices]
            kernel = run_kernel(conv, scales)
    made = examined(found, kernel, say)
    names = {
        HOLDS: say("holds"),
        IN_PART: say("holds in part"),
        DOES_NOT_FOLLOW: say("does not follow"),
    }
    counts = [sum(claim.verdict == verdict for claim in made) for verdict in names]
    st.markdown(
        "**" + say("Of {all} claims {holds} hold, {part} hold in part, {not_so} do not follow.",
                   all=len(made), holds=counts[0], part=counts[1], not_so=counts[2]) + "**"
    )  # fmt: skip
    terms = glossary(say)

    def quotation(quote: Quote) -> str:
        """The passage in the reader's language, its place, and the original of a translation."""
        place = say("{document}, line {lines}", document=quote.document, lines=quote.lines)
        own = say.code == "zh-CN" or quote.english == quote.original
        words = quote.original if own else quote.english
        beside = "" if own else f'<q lang="zh">{html.escape(quote.original)}</q> · '
        return (
            f"<blockquote><b><q>{html.escape(words)}</q></b>"
            f"<cite>{beside}{html.escape(place)}</cite></blockquote>"
        )

    def show(claim: Claim, heading: str) -> None:
        """A claim in its frame: what is said and measured, what decides, and where to see it."""
        with st.container(border=True, key=f"claim_{claim.key}"):
            st.html(
                f'<div class="said" lang="{say.code}">{heading}</div>'
                f'<div class="prose">{prose.to_html(claim.measured, terms)}</div>'
                + (f'<div class="note">{prose.to_html(claim.criterion, terms)}</div>'
                   if claim.criterion else "")
            )  # fmt: skip
            settings = {"checkpoint": model.source.checkpoint, "lang": say.code, **claim.settings}
            registry.link(claim.page, say("See it"), settings)

    KINDS = {HOLDS: "right", IN_PART: "part", DOES_NOT_FOLLOW: "wrong"}
    for claim in made:
        pill = f'<span class="verdict {KINDS[claim.verdict]}">{names[claim.verdict]}</span>'
        show(claim, pill + "".join(map(quotation, claim.quotes)))
    st.markdown("## " + say("What we add"))
    for claim in additions(found, say):
        show(claim, f"<b>{prose.inline(claim.said, terms)}</b>")
