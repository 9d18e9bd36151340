"""α sweep: every measure at every α, each rule a marked point, and what finer scales would buy."""

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import baselines, distinct, report_scale
from dashboard.export import tables
from dashboard.pages import choosing, loading
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_rows
from dashboard.pages.remembering import kept
from dashboard.pages.speaking import spoken
from dashboard.rules.channels import CHANNEL_RULES, even_groups, group_scales
from dashboard.rules.observers import (
    ASYMMETRIC_RULES,
    DEFAULT_ALPHA,
    DEFAULT_SIGMA,
    SYMMETRIC_RULES,
    ScaleRule,
)
from dashboard.text import captions

say = spoken()

choice, frame = choosing.choose()
choosing.tell_symmetric()
calibration = choosing.calibrated(choice, frame)
counted = choice.of(calibration)
landscape = loading.landscape(choice.source, choice.layer, choice.part)
alpha = choosing.kept_alpha() or DEFAULT_ALPHA
rule = ScaleRule("percentile", alpha, kept("sigma", float) or DEFAULT_SIGMA)
rows = distinct(
    loading.scale_report(choice.source, choice.layer, choice.part, each)
    for each in (rule, *baselines(rule))
)

st.markdown(f"## {captions.sweep_verdict(landscape, say)}")
st.markdown(captions.landscape_caption(landscape, say))
show(figures.alpha_sweep(landscape, rows, say), key="alpha_sweep")
st.caption(captions.alpha_sweep_caption(landscape, rows, say))
export_rows("alpha_sweep", tables.landscape_rows(landscape))

st.divider()
st.markdown("### The α to use\nThe best α of every layer, and one for the whole model.")
found = loading.recommendation(choice.source)
st.markdown(captions.recommendation(found, say))
st.dataframe(captions.recommendation_rows(found, say), hide_index=True, width="stretch")

st.divider()
st.markdown(
    "### Other kinds of scale\n"
    "One scale a tensor is the coarsest choice. Asymmetric INT8 moves the code of 0 and strands "
    "nothing; a scale for each group of channels, or each channel, follows their ranges."
)
landscapes = {
    "symmetric": landscape,
    "asymmetric": loading.landscape(choice.source, choice.layer, choice.part, symmetric=False),
}
kinds = [
    (f"per tensor, {kind}",
     {name: float(report_scale(counted, ScaleRule(name, each.best_alpha, rule.sigma,
                                                  symmetric=each.symmetric)).output.sqnr_db)
      for name in ASYMMETRIC_RULES if name in SYMMETRIC_RULES or not each.symmetric})
    for kind, each in landscapes.items()
]  # fmt: skip
if choice.source.from_file:
    st.caption(captions.NO_CHANNELS)
else:
    size = st.number_input(
        "Channels a group", 2, choice.outline.widths[choice.part], 64, key="group_size", width=200
    )
    with st.spinner("Counting each channel …", show_time=False):
        outputs = loading.channels(choice.source, choice.layer, choice.part)
        for name, each in (("each group", int(size)), ("each channel", 1)):
            groups = even_groups(len(outputs), each)
            kinds.append(
                (f"{name} ({int(groups.max()) + 1} scales), symmetric",
                 {observer: group_scales(outputs, groups,
                                         ScaleRule(observer, landscape.best_alpha)).sqnr_db
                  for observer in CHANNEL_RULES})
            )  # fmt: skip
st.dataframe(captions.kind_rows(kinds, say), hide_index=True, width="stretch")
st.caption(captions.kinds_caption(kinds, landscapes, say))
