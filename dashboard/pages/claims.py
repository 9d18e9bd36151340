"""Claims: what was published, what the chosen checkpoint measures now, and whether it follows."""

import streamlit as st

from dashboard import prose
from dashboard.claims import DOES_NOT_FOLLOW, HOLDS, IN_PART, claims
from dashboard.glossary import glossary
from dashboard.pages import loading, speaking
from dashboard.pages.lesson_steps import studied, trained
from dashboard.pages.refusing import refusals
from dashboard.pages.waiting import Frame
from dashboard.published import ANALYSIS_NAMES, QUAMBA, QUAMBA2
from dashboard.report import run_kernel
from kernels.int8 import scale_from_amax

PAGES = {
    "explore": "dashboard/pages/explore.py",
    "sweep": "dashboard/pages/sweep.py",
    "batches": "dashboard/pages/batches.py",
    "lesson": "dashboard/pages/lesson.py",
}

speaking.style()
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
    say = speaking.language_switch()
st.markdown("# " + say("Claims"))
speaking.write(
    say(
        "What the published analysis of {models} says, and what the chosen checkpoint measures "
        "now. The verdicts follow from the measurements: another checkpoint may give others. "
        "Sources: {first} (the method), {second} (the checkpoints).",
        models=ANALYSIS_NAMES, first=QUAMBA, second=QUAMBA2,
    ),
    say, "claim",
)  # fmt: skip
with st.container(width=300):
    model = studied(say, frame := Frame(st.empty(), st.empty(), say))
found = trained(model)
kernel = None
if not model.source.from_file:
    first = found.layers[0].layer
    with refusals(frame):
        conv = loading.quantized_conv(model.source, first, frame.show)
        counted = loading.calibration(model.source, frame.show).layer(first)
        scales = [scale_from_amax(part.silu_output.absmax) for part in counted.slices]
        kernel = run_kernel(conv, scales)
made = claims(found, kernel, say)
names = {
    HOLDS: say("holds"),
    IN_PART: say("holds in part"),
    DOES_NOT_FOLLOW: say("does not follow"),
}
totals = ", ".join(
    f"{sum(claim.verdict == verdict for claim in made)} · {name}" for verdict, name in names.items()
)
st.markdown(f"**{totals}**")
terms = glossary(say)
for i, claim in enumerate(made):
    with st.container(border=True, key=f"claim_{i}"):
        kind = {HOLDS: "right", IN_PART: "part", DOES_NOT_FOLLOW: "wrong"}[claim.verdict]
        st.html(
            f'<div class="said"><span class="verdict {kind}">{names[claim.verdict]}</span>'
            f"<b>{prose.inline(claim.said, terms)}</b></div>"
            f'<div class="prose">{prose.to_html(claim.measured, terms)}</div>'
        )
        settings = {"checkpoint": model.source.checkpoint, "lang": say.code, **claim.settings}
        st.page_link(
            PAGES[claim.page], label=say("See it"), icon=":material/arrow_forward:",
            query_params=settings,
        )  # fmt: skip
