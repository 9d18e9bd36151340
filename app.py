"""Scalescope's entry: page configuration and navigation, nothing else."""

import streamlit as st

from dashboard.pages import address
from dashboard.pages.speaking import spoken

st.set_page_config(page_title="Scalescope", page_icon="dashboard/pages/icon.svg", layout="wide")

# A figure's frame has a height and would scroll by what hangs below it, its menu.
FRAMES = "[data-testid=stElementContainer]:has(>.stBidiComponent){overflow:visible}"
ADDRESS = ".st-key-address{position:absolute;width:1px!important}"
st.html(f"<style>{FRAMES}{ADDRESS}</style>")
address.follow()

say = spoken()
st.navigation(
    [
        st.Page(
            "dashboard/pages/explore.py", title=say("Explore"), url_path="explore", default=True
        ),
        st.Page("dashboard/pages/layers.py", title=say("Layers"), url_path="layers"),
        st.Page("dashboard/pages/groups.py", title=say("Groups"), url_path="groups"),
        st.Page("dashboard/pages/compare.py", title=say("Compare"), url_path="compare"),
        st.Page("dashboard/pages/sweep.py", title=say("α sweep"), url_path="sweep"),
        st.Page("dashboard/pages/batches.py", title=say("Batches"), url_path="batches"),
        st.Page("dashboard/pages/held_out.py", title=say("Held-out"), url_path="held-out"),
        st.Page("dashboard/pages/kernel.py", title=say("Kernel"), url_path="kernel"),
        st.Page("dashboard/pages/lesson.py", title=say("Lesson"), url_path="lesson"),
        st.Page("dashboard/pages/claims.py", title=say("Claims"), url_path="claims"),
        st.Page("dashboard/pages/terms.py", title=say("Glossary"), url_path="glossary"),
    ],
    position="top",
).run()
