"""What the browser loads beside Streamlit's own: plotly.js, and the modules that draw with it.

Streamlit serves directories of installed packages that hold components
(``/_stcore/bidi-components/NAME/…``). This project is not installed, so its two directories are
entered here, in the way in which Streamlit enters those of a package. Nothing comes from the
network. ``preload`` has the browser fetch them while Python still imports what computes the page.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

ROOM = Path(__file__).resolve().parents[1]
PLOTLY = "figures/plotlyjs/plotly-cartesian.min.js"
BROWSER = "pages/browser"
SERVED = {"plotly": "figures/plotlyjs", "browser": BROWSER}

# Streamlit's own script lies under static/, wherever a proxy has put the app.
ROOT_JS = "document.querySelector('script[src*=\"static/js/\"]').src.split('static/js/')[0]"

_PRELOAD = st.components.v2.component(
    "scalescope_preload",
    html="<span class='scalescope-preload'></span>",
    js=f"""export default ({{ data }}) => {{
  const root = {ROOT_JS};
  import(root + data.module).then(({{ plotly }}) => plotly(root + data.library));
}};""",
    isolate_styles=False,
)


def preload() -> None:
    """Have the browser fetch plotly.js and what draws with it; call it before large imports."""
    serve()
    _PRELOAD(key="preload", data={"module": address("figure.js"), "library": library()}, height=1)


def serve() -> None:
    """Let the running server hand out this project's directories; again has no effect."""
    manager = get_bidi_component_manager()
    if manager.get_component_path("scalescope.plotly") is None:
        manager.register_from_manifest(
            ComponentManifest(
                "scalescope", "1", [ComponentConfig(name, path) for name, path in SERVED.items()]
            ),
            ROOM,
        )


def library() -> str:
    """Where plotly.js lies, from the server's root; another version has another address."""
    return _address("plotly", ROOM / PLOTLY)


def address(name: str) -> str:
    """Where a module of ``pages/browser/`` lies, from the server's root."""
    return _address("browser", ROOM / BROWSER / name)


@cache
def _address(kind: str, path: Path) -> str:
    edition = sha256(path.read_bytes()).hexdigest()[:12]
    return f"_stcore/bidi-components/scalescope.{kind}/{path.name}?v={edition}"


def module_loader(*names: str) -> str:
    """JavaScript that has loaded modules of ``pages/browser/`` as ``modules``, a promise of all.

    Each by the address that every component has it by, so that the browser has one of each.
    """
    addresses = json.dumps([address(name) for name in names])
    return f"""const root = {ROOT_JS};
const modules = Promise.all({addresses}.map((address) => import(root + address)));
"""
