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
say = imported("dashboard.pages.speaking").spoken()

# A figure's frame has a height and would scroll by what hangs below it, its menu.
FRAMES = "[data-testid=stElementContainer]:has(>.stBidiComponent){overflow:visible}"
ADDRESS = ".st-key-address,.st-key-preload{position:absolute;width:1px!important}"
st.html(f"<style>{FRAMES}{ADDRESS}</style>")
imported("dashboard.pages.address").follow()


def by_its_name() -> None:
    """The default page's address is the root; a link to its name arrives there too."""
    st.switch_page(explore, query_params=st.query_params.to_dict())


explore = st.Page(
    "dashboard/pages/explore.py", title=say("Explore"), url_path="start", default=True
)
st.navigation(
    [
        explore,
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
        st.Page(by_its_name, title=say("Explore"), url_path="explore", visibility="hidden"),
    ],
    position="top",
).run()
