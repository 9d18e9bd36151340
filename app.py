"""Scalescope's entry: page configuration and navigation, nothing else."""

from pathlib import Path

import streamlit as st

from dashboard.importing import freeze_imports, imported

ICON = Path(__file__).resolve().parent / "dashboard" / "pages" / "icon.svg"
st.set_page_config(page_title="Scalescope", page_icon=ICON, layout="wide")
freeze_imports()
open_chosen_page = imported("dashboard.pages.registry").navigation()
open_chosen_page()
