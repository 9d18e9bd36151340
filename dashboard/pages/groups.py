"""Groups: a scale for each (SSD group, head group, channel group) of x, under each rule."""

import numpy as np
import streamlit as st

from dashboard import figures
from dashboard.analysis.kinds import GroupStudy, with_groups
from dashboard.analysis.report import format_alpha
from dashboard.checkpoints import Checkpoint
from dashboard.messages import Message
from dashboard.pages import calibrating, controls, loading, registry, studies
from dashboard.pages.exporting import export_rows, show_figure
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, whole
from dashboard.pages.waiting import Frame
from dashboard.rules.channels import CHANNEL_RULES
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.captions.kinds import kind_name
from dashboard.text.language import Language

MAMBA2 = "mamba2-tiny"  # where the first visit, which is to a Mamba-1, is led


@page(
    "groups",
    title=Message("Groups"),
    question=Message("What does a scale for each group of channels buy?"),
    group="model",
    drawings=("groups",),
)
def groups(frame: Frame, say: Language) -> None:
    """One layer's x in Quamba2's groups; of a quantized checkpoint, the groups that it stores."""
    choice = controls.choose(
        frame,
        CHANNEL_RULES,
        {"slice": say("Heads group the channels of x alone.")},
        stored=True,
    )
    checkpoint = None if choice.source.from_file else loading.checkpoint(choice.source.checkpoint)
    if checkpoint is None:
        frame.progress.info(say(captions.NO_CHANNELS), icon=":material/info:")
    elif checkpoint.is_quantized:
        _show_stored_groups(checkpoint, choice, say)
    elif checkpoint.architecture.n_groups is None:
        frame.progress.info(say(captions.NO_HEADS), icon=":material/info:")
        settings = {"checkpoint": MAMBA2}
        registry.link("groups", say("The groups of {checkpoint}", checkpoint=MAMBA2), settings)
        registry.link("sweep", say("Groups of neighbouring channels"), st.query_params.to_dict())
    else:
        _show_groups(choice, checkpoint, frame, say)


def _show_stored_groups(checkpoint: Checkpoint, choice: controls.Choice, say: Language) -> None:
    layer = choice.layer
    if layer not in checkpoint.stored_layers:
        st.markdown(f"## {say(captions.FLOAT_LAYER)}")
        return
    stored = checkpoint.stored_layer(layer)
    x = stored.slices[0]
    st.markdown(f"## {captions.stored_headline([stored], 1, say)}")
    if x.out_scales.ndim != 3:
        st.markdown(say(captions.NO_GROUPS))
        return
    st.markdown(captions.stored_verdict([stored], say))
    widths = np.bincount(x.out_group, minlength=x.out_scales.size)
    greatest = float(x.out_scales.max())
    heatmap = figures.group_heatmap(x.out_scales, widths, greatest, say)
    show_figure(heatmap, "groups", choice, say)
    st.caption(captions.stored_groups_caption(x, say))


def _show_groups(
    choice: controls.Choice, checkpoint: Checkpoint, frame: Frame, say: Language
) -> None:
    source, layer, rule = choice.source, choice.layer, choice.rule
    with frame.own:
        head_groups, channel_groups = _group_boxes(checkpoint, say)
    with st.spinner(say("Counting each channel …"), show_time=False), refusals(frame):
        study = studies.group_study(source, layer, head_groups, channel_groups, rule.alpha)
    one_scale = studies.scale_report(source, layer, 0, ScaleRule(rule.observer, rule.alpha))
    on_show, scale = study.clustered[rule.observer], one_scale.x_out_scale

    st.markdown(f"## {captions.groups_headline(study.clustered, study.tensor, say)}")
    st.markdown(
        captions.groups_verdict(
            study.clustered, study.as_quamba2, study.tensor, format_alpha(rule.alpha), say
        )
    )
    st.markdown("### " + say("Each group's scale"))
    st.markdown(
        say(
            "After Quamba2: channels are sorted within each head, heads clustered by the shape of "
            "that profile, its positions by k-means. Here a channel counts by its maximum, which "
            "sets a MinMax scale; in Quamba2 by its mean |y|. The stronger a cell's colour, the "
            "finer its scale against the one for all."
        )
    )
    heatmap = figures.group_heatmap(on_show.scales.reshape(study.shape), study.widths, scale, say)
    show_figure(heatmap, "groups", choice, say)
    st.caption(captions.groups_caption(on_show.scales, scale, say))

    st.markdown("### " + say("What each kind of group buys, SQNR by rule"))
    rows = [(kind_name(kind, say), dict(kind.sqnr_db)) for kind in study.kinds]
    st.dataframe(captions.kind_rows(rows, say), hide_index=True, width="stretch")
    _run_groups(choice, checkpoint, study, frame, say)
    export_rows("groups", choice, rule, [{"scale": name} | values for name, values in rows], say)


def _group_boxes(checkpoint: Checkpoint, say: Language) -> tuple[int, int]:
    """How many groups of heads, and of the positions in a head."""
    architecture = checkpoint.architecture
    assert architecture.head_dim and architecture.n_groups
    heads = checkpoint.slices[0].width // architecture.head_dim // architecture.n_groups
    labels = {
        "head_groups": (say("Head groups"), heads),
        "channel_groups": (say("Channel groups"), architecture.head_dim),
    }
    counts = []
    for key, (label, most) in labels.items():
        if (kept(key, whole(1, most)) or 1) > most:
            STATE[key] = most
        count = st.number_input(label, 1, most, min(4, most), key=key, width=150)
        counts.append(int(keep(key, count, 4)))
    return counts[0], counts[1]


def _run_groups(
    choice: controls.Choice,
    checkpoint: Checkpoint,
    study: GroupStudy,
    frame: Frame,
    say: Language,
) -> None:
    """The live kernel with x in groups; B and C keep the scale of the rule on show."""
    on_show = study.clustered[choice.rule.observer]
    with refusals(frame):
        reports = studies.layer_report(choice.source, choice.layer, choice.rule).slices
        conv = calibrating.quantized_conv(choice.source, choice.layer, frame.show)
        scales = [report.chosen.x_out_scale for report in reports]
        run = calibrating.run_live(conv, with_groups(checkpoint.slices, scales, on_show))
    frame.status.markdown(captions.kernel_status(run, say))
    st.markdown(captions.groups_kernel(run, run.sqnr_db[0], on_show, say))
