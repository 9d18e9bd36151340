"""The language that a reader is spoken to in: message catalogues, and which of them it is.

A message is written where it is needed, in English, as the argument of a ``Language``:

    say("{count} of {total} values saturate", count=3, total=8)

and looked up in that language's catalogue, a text file that translators know (gettext's .po), read
once at the start by Babel. English has none: it is what the sources say. Numbers are computed and
formatted before they get here, so that a catalogue holds words alone. Messages may carry the marks
of ``dashboard.text.prose``. The sentence of a ``Refusal`` is a message, too.

    python -m dashboard.text.language

brings the catalogues up to date with the sources: new messages are entered and wait, empty, for
their translation; those that are in no source any more are dropped.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from dashboard.refusals import Refusal, one_line

PACKAGE = Path(__file__).resolve().parents[1]
LOCALES = PACKAGE / "text" / "locales"
DOMAIN = "scalescope.po"
KEYWORDS = {"say": None, "_say": None}

# How each language is called in a link and by browsers, its catalogue's folder, and its own name.
LANGUAGES = {"en": ("", "English"), "zh-CN": ("zh_CN", "简体中文")}
CATALOGUES = tuple(code for code, (folder, _) in LANGUAGES.items() if folder)


@dataclass(frozen=True)
class Language:
    """A catalogue that is called with an English message and what it is to be filled with."""

    code: str  # as in a link and in HTML's lang: "en", "zh-CN"
    name: str  # what it calls itself
    messages: Mapping[str, str] = field(repr=False)

    def __call__(self, message: str, /, **values: object) -> str:
        """The message in this language; one that its catalogue lacks stays English."""
        words = self.messages.get(message, message)
        return words.format(**values) if values else words

    def error(self, error: ValueError) -> str:
        """The sentence of a refusal in this language; another error's as it stands."""
        if not isinstance(error, Refusal):
            return one_line(str(error))
        reasons = {
            name: self.error(value) if isinstance(value, Refusal) else value
            for name, value in error.values.items()
        }
        return one_line(self(error.template, **reasons))


@cache
def language(code: str) -> Language:
    """One of ``LANGUAGES``, its catalogue read.

    Raises ValueError for a code that is none of them.
    """
    if code not in LANGUAGES:
        raise ValueError(f"language is {code!r}; allowed are {', '.join(LANGUAGES)}")
    return Language(code, LANGUAGES[code][1], {} if code == "en" else _messages(code))


ENGLISH = Language("en", LANGUAGES["en"][1], {})  # of a terminal, of files, and of Python


def _messages(code: str) -> dict[str, str]:
    """What a catalogue makes of each message; it has none with a plural of its own."""
    return {
        entry.id: entry.string
        for entry in catalogue(code)
        if entry.id and isinstance(entry.id, str) and isinstance(entry.string, str)
    }


def catalogue(code: str) -> Catalog:
    """A language's catalogue as it stands in its file."""
    folder, _ = LANGUAGES[code]
    return read_po(io.BytesIO((LOCALES / folder / DOMAIN).read_bytes()), locale=folder)


def preferred(asked: str | None) -> str:
    """The code for what a browser or a link asks for: "zh", "zh_CN", "zh-Hans-SG" → "zh-CN".

    Anything else is "en". Traditional Chinese is not offered; its readers get the simplified
    rather than the English.
    """
    return "zh-CN" if (asked or "").lower().replace("_", "-").split("-")[0] == "zh" else "en"


def said() -> dict[str, list[str]]:
    """Every message in the sources, with the modules that say it, in the order of the sources.

    Babel does not look into f-strings: a message has to be said outside of one.
    """
    found: dict[str, list[str]] = {}
    for path in [PACKAGE.parent / "app.py", *sorted(PACKAGE.rglob("*.py"))]:
        name = path.relative_to(PACKAGE.parent).as_posix()
        for _, message, _, _ in extract_from_file("python", path, keywords=KEYWORDS):
            modules = found.setdefault(str(message), [])
            if name not in modules:
                modules.append(name)
    return found


def update() -> None:
    """Bring every catalogue up to date with the sources."""
    messages = said()
    for code in CATALOGUES:
        folder = LANGUAGES[code][0]
        path = LOCALES / folder / DOMAIN
        known = _messages(code) if path.exists() else {}
        fresh = Catalog(locale=folder, project="Scalescope", fuzzy=False)
        for message, modules in messages.items():
            fresh.add(
                message, known.get(message, ""), locations=[(module, 0) for module in modules]
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, fresh, width=100, omit_header=True, include_lineno=False)


if __name__ == "__main__":
    update()
