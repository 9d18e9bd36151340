"""What the browser loads beside Streamlit's own is named by the page's header, and is there."""

import re
import urllib.request

from dashboard.pages.assets import BROWSER, IMPORTED, PLOTLY, ROOM, SERVED, address, library

DRAWING = ("figure.js", "instrument.js")


def announced(url):
    with urllib.request.urlopen(url) as answer:
        return re.findall(r"<([^>]+)>; rel=(\w+)", answer.headers["Link"])


def test_a_page_names_what_draws_it_and_all_of_it_is_there(server):
    for page in ("", "lesson", "no-such-page"):
        links = announced(f"{server.address}/{page}")
        assert links[0] == (library(), "preload")
        assert {where for where, kind in links[1:] if kind == "modulepreload"} >= {
            address(name) for name in DRAWING
        }
        for where, _ in links:
            with urllib.request.urlopen(f"{server.address}/{where}") as answer:
                assert "javascript" in answer.headers["Content-Type"]
                assert len(answer.read()) > 500


def test_what_is_no_page_names_nothing(server):
    with urllib.request.urlopen(f"{server.address}/_stcore/health") as answer:
        assert answer.headers["Link"] is None


def test_every_module_that_a_named_one_imports_is_named():
    kinds = {directory: kind for kind, directory in SERVED.items()}
    files = {f"{kinds[BROWSER]}/{name}": ROOM / BROWSER / name for name in DRAWING}
    imported = set()
    while files:
        _, path = files.popitem()
        for where in re.findall(r'^import .* from "(\.[^"]+)"', path.read_text("utf-8"), re.M):
            kind, name = ("browser", where[2:]) if where.startswith("./") else where[3:].split("/")
            kind = kind.removeprefix("scalescope.")
            if f"{kind}/{name}" not in imported:
                imported.add(f"{kind}/{name}")
                files[f"{kind}/{name}"] = ROOM / SERVED[kind] / name
    assert imported == set(IMPORTED)
    assert (ROOM / PLOTLY).is_file()
