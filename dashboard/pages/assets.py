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

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

ROOM = Path(__file__).resolve().parents[1]
PLOTLY = "figures/plotlyjs/plotly-cartesian.min.js"
BROWSER = "pages/browser"
SERVED = {"plotly": "figures/plotlyjs", "browser": BROWSER}

# What modules of browser/ import, by addresses without a version.
IMPORTED = ("plotly/prepare.js", "browser/probe.js", "browser/silu.js")

SOCKET_MS = 150  # after a page has been loaded Streamlit's own script is connected to the server

# Streamlit's own script lies under static/, wherever a proxy has put the app.
ROOT_JS = "document.querySelector('script[src*=\"static/js/\"]').src.split('static/js/')[0]"


class Announced:
    """ASGI middleware: a page names in its header what the browser will draw with (``Link``, RFC
    8288), and runs plotly.js by itself.

    What the first figure is drawn with has been fetched and compiled when it comes, and plotly.js
    has run: while Streamlit's own script, which has asked the server, waits. Addresses are relative
    to the page's, below whatever path a proxy adds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _asks_for_a_page(scope):
            return await self.app(scope, receive, send)
        start: Message | None = None  # of a page whose text is not whole yet
        text = b""

        async def announce(message: Message) -> None:
            nonlocal start, text
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
                return
            if start is not None:
                text += message.get("body", b"")
                if message.get("more_body"):
                    return
                message["body"] = _drawing(text)
                headers = MutableHeaders(scope=start)
                headers["content-length"] = str(len(message["body"]))
                headers.append("link", _announced())
                for name in ("etag", "last-modified"):  # which are about the text without plotly.js
                    del headers[name]
                await send(start)
                start = None
            await send(message)

        # What comes uncompressed can be added to.
        headers = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        await self.app({**scope, "headers": headers}, receive, announce)


def _asks_for_a_page(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return "text/html" in Headers(scope=scope).get("accept", "")


def _is_page(start: Message) -> bool:
    """Whether what begins is shown; a report that is saved has a disposition."""
    headers = Headers(scope=start)
    html = headers.get("content-type", "").startswith("text/html")
    return start["status"] == 200 and html and "content-disposition" not in headers


def _drawing(page: bytes) -> bytes:
    """A page that runs plotly.js when Streamlit has opened its socket: soon after it is loaded."""
    script = f"""<script>addEventListener("load", () => setTimeout(
  () => import("./{address("figure.js")}").then(({{ plotly }}) => plotly("./{library()}")),
  {SOCKET_MS}));</script></head>"""
    return page.replace(b"</head>", script.encode(), 1)


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
