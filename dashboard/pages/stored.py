"""What the Layers page shows of a checkpoint that is quantized already."""

import streamlit as st

from dashboard import captions, stored, tables
from dashboard.pages import loading
from dashboard.pages.choosing import Choice, Frame
from dashboard.pages.exporting import export_bar

FORMATS = {"x_scale": "%.8f", "w_scale": "%.8f", "scale_wx": "%.3e", "least x_out_scale": "%.8f",
           "mean": "%.8f", "greatest": "%.8f", "ratio_weight": "%.4f",
           "ratio_wx": "%.1f"}  # fmt: skip


def show_stored(choice: Choice, frame: Frame) -> None:
    """Every layer's stored scales, whether α was used, and a live run with the stored weights."""
    checkpoint = loading.checkpoint(choice.source.checkpoint)
    layers = checkpoint.stored
    st.markdown(f"## {captions.stored_headline(layers, checkpoint.n_layers)}")
    st.markdown(captions.stored_verdict(layers))
    runs = loading.stored_runs(choice.source.checkpoint)
    frame.status.markdown(captions.stored_status(list(runs.values())))
    document = stored.stored_document(checkpoint, checkpoint.layers, runs)
    rows = [row for row in tables.slice_rows(document) if row["slice"] == choice.part_name]
    st.dataframe(
        captions.stored_rows(rows),
        hide_index=True,
        width="stretch",
        column_config={
            name: st.column_config.NumberColumn(name, format=form) for name, form in FORMATS.items()
        },
    )
    st.caption(captions.STAND_IN)
    st.page_link("dashboard/pages/groups.py", label="Its groups, one by one")
    export_bar(
        "stored",
        {"csv": lambda: tables.as_csv(document), "json": lambda: tables.as_json(document)},
    )
