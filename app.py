"""Scalescope's entry: the server, page configuration and navigation, nothing else.

``streamlit run`` imports this file for the server, and runs it for every visitor.
"""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from dashboard.importing import freeze_imports, imported
from dashboard.logs import log_to_stderr

freeze_imports()
log_to_stderr()
if __name__ == "__main__":
    ICON = Path(__file__).resolve().parent / "dashboard" / "pages" / "icon.svg"
    st.set_page_config(page_title="Scalescope", page_icon=ICON, layout="wide")
    open_chosen_page = imported("dashboard.pages.registry").navigation()
    open_chosen_page()
else:
    announced = Middleware(imported("dashboard.pages.assets").Announced)
    app = st.App(
        __file__, lifespan=imported("dashboard.pages.warming").warmed, middleware=[announced]
    )
