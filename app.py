"""Scalescope's entry: page configuration and navigation, nothing else."""

import streamlit as st

st.set_page_config(page_title="Scalescope", page_icon="dashboard/pages/icon.svg", layout="wide")

st.navigation(
    [st.Page("dashboard/pages/explore.py", title="Explore", url_path="explore", default=True)],
    position="top",
).run()
