"""What pages are made of is imported while the first browser is still on its way.

Streamlit runs the app's script when a browser asks for a page, and torch, pandas and this project's
rooms take two seconds to import. A thread imports them instead, from when the server starts: a
browser needs a second to load Streamlit's own code, and whoever starts a server needs longer.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st

from dashboard.importing import imported
from dashboard.pages import assets


@asynccontextmanager
async def warmed(_app: st.App) -> AsyncIterator[None]:
    """For the server's start: it answers at once, and the imports go on."""
    assets.serve()
    threading.Thread(target=_import_pages, name="imports", daemon=True).start()
    yield


def _import_pages() -> None:
    imported("dashboard.pages.registry").pages()
