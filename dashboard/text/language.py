"""The language that a reader is spoken to in: message catalogues, and which of them it is.

A message is written where it is needed, in English, as the argument of a ``Language``:

    say("{count} of {total} values saturate", count=3, total=8)

and looked up in that language's catalogue, a text file that translators know (gettext's .po), read
once at the start by Babel. English has none: it is what the sources say. Whole sentences are
messages, for no two languages order the pieces of one alike. Numbers are computed and formatted
before they get here, so that a catalogue holds words alone. Messages may carry the marks of
``dashboard.text.prose``.

What is written before its reader is known, a ``Message`` or a ``Refusal``, keeps its template and
is put into words here as well: ``say(rule.help)``, ``say.error(error)``. CONTRIBUTING.md has the
command that brings the catalogues up to date with the sources.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Formatter

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from dashboard.messages import Message, both, filled, is_list
from dashboard.refusals import Refusal, one_line

LOCALES = Path(__file__).resolve().parent / "locales"
DOMAIN = "scalescope.po"

# How each language is called in a link and by browsers, its catalogue's folder, and its own name.
LANGUAGES = {"en": ("", "English"), "zh-CN": ("zh_CN", "简体中文")}
CATALOGUES = tuple(code for code, (folder, _) in LANGUAGES.items() if folder)
UNSPACED = ("zh-CN",)  # whose sentences follow one another without a space
# Ideographs, kana and full-width punctuation; what of them is punctuation or a quotation mark.
WIDE = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uff60“”]")
WIDE_MARK = re.compile("[\u3000-\u303f\uff00-\uff60“”]")
COMMA, SEMICOLON = Message(", "), Message("; ")


@dataclass(frozen=True)
class Language:
    """A catalogue that is called with an English message and what it is to be filled with."""

    code: str  # as in a link and in HTML's lang: "en", "zh-CN"
    name: str  # what it calls itself
    messages: Mapping[str, str] = field(repr=False)

    def __call__(self, message: str, /, **values: object) -> str:
        """The message in this language; one that its catalogue lacks stays English.

        Args:
            message: the English template, or a ``Message``, which has values of its own.
            values: what fills its gaps, formatted already. A ``Message`` among them is put into
                this language, too; a tuple of strings becomes a list.
        """
        template = message
        if isinstance(message, Message):
            template, values = message.template, {**message.values, **values}
        words = {name: self._word(value) for name, value in values.items()}
        own = self.messages.get(template, template)
        return _closed(own, words) if words and self.code in UNSPACED else filled(own, words)

    def _word(self, value: object) -> object:
        if is_list(value):
            return self.listed(self(item) if isinstance(item, Message) else item for item in value)
        return self(value) if isinstance(value, Message) else value

    def error(self, error: ValueError) -> str:
        """The sentence of a refusal in this language, one line; another error's as it stands."""
        return one_line(self(error.message) if isinstance(error, Refusal) else str(error))

    def listed(self, items: Iterable[str]) -> str:
        """A list in words: "x, B, C"."""
        return self(COMMA).join(items)

    def both(self, items: Sequence[str]) -> str:
        """A list that ends in "and": "x, B and C"; of one item the item."""
        return self(both(items))

    def clauses(self, items: Iterable[str]) -> str:
        """Clauses of one sentence side by side: "x is finer; y is the same"."""
        return self(SEMICOLON).join(items)

    def sentences(self, *sentences: str) -> str:
        """Whole sentences as one text; empty ones are left out."""
        return ("" if self.code in UNSPACED else " ").join(filter(None, sentences))


def _closed(template: str, values: Mapping[str, object]) -> str:
    """A template with its values, its spaces beside a gap kept for Latin words and numbers alone.

    A space of the template goes where it would stand between two wide characters, or beside a wide
    punctuation mark; those within a value stay, for a file may be called so.
    """
    text = ""
    for literal, name, _, _ in Formatter().parse(template):
        text += literal[1:] if literal[:1] == " " and _unspaced(text, literal[1:]) else literal
        value = "" if name is None else str(values[name])
        if text[-1:] == " " and _unspaced(text[:-1], value):
            text = text[:-1]
        text += value
    return text


def _unspaced(before: str, after: str) -> bool:
    pair = before[-1:], after[:1]
    return all(pair) and (all(map(WIDE.match, pair)) or any(map(WIDE_MARK.match, pair)))


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
