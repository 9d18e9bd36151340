"""What the browser loads beside Streamlit's own is named by the page's header, and is there."""

import re
import urllib.request

import pytest

from dashboard.pages.assets import (
    BROWSER,
    IMPORTED,
    PLOTLY,
    ROOM,
    SERVED,
    Announced,
    address,
    library,
)

DRAWING = ("figure.js", "instrument.js")


def answered(url, **headers):
    """An answer's headers and text, as a browser asks for a page."""
    asked = urllib.request.Request(url, headers={"Accept": "text/html,*/*;q=0.8", **headers})
    with urllib.request.urlopen(asked) as answer:
        return answer.headers, answer.read()


def test_a_page_names_what_draws_it_and_all_of_it_is_there(server):
    for page in ("", "lesson", "no-such-page"):
        headers, text = answered(f"{server.address}/{page}", **{"Accept-Encoding": "gzip"})
        links = re.findall(r"<([^>]+)>; rel=(\w+)", headers["Link"])
        assert links[0] == (library(), "preload")
        assert {where for where, kind in links[1:] if kind == "modulepreload"} >= {
            address(name) for name in DRAWING
        }
        assert f'import("./{address("figure.js")}")' in text.decode()
        assert f'plotly("./{library()}")' in text.decode()
        assert int(headers["Content-Length"]) == len(text)
        assert headers["ETag"] is headers["Last-Modified"] is None
        for where, _ in links:
            headers, text = answered(f"{server.address}/{where}")
            assert "javascript" in headers["Content-Type"]
            assert len(text) > 500


def test_what_is_no_page_is_left_as_it_is(server):
    headers, text = answered(f"{server.address}/_stcore/health")
    assert headers["Link"] is None and b"script" not in text
    report = b"<html><head></head></html>"
    saved = {"content-type": "text/html", "content-disposition": "attachment"}
    assert answer_of(report, saved) == (200, report)
    assert answer_of(report, {"content-type": "text/html"}, status=404) == (404, report)
    assert answer_of(report, {"content-type": "text/html"}, accept="*/*") == (200, report)
    status, text = answer_of(report, {"content-type": "text/html"})
    assert status == 200 and library().encode() in text


def answer_of(content, headers, status=200, accept="text/html"):
    """What comes of an answer of two parts."""
    sent = []

    async def app(scope, receive, send):
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        for part, more in ((content[:9], True), (content[9:], False)):
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"accept", accept.encode())]}
    with pytest.raises(StopIteration):  # nothing here waits for anything
        Announced(app)(scope, None, send).send(None)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


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
