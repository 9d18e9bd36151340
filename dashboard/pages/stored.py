"""What the Layers page shows of a checkpoint that is quantized already."""

from dataclasses import replace

import streamlit as st

from dashboard.analysis import health, stored
from dashboard.checkpoints import sample_names
from dashboard.export import tables
from dashboard.pages import loading
from dashboard.pages.choosing import Choice, Frame
from dashboard.pages.exporting import export_bar
from dashboard.pages.refusing import plain, refusals, visible
from dashboard.pages.remembering import keep, kept
from dashboard.text import captions
from dashboard.text.language import Language

FORMATS = {"x_scale": "%.8f", "w_scale": "%.8f", "scale_wx": "%.3e", "least x_out_scale": "%.8f",
           "mean": "%.8f", "greatest": "%.8f", "ratio_weight": "%.4f",
           "ratio_wx": "%.1f"}  # fmt: skip


JUDGED = {"stored / nearest": "%.4f", "reaches α": "%.6f",
          "sqnr_db": "%.2f", "best gains": "%+.2f", "input scale / text's": "%.3f"}  # fmt: skip


def show_stored(choice: Choice, frame: Frame, say: Language) -> None:
    """Every layer's stored scales, whether α was used, and a live run with the stored weights."""
    checkpoint = loading.checkpoint(choice.source.checkpoint)
    layers = checkpoint.stored
    st.markdown(f"## {captions.stored_headline(layers, checkpoint.n_layers, say)}")
    st.markdown(captions.stored_verdict(layers, say))
    runs = loading.stored_runs(choice.source.checkpoint)
    frame.status.markdown(captions.stored_status(list(runs.values()), say))
    document = stored.stored_document(checkpoint, checkpoint.layers, runs)
    rows = [row for row in tables.slice_rows(document) if row["slice"] == choice.part_name]
    st.dataframe(
        captions.stored_rows(rows, layers, say),
        hide_index=True,
        width="stretch",
        column_config={
            say(name): st.column_config.NumberColumn(say(name), format=form)
            for name, form in FORMATS.items()
        },
    )
    if runs:
        st.caption(captions.STAND_IN)
    if checkpoint.faults:
        told = "; ".join(f"Layer {fault.layer}: {fault.sentence}" for fault in checkpoint.faults)
        st.error(plain(visible(told)), icon=":material/error:")
    st.page_link("dashboard/pages/groups.py", label="Its groups, one by one")
    export_bar(
        "stored",
        {"csv": lambda: tables.as_csv(document), "json": lambda: tables.as_json(document)},
    )
    _show_health(choice, frame, say)


def _show_health(choice: Choice, frame: Frame, say: Language) -> None:
    """Is each scale sound; with the float model, where it comes from and what it costs."""
    checkpoint = loading.checkpoint(choice.source.checkpoint)
    st.markdown("### Health\nIs each scale sound, and where does it come from?")
    kept("against")
    name = st.selectbox(
        "Judge by the float model",
        sample_names(),
        index=None,
        disabled=not checkpoint.stored,
        key="against",
        width=320,
        accept_new_options=True,
        placeholder="The model that it was made of",
        help="A sample, or type a directory or a Hub id. It is calibrated on the text on show.",
    )
    keep("against", name)
    with refusals(frame):
        against = None
        if name and checkpoint.stored:
            against = loading.outline(replace(choice.source, checkpoint=name)).source
        found = loading.checked(choice.source.checkpoint, against, frame.show)
    frame.progress.empty()
    st.markdown(plain(health.sentence(found)))
    rows = health.rows(found, choice.part_name)
    st.dataframe(
        captions.health_rows(found, choice.part_name, say),
        hide_index=True,
        width="stretch",
        column_config={
            say(name): st.column_config.NumberColumn(say(name), format=form)
            for name, form in JUDGED.items()
            if name in rows[0]
        },
    )
    st.caption(captions.HEALTH if name else captions.HEALTH_ALONE)
    export_bar(
        "health",
        {
            "csv": lambda: tables.rows_as_csv(rows),
            "json": lambda: tables.as_json(health.document(found)),
        },
    )
