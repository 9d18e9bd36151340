"""Scalescope's entry: page configuration and navigation, nothing else."""

from pathlib import Path

import streamlit as st

from dashboard.importing import freeze_imports, imported
from dashboard.logs import log_to_stderr

ICON = Path(__file__).resolve().parent / "dashboard" / "pages" / "icon.svg"
st.set_page_config(page_title="Scalescope", page_icon=ICON, layout="wide")
freeze_imports()
log_to_stderr()
imported("dashboard.pages.assets").preload()
open_chosen_page = imported("dashboard.pages.registry").navigation()
open_chosen_page()
