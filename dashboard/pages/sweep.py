"""α sweep: every measure at every α, each rule a marked point, and what finer scales would buy."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.kinds import tensor_kinds
from dashboard.analysis.report import baselines
from dashboard.export import tables
from dashboard.messages import Message
from dashboard.pages import controls, studies
from dashboard.pages.best_by import best_by
from dashboard.pages.exporting import export_rows, show_figure
from dashboard.pages.grid import show_layers
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, whole
from dashboard.pages.waiting import Frame
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import DEFAULT_SIGMA, SYMMETRIC_RULES, ScaleRule
from dashboard.text import captions
from dashboard.text.captions.kinds import kind_name
from dashboard.text.language import Language

GROUP_SIZE = 64


@page(
    "sweep",
    title=Message("α sweep"),
    question=Message("What does every percentile α do, and which one is best?"),
    group="scale",
    drawings=("alpha_sweep",),
)
def sweep(frame: Frame, say: Language) -> None:
    """Every α of one slice, the α for the whole model, and other kinds of scale."""
    choice = controls.choose(
        frame, SYMMETRIC_RULES, {"rule": say("Every rule is a point of the curves below.")}
    )
    by = best_by(frame, choice, say)
    shown = (choice.source, choice.layer, choice.slice_index)
    landscape = studies.landscape(*shown, by=by)
    rule = ScaleRule("percentile", choice.rule.alpha, kept("sigma", float) or DEFAULT_SIGMA)
    rows = studies.scale_reports(*shown, (rule, *baselines(rule)))

    st.markdown(f"## {captions.sweep_verdict(landscape, say)}")
    by_loss = by == "predicted_nats"
    describe = captions.cost_caption if by_loss else captions.landscape_caption
    st.markdown(describe(landscape, say))

    def pick_alpha() -> None:
        controls.use(ScaleRule("percentile", float(landscape.alphas[STATE.alpha_sweep.picked])))

    curves = figures.alpha_sweep(landscape, rows, say)
    show_figure(curves, "alpha_sweep", choice, say, pick_alpha, rule)
    st.caption(captions.alpha_sweep_caption(landscape, rows, say))

    st.divider()
    st.markdown("### " + say("The α to use"))
    st.markdown(say("The best α of every layer, and one for the whole model."))
    recommendation = studies.recommendation(choice.source, by=by)
    st.markdown(captions.recommendation(recommendation, say))
    bests = recommendation.layers
    show_layers(
        captions.recommendation_rows(recommendation, say),
        [best.layer for best in bests],
        lambda row: ScaleRule("percentile", bests[row].alpha),
        "recommended",
        say,
        [best.slice for best in bests],
    )

    st.divider()
    _show_kinds(choice, frame, landscape, rule, say)
    export_rows("alpha-sweep", choice, rule, tables.landscape_rows(landscape), say)


def _show_kinds(
    choice: controls.Choice, frame: Frame, landscape: Landscape, rule: ScaleRule, say: Language
) -> None:
    """What asymmetric scales, and scales for channels and groups of them, would give."""
    st.markdown("### " + say("Other kinds of scale"))
    st.markdown(
        say(
            "One scale per tensor is the coarsest choice. Asymmetric INT8 moves the code of 0 and "
            "strands nothing; a scale for each group of channels, or each channel, follows their "
            "ranges."
        )
    )
    source, layer, index = choice.source, choice.layer, choice.slice_index
    asymmetric = studies.landscape(source, layer, index, symmetric=False)
    kinds = tensor_kinds(choice.counted, (landscape, asymmetric), rule.sigma)
    if source.from_file:
        st.caption(say(captions.NO_CHANNELS))
    else:
        width = choice.outline.widths[index]
        kept("group_size", whole(2, width))
        size = st.number_input(
            say("Channels in each group"),
            2,
            width,
            min(GROUP_SIZE, width),
            key="group_size",
            width=200,
        )
        keep("group_size", size, GROUP_SIZE)
        with st.spinner(say("Counting each channel …"), show_time=False), refusals(frame):
            kinds += studies.channel_kinds(source, layer, index, int(size), landscape.best_alpha)
    rows = [(kind_name(kind, say), dict(kind.sqnr_db)) for kind in kinds]
    st.dataframe(captions.kind_rows(rows, say), hide_index=True, width="stretch")
    both = {say("symmetric"): landscape, say("asymmetric"): asymmetric}
    st.caption(captions.kinds_caption(rows, both, say))
