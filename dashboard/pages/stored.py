"""What the Layers page shows of a checkpoint that is quantized already."""

from dataclasses import replace

import streamlit as st

from dashboard.analysis import health, stored
from dashboard.checkpoints import sample_names
from dashboard.export import tables
from dashboard.export.provenance import labelled
from dashboard.pages import examining, loading, outlining, registry
from dashboard.pages.controls import Choice
from dashboard.pages.exporting import export_bar, origin_of
from dashboard.pages.refusing import plain, refusals, visible
from dashboard.pages.remembering import keep, kept
from dashboard.pages.waiting import Frame
from dashboard.text import captions
from dashboard.text.language import Language

FORMATS = {"x_scale": "%.8f", "w_scale": "%.8f", "scale_wx": "%.3e", "least x_out_scale": "%.8f",
           "mean": "%.8f", "greatest": "%.8f", "ratio_weight": "%.4f",
           "ratio_wx": "%.1f"}  # fmt: skip


JUDGED = {
    "stored / nearest": "%.4f",
    "reaches α": "%.6f",
    "sqnr_db": "%.2f",
    "best gains": "%+.2f",
    "input scale / text's": "%.3f",
}


def show_stored(choice: Choice, frame: Frame, say: Language) -> None:
    """Every layer's stored scales, whether α was used, and a live run with the stored weights."""
    checkpoint = loading.checkpoint(choice.source.checkpoint)
    layers = checkpoint.stored
    st.markdown(f"## {captions.stored_headline(layers, checkpoint.n_layers, say)}")
    st.markdown(captions.stored_verdict(layers, say))
    runs = examining.stored_runs(choice.source.checkpoint)
    frame.status.markdown(captions.stored_status(list(runs.values()), say))
    document = stored.stored_document(checkpoint, checkpoint.layers, runs)
    rows = [row for row in tables.slice_rows(document) if row["slice"] == choice.slice_name]
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
        st.caption(say(captions.STAND_IN))
    if checkpoint.faults:
        faults = say.clauses(
            say("Layer {layer}: {fault}", layer=fault.layer, fault=fault.sentence)
            for fault in checkpoint.faults
        )
        st.error(plain(visible(faults)), icon=":material/error:")
    registry.link("groups", say("Its groups, one by one"))
    origin = origin_of(choice, None)
    export_bar(
        "stored-scales",
        origin,
        {
            "csv": lambda: tables.rows_as_csv(labelled(list(tables.slice_rows(document)), origin)),
            "json": lambda: tables.as_json(document | {"date": origin.date}),
        },
        say,
    )
    _show_health(choice, frame, say)


def _show_health(choice: Choice, frame: Frame, say: Language) -> None:
    """Is each scale sound; with the float model, where it comes from and what it costs."""
    checkpoint = loading.checkpoint(choice.source.checkpoint)
    st.markdown("### " + say("Health"))
    st.markdown(say("Is each scale sound, and where does it come from?"))
    kept("against")
    name = st.selectbox(
        say("Judge by the float model"),
        sample_names(),
        index=None,
        disabled=not checkpoint.stored,
        key="against",
        width=320,
        accept_new_options=True,
        placeholder=say("The model that it was made of"),
        help=say(
            "A sample, or type a directory or a Hub id. It is calibrated on the text on show."
        ),
    )
    keep("against", name)
    with refusals(frame):
        against = None
        if name and checkpoint.stored:
            against = outlining.outline(replace(choice.source, checkpoint=name)).source
        report = examining.checked(choice.source.checkpoint, against, frame.show)
    frame.progress.empty()
    st.markdown(plain(say(health.sentence(report))))
    rows = health.rows(report, choice.slice_name)
    st.dataframe(
        captions.health_rows(report, choice.slice_name, say),
        hide_index=True,
        width="stretch",
        column_config={
            say(name): st.column_config.NumberColumn(say(name), format=form)
            for name, form in JUDGED.items()
            if name in rows[0]
        },
    )
    st.caption(say(captions.HEALTH) if name else say(captions.HEALTH_ALONE))
    origin = origin_of(choice, None)
    export_bar(
        "health",
        origin,
        {
            "csv": lambda: tables.rows_as_csv(labelled(rows, origin)),
            "json": lambda: tables.as_json(health.document(report) | {"date": origin.date}),
        },
        say,
    )
