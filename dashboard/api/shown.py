"""How a record shows itself in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dashboard.api.formats import Format, Formats
    from dashboard.api.scales import Landscape, Scale


def display(record: Scale | Landscape | Format | Formats) -> None:
    """Show a record in a notebook: what it says in words, then its figure, as plotly shows one."""
    display = import_module("IPython.display")
    display.display(display.HTML(record._repr_html_()))
    display.display(record.figure())


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of texts as a table of HTML, their keys in its head."""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{lines}</table>"
