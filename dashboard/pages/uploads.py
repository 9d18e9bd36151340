"""Files that a visitor uploads: that visit's alone, and gone with it.

A text stands wherever one is chosen, a calibration file in place of a checkpoint. Each has a name
that says which upload it is (``upload:`` and a number, then what the visitor calls it), so that it
can be chosen, linked and kept like any other; but a name means something in its own visit alone. In
another one, by a link or typed, it is refused with a sentence that says so.

The content lies in a temporary file without a name, which nobody can open by a path and which the
system removes when it is closed: once the visit's browser has been away for as long as Streamlit
lets it come back (``server.disconnectedSessionTTL``), or when the server ends, however it does.
Streamlit itself may keep the state of such a visit for much longer: so a thread looks after the
visits while there are uploads. Streamlit's own copy, in memory, is dropped as soon as it is read.
What was computed from an upload goes into no store on the disk.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard.calibration import Calibration, CalibrationError, archive
from dashboard.checkpoints.memory import size_text
from dashboard.messages import Message
from dashboard.pages import shelves
from dashboard.pages.remembering import STATE
from dashboard.refusals import Refusal, one_line

logger = logging.getLogger(__name__)

ENVIRONMENT = "SCALESCOPE_UPLOADS"  # MB of a file; 0 closes uploads
MB = 10**6
MOST_MB = 128  # where nothing is said: a calibration of 16 batches of mamba2-130m has some 80
TEXT_MB = 8
MOST_OF_A_VISIT = 8  # files; the oldest goes
MOST_BYTES = 10**9  # of all visits together
LONGEST_TITLE = 60
LOOK_S = 10.0  # between two looks at which visits are still there
NAME = re.compile(r"upload:(?P<token>[0-9a-f]{12}):(?P<title>.+)")

Kind = Literal["text", "calibration"]
KINDS: Mapping[str, Kind] = {".txt": "text", archive.SUFFIX: "calibration"}


@dataclass(frozen=True, eq=False)
class Upload:
    """One file, open as long as its visit lasts."""

    name: str
    kind: Kind
    size: int  # bytes
    session: str  # Streamlit's id of the visit
    file: BinaryIO = field(repr=False)

    @property
    def title(self) -> str:
        """What the visitor calls it."""
        return title(self.name)

    @property
    def path(self) -> Path:
        """Where this process can read it."""
        return Path(f"/proc/self/fd/{self.file.fileno()}")


_LOCK = threading.Lock()
_ALL: weakref.WeakValueDictionary[str, Upload] = weakref.WeakValueDictionary()  # by token
_ISSUED: set[str] = set()  # tokens of which something may stand on a shelf


def limit_mb(environment: Mapping[str, str] = os.environ) -> int:
    """How many MB a file may have, by SCALESCOPE_UPLOADS and the server's own limit; 0: none."""
    named = environment.get(ENVIRONMENT, str(MOST_MB))
    if not named.isdecimal():
        logger.error("%s is %r; give a number of MB: nobody can upload", ENVIRONMENT, named)
        return 0
    if not Path("/proc/self/fd").is_dir():  # no file could be read that has no name
        return 0
    return min(int(named), int(st.get_option("server.maxUploadSize")))


def is_upload(name: str) -> bool:
    """Whether a name is that of an upload, whosever it is."""
    return NAME.fullmatch(name) is not None


def title(name: str) -> str:
    """What an upload is called; another name as it is."""
    match = NAME.fullmatch(name)
    return match["title"] if match else name


def find(name: str) -> Upload | None:
    """An upload of this visit by its name; None for anything else.

    Work of the server, which has no visit, finds whatever a visit has asked it for.
    """
    match = NAME.fullmatch(name)
    if match is None:
        return None
    if get_script_run_ctx(suppress_warning=True) is not None:
        return next((own for own in STATE.get("uploads", ()) if own.name == name), None)
    known = _ALL.get(match["token"])
    return known if known is not None and known.name == name else None


def refusal(name: str) -> CalibrationError:
    """What a page says of an upload that is not this visit's."""
    return CalibrationError(
        "{name} was uploaded in another visit, and is not here: upload it again", name=title(name)
    )


def names(kind: Kind) -> list[str]:
    """Those of this visit, oldest first."""
    _forget_gone()
    return [own.name for own in STATE.get("uploads", ()) if own.kind == kind]


def take(uploaded: UploadedFile) -> Upload:
    """Make a file that a visitor has sent one of this visit's uploads.

    Raises Refusal, in one sentence, for one that cannot be used.
    """
    context = get_script_run_ctx()
    assert context is not None
    content = uploaded.getvalue()
    if isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, uploaded.file_id)
    own = _checked(uploaded.name, content, context.session_id)
    _look_after()
    STATE.uploads = [*STATE.get("uploads", ()), own][-MOST_OF_A_VISIT:]
    logger.info("%s was uploaded, %s", own.title, size_text(own.size))
    return own


def _checked(file_name: str, content: bytes, session: str) -> Upload:
    called = one_line(Path(file_name).name)[-LONGEST_TITLE:] or "upload"
    kind = KINDS.get(Path(file_name).suffix.lower())
    most = TEXT_MB if kind == "text" else limit_mb()
    if kind is None:
        raise Refusal(
            "{name} cannot be used: upload a text (.txt), or a calibration file ({suffix})",
            name=called,
            suffix=archive.SUFFIX,
        )
    if len(content) > min(most, limit_mb()) * MB:
        raise Refusal(
            "{name} has {size} bytes; at most {most} can be uploaded",
            name=called,
            size=f"{len(content):,}",
            most=f"{min(most, limit_mb()) * MB:,}",
        )
    if kind == "text":
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CalibrationError(
                "{path} is not UTF-8 text: {reason}", path=called, reason=error.reason
            ) from None
    with _LOCK:
        if len(content) + sum(other.size for other in _ALL.values()) > MOST_BYTES:
            raise Refusal("The server holds as many uploads as it may: try again later.")
        token = secrets.token_hex(6)
        file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with its record)
        own = Upload(f"upload:{token}:{called}", kind, len(content), session, file)
        weakref.finalize(own, file.close)
        _ALL[token] = own
    try:
        file.write(content)
        file.flush()
        if kind == "calibration":
            load_calibration(own)
    except BaseException:  # the error may be kept, and with it all that it has seen
        file.close()
        del _ALL[token]
        raise
    _ISSUED.add(token)
    return own


def load_calibration(own: Upload) -> Calibration:
    """``archive.load_calibration`` of an upload, under its own title."""
    with _titled(own):
        return archive.load_calibration(own.path)


@contextmanager
def _titled(own: Upload) -> Iterator[None]:
    """Errors name what the visitor uploaded, and not where it lies."""
    try:
        yield
    except CalibrationError as error:
        place, message = str(own.path), error.message
        values = {
            gap: own.title if str(value) == place else str(value).replace(place, own.title)
            for gap, value in message.values.items()
        }
        raise CalibrationError(Message(message.template, **values)) from error


def text_content(own: Upload) -> bytes:
    """The bytes of an uploaded text, UTF-8."""
    return own.path.read_bytes()


def _forget_gone() -> None:
    """What was made of uploads whose visit is over leaves the shelves."""
    gone = {token for token in list(_ISSUED) if token not in _ALL}
    if gone:
        shelves.forget(lambda key: any(token in repr(key) for token in gone))
        _ISSUED.difference_update(gone)


def end_visits(away: dict[str, float], is_there: Callable[[str], bool], now: float) -> None:
    """Close the uploads of visits that have been away for too long.

    Args:
        away: since when each visit is, by its id, in seconds; brought up to date.
        is_there: whether a visit has a browser.
        now: on the same clock.
    """
    with _LOCK:
        for token, own in list(_ALL.items()):
            if is_there(own.session):
                away.pop(own.session, None)
            elif now - away.setdefault(own.session, now) > _longest_away():
                own.file.close()
                del _ALL[token]
    _forget_gone()


def _longest_away() -> float:
    """For which Streamlit lets a browser come back, in seconds."""
    return float(st.get_option("server.disconnectedSessionTTL") or 120)


def _look_after() -> None:
    """Have a thread end the visits that are over, unless there is one, or no server."""
    global _watcher
    if not st.runtime.exists():
        return
    with _LOCK:
        if _watcher is None:
            _watcher = threading.Thread(target=_watch, name="uploads", daemon=True)
            _watcher.start()


_watcher: threading.Thread | None = None


def _watch() -> None:
    global _watcher
    away: dict[str, float] = {}
    while True:
        time.sleep(LOOK_S)
        is_served = st.runtime.exists()
        if is_served:
            end_visits(away, st.runtime.get_instance().is_active_session, time.monotonic())
        with _LOCK:
            if not _ALL or not is_served:
                _watcher = None
                return
