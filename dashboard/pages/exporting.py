"""The row of buttons under a table: what it shows, as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from dashboard.analysis.report import LayerReport
from dashboard.checkpoints import Checkpoint
from dashboard.export import quamba_entries, tables

MIME = {"csv": "text/csv", "json": "application/json", "html": "text/html",
        "bin": "application/octet-stream"}  # fmt: skip


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
                {"html": "HTML report", "bin": "Quamba entries"}.get(suffix, suffix),
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


def quamba_file(
    reports: Sequence[LayerReport], checkpoint: Checkpoint | None
) -> tuple[dict[str, Callable[[], bytes]], str]:
    """The file of Quamba's entries where there can be one, and a note about it.

    Args:
        checkpoint: None where a calibration file took its place, which does not say how many SSD
            groups there are.
    """
    told: str | None = quamba_entries.refusal(reports[0].slices[0].chosen.rule)
    if told is None and checkpoint is None:
        told = "A calibration file does not know Quamba's groups: its scales leave as JSON or CSV."
    if told is not None or checkpoint is None:
        return {}, told or ""
    groups = checkpoint.architecture.n_groups
    note = (
        "Quamba entries: output scales that go into a Quamba checkpoint's state dict, in its "
        "names, shapes and types."
    )
    if groups is None:
        note += (
            " A W8A8 one folds them into x_proj: `python -m dashboard export … --into` does that."
        )
    return {
        "bin": lambda: quamba_entries.as_bytes(quamba_entries.scale_entries(reports, groups))
    }, note
