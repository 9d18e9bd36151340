"""Groups: a scale for each (SSD group, head group, channel group) of x, under each rule."""

import numpy as np
import streamlit as st

from dashboard import figures
from dashboard.analysis.report import format_alpha, per_channel, run_kernel
from dashboard.pages import choosing, loading
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_rows
from dashboard.pages.refusing import refusals
from dashboard.pages.remembering import STATE, keep, kept, one_of, whole
from dashboard.pages.speaking import spoken
from dashboard.rules.channels import CHANNEL_RULES, even_groups, group_scales
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions

say = spoken()

choice, frame = choosing.choose(slices=False, stored=True)
checkpoint = None if choice.source.from_file else loading.checkpoint(choice.source.checkpoint)
if checkpoint is None:
    frame.progress.info(captions.NO_CHANNELS, icon=":material/info:")
    st.stop()

if checkpoint.is_quantized:
    if choice.layer not in checkpoint.stored_layers:
        st.markdown(f"## {captions.FLOAT_LAYER}")
        st.stop()
    stored = checkpoint.stored_layer(choice.layer)
    part = stored.slices[0]
    st.markdown(f"## {captions.stored_headline([stored], 1, say)}")
    if part.out_scales.ndim != 3:
        st.markdown(captions.NO_GROUPS)
        st.stop()
    st.markdown(captions.stored_verdict([stored], say))
    widths = np.bincount(part.out_group, minlength=part.out_scales.size)
    greatest = float(part.out_scales.max())
    show(figures.group_heatmap(part.out_scales, widths, greatest, say), key="groups")
    st.caption(captions.stored_groups_caption(part, say))
    st.stop()

architecture = checkpoint.architecture
if architecture.head_dim is None or architecture.n_groups is None:
    frame.progress.info(captions.NO_HEADS, icon=":material/info:")
    st.stop()

calibration = choosing.calibrated(choice, frame)
counted = choice.of(calibration)
best = loading.landscape(choice.source, choice.layer, 0).best_alpha
heads = checkpoint.slices[0].width // architecture.head_dim // architecture.n_groups
kept("group_rule", one_of(CHANNEL_RULES))
for key, most in (("head_groups", heads), ("channel_groups", architecture.head_dim)):
    if (kept(key, whole(1, most)) or 1) > most:
        STATE[key] = most
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    alpha, _ = choosing.alpha_slider(counted.silu_output.total, best, width=300)
    observer = st.segmented_control(
        "Rule of the groups on show", list(CHANNEL_RULES), default="minmax", key="group_rule",
        required=True, help=choosing.rule_help(CHANNEL_RULES),
    )  # fmt: skip
    head_groups = st.number_input(
        "Head groups", 1, heads, min(4, heads), key="head_groups", width=130
    )
    channel_groups = st.number_input(
        "Channel groups", 1, architecture.head_dim, min(4, architecture.head_dim),
        key="channel_groups", width=130,
    )  # fmt: skip
keep("group_rule", observer, "minmax")
for key, value in (("head_groups", head_groups), ("channel_groups", channel_groups)):
    keep(key, value, 4)

with st.spinner("Counting each channel …", show_time=False), refusals(frame):
    outputs = loading.channels(choice.source, choice.layer, 0)
    grouping = loading.grouping(choice.source, choice.layer, int(head_groups), int(channel_groups))
with refusals(frame):
    as_quamba2 = loading.grouping(
        choice.source, choice.layer, int(head_groups), int(channel_groups), as_quamba2=True
    )
kinds = {
    "clustered": grouping.group,
    "as_quamba2": as_quamba2.group,
    "even": even_groups(len(outputs), -(-len(outputs) // int(np.prod(grouping.shape)))),
    "single": np.arange(len(outputs)),
}
rules = {name: ScaleRule(name, alpha) for name in CHANNEL_RULES}
found = {
    kind: {name: group_scales(outputs, group, rule) for name, rule in rules.items()}
    for kind, group in kinds.items()
}
tensor = {
    name: float(loading.scale_report(choice.source, choice.layer, 0, rule).output.sqnr_db)
    for name, rule in rules.items()
}
clustered = found["clustered"]
on_show = clustered[observer]

st.markdown(f"## {captions.groups_headline(clustered, tensor, say)}")
st.markdown(
    captions.groups_verdict(clustered, found["as_quamba2"], tensor, format_alpha(alpha), say)
)
st.markdown(
    "### Each group's scale\nAfter Quamba2: channels are sorted within each head, heads clustered "
    "by the shape of that profile, its positions by k-means. Here a channel counts by its maximum, "
    "which sets a MinMax scale; in Quamba2 by its mean |y|. The stronger a cell's colour, the "
    "finer its scale against the one "
    "for all."
)
single = loading.scale_report(choice.source, choice.layer, 0, rules[observer]).x_out_scale
show(
    figures.group_heatmap(
        on_show.scales.reshape(grouping.shape), np.bincount(grouping.group), single, say
    ),
    key="groups",
)
st.caption(captions.groups_caption(on_show.scales, single, say))

st.markdown("### What each kind of group buys, SQNR by rule")
rows = [("one scale for the slice", tensor)] + [
    (f"{name}: {len(found[kind]['minmax'].scales)} scales",
     {rule: each.sqnr_db for rule, each in found[kind].items()})
    for kind, name in (("even", "neighbouring channels"), ("as_quamba2", "as Quamba2, by mean |y|"),
                       ("clustered", "by maximum"),
                       ("single", "each channel"))
]  # fmt: skip
st.dataframe(captions.kind_rows(rows, say), hide_index=True, width="stretch")
export_rows("groups", [{"scale": name} | sqnr_db for name, sqnr_db in rows])

slices = calibration.layer(choice.layer).slices
others = [
    loading.scale_report(choice.source, choice.layer, i, rules[observer]).x_out_scale
    for i in range(len(slices))
]
expanded = per_channel(checkpoint.slices, others, "cpu")
expanded[checkpoint.slices[0].channels].copy_(expanded.new_tensor(on_show.per_channel.tolist()))
with refusals(frame):
    conv = loading.quantized_conv(choice.source, choice.layer, frame.show)
    run = run_kernel(conv, expanded)
frame.status.markdown(captions.kernel_status(run, say))
st.markdown(captions.groups_kernel(run, run.sqnr_db[0], on_show, say))
