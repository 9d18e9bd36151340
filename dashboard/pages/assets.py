"""What the browser loads beside Streamlit's own: plotly.js, and the modules that draw with it.

Streamlit serves directories of installed packages that hold components
(``/_stcore/bidi-components/NAME/…``). This project is not installed, so its two directories are
entered here, in the way in which Streamlit enters those of a package. Nothing comes from the
network, and the browser asks for them with the page itself, before anything was computed.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

ROOM = Path(__file__).resolve().parents[1]
PLOTLY = "figures/plotlyjs/plotly-cartesian.min.js"
BROWSER = "pages/browser"
SERVED = {"plotly": "figures/plotlyjs", "browser": BROWSER}

# What modules of browser/ import, by addresses without a version.
IMPORTED = ("plotly/prepare.js", "browser/probe.js", "browser/silu.js")

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
    """Have the browser run plotly.js before there is anything to draw; call it first of all."""
    serve()
    _PRELOAD(key="preload", data={"module": address("figure.js"), "library": library()}, height=1)


class Announced:
    """ASGI middleware: a page's header names what the browser will draw with (``Link``, RFC 8288).

    By the time at which the first figure comes, plotly.js has been fetched and compiled beside
    Streamlit's own scripts. Addresses are relative to the page's, below whatever path a proxy adds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def announce(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.append("link", _announced())
            await send(message)

        await self.app(scope, receive, announce if scope["type"] == "http" else send)


@cache
def _announced() -> str:
    modules = [address("figure.js"), address("instrument.js"), *map(served_at, IMPORTED)]
    preloads = [f"<{where}>; rel=modulepreload" for where in modules]
    return ", ".join([f"<{library()}>; rel=preload; as=script", *preloads])


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
    return f"{served_at(f'{kind}/{path.name}')}?v={edition}"


def served_at(name: str) -> str:
    """Where a file "KIND/NAME" of a directory of ``SERVED`` lies, from the server's root."""
    return f"_stcore/bidi-components/scalescope.{name}"


def module_loader(*names: str) -> str:
    """JavaScript that has loaded modules of ``pages/browser/`` as ``modules``, a promise of all.

    Each by the address that every component has it by, so that the browser has one of each.
    """
    addresses = json.dumps([address(name) for name in names])
    return f"""const root = {ROOT_JS};
const modules = Promise.all({addresses}.map((address) => import(root + address)));
"""
