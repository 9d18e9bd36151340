"""A server on the loopback that speaks as much of the Hub's protocol as a download needs.

Repositories are directories; the API says which files there are, ``resolve`` hands them out, whole
or from a byte on. What was asked is noted, and a download can be cut off.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
API = r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?"


@dataclass
class StandIn:
    """What it has, and what happened."""

    root: Path  # owner/name/FILE
    address: str = ""
    private: dict[str, str] = field(default_factory=dict)  # repository -> the token that opens it
    gated: set[str] = field(default_factory=set)
    cut_after: int | None = None  # bytes of the next large file
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)

    def fetched(self) -> list[str]:
        """The names of the files that were handed out."""
        return [
            path.rsplit("/", 1)[1]
            for method, path, *_ in self.asked
            if method == "GET" and "/resolve/" in path
        ]

    def ranges(self) -> list[str]:
        return [span for method, _, span, _ in self.asked if method == "GET" and span]


@contextmanager
def hub(root: Path) -> Iterator[StandIn]:
    """The stand-in, while it serves the repositories below a directory."""
    stand_in = StandIn(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing: tests read standard error."""

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            span, token = self.headers.get("Range"), self.headers.get("Authorization")
            stand_in.asked.append((self.command, path, span, token))
            if match := re.fullmatch(
                r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path
            ):
                return self.api(*match.groups(), body=body)
            if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self.file(*match.groups(), body=body)
            return self.refuse(404, "EntryNotFound")

        def may(self, repository: str, revision: str | None) -> bool:
            token = stand_in.private.get(repository)
            if not (stand_in.root / repository).is_dir():
                self.refuse(404, "RepoNotFound")
            elif token and self.headers.get("Authorization") != f"Bearer {token}":
                self.refuse(401, "RepoNotFound")
            elif repository in stand_in.gated:
                self.refuse(403, "GatedRepo")
            elif revision not in (None, "main", "v1", COMMIT):
                self.refuse(404, "RevisionNotFound")
            else:
                return True
            return False

        def api(self, repository: str, kind: str | None, revision: str | None, body: bool) -> None:
            if not self.may(repository, revision):
                return
            files = sorted(p for p in (stand_in.root / repository).iterdir() if p.is_file())
            if kind == "tree":
                tree = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": etag(f)}
                    for f in files
                ]
                return self.send(json.dumps(tree).encode(), body)
            content = {
                "id": repository, "sha": COMMIT, "private": False, "tags": [], "downloads": 0,
                "siblings": [{"rfilename": f.name} for f in files],
            }  # fmt: skip
            return self.send(json.dumps(content).encode(), body)

        def file(self, repository: str, revision: str, name: str, body: bool) -> None:
            if not self.may(repository, revision):
                return
            path = stand_in.root / repository / name
            if not path.is_file():
                return self.refuse(404, "EntryNotFound")
            content, first = path.read_bytes(), 0
            if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
                first = int(match[1])
            headers = {"ETag": f'"{etag(path)}"', "X-Repo-Commit": COMMIT}
            if first:
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            return self.send(content[first:], body, 206 if first else 200, headers)

        def send(
            self, content: bytes, body: bool, status: int = 200, headers: dict | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            cut = stand_in.cut_after
            if cut is not None and len(content) > cut:
                stand_in.cut_after = None
                self.wfile.write(content[:cut])
                self.close_connection = True
                return
            self.wfile.write(content)

        def refuse(self, status: int, code: str) -> None:
            self.send(b"{}", self.command == "GET", status, {"X-Error-Code": code})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()


def etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
