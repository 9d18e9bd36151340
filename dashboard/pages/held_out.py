"""Held-out: calibrate on one text, judge on another."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import judge
from dashboard.calibration import text_names
from dashboard.export import tables
from dashboard.pages import choosing, loading
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_rows
from dashboard.pages.remembering import STATE, keep, kept
from dashboard.pages.speaking import spoken
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ALPHA_RULES, ScaleRule
from dashboard.text import captions

say = spoken()

JUDGED = "out-of-domain.txt"


def boxes() -> None:
    """The rule, and the text that its scales are judged on."""
    choosing.rule_box()
    kept("judged")
    judged = st.selectbox(
        "Judge on",
        text_names(),
        index=text_names().index(JUDGED),
        key="judged",
        width=210,
        accept_new_options=True,
        help="A text that comes with the project, or type the path of a UTF-8 file.",
    )
    keep("judged", judged, JUDGED)


choice, frame = choosing.choose(boxes)
choosing.tell_symmetric()
if choice.source.from_file:
    frame.progress.info(captions.NO_SECOND_TEXT, icon=":material/info:")
    st.stop()
judged_name = STATE.judged or JUDGED
calibration = choosing.calibrated(choice, frame)
other = choosing.calibrated(choice, frame, judged_name)

alpha, _ = choosing.alpha_slider(
    choice.of(calibration).silu_output.total,
    loading.landscape(choice.source, choice.layer, choice.part).best_alpha,
    width=376,
    disabled=STATE.rule not in ALPHA_RULES,
)
rule = ScaleRule(STATE.rule, alpha)

judged = [
    judge(own.layer, own.slices[choice.part], there.slices[choice.part], rule)
    for own, there in zip(calibration.layers, other.layers, strict=True)
]
sources = (choice.source, loading.Source(choice.source.checkpoint, judged_name,
                                         choice.source.batches, choice.source.seq_len))  # fmt: skip
names = (calibration.origin.text, other.origin.text)
here = judged[choice.outline.layers.index(choice.layer)]


def landscapes(layer: int) -> tuple[Landscape, Landscape]:
    own, there = (loading.landscape(source, layer, choice.part) for source in sources)
    return own, there


pair = landscapes(choice.layer)
bests = [landscapes(layer) for layer in choice.outline.layers]

st.markdown(f"## {captions.held_out_headline(here, names, pair[1], say)}")
st.markdown(captions.held_out_verdict(here, names, pair, say))
st.markdown(f"### SQNR over α, layer {choice.layer}, on both texts")
show(figures.held_out_landscapes(*pair, names, say), key="held_out")
st.caption(captions.held_out_caption(pair, names, say))
st.divider()
st.markdown(f"### Every layer\nScales calibrated on {names[0]}; each column says on which text.")
st.dataframe(captions.held_out_rows(judged, bests, names, say), hide_index=True, width="stretch")
export_rows("held_out", tables.judged_rows(judged, names))
