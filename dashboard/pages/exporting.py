"""The row of buttons under a table: what it shows, as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

MIME = {"csv": "text/csv", "json": "application/json", "html": "text/html",
        "safetensors": "application/octet-stream"}  # fmt: skip


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
