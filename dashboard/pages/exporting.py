"""The row of buttons under a table: what it shows, as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from dashboard import tables

MIME = {"csv": "text/csv", "json": "application/json", "html": "text/html",
        "safetensors": "application/octet-stream"}  # fmt: skip


def export_rows(name: str, rows: Sequence[dict]) -> None:
    """CSV and JSON of flat rows: what a table or a chart is made of."""
    export_bar(
        name, {"csv": lambda: tables.rows_as_csv(rows), "json": lambda: tables.as_json(list(rows))}
    )


def export_bar(name: str, files: Mapping[str, Callable[[], str | bytes]], note: str = "") -> None:
    """A button a format; a file is made when it is asked for.

    Args:
        name: of the files, and of the buttons' keys.
        files: the suffix of each file, and what makes its content.
        note: a caption beside the buttons.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("Export", width="content")
        for suffix, make in files.items():
            st.download_button(
                {"html": "HTML report"}.get(suffix, suffix),
                make,
                f"{name}.{suffix}",
                MIME[suffix],
                key=f"export_{name}_{suffix}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )
        if note:
            st.caption(note, width="content")
