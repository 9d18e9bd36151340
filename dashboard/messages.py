"""Sentences that are made before anything knows in which language they will be read.

A fault of a checkpoint is seen where its file is read, the help of a scale rule stands beside the
rule; who reads either, and in which language, is settled on a page. So such a sentence keeps its
template, in English, and what fills it:

    Message("{entry} is not {copy}", entry="conv1d.x_scale", copy="qchunk_scan.x_scale")

It is the English sentence, for a terminal and for files; ``dashboard.text.language`` looks its
template up in the reader's catalogue and fills in the same values. The template is what Babel
extracts, so it is written out where ``Message`` is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard


class Message(str):
    """An English sentence that knows its template and its values.

    Attributes:
        template: the sentence with a gap ``{name}`` for each value. Without values it is taken as
            it stands, braces included.
        values: what fills the gaps, formatted already. A ``Message`` among them is put into the
            reader's language, too; a tuple of strings becomes a list in words.
    """

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> Message:
        self = super().__new__(cls, filled(template, values))
        self.template, self.values = template, values
        return self


def filled(template: str, values: Mapping[str, object]) -> str:
    """A template with its values; tuples of strings are joined by commas."""
    if not values:
        return template
    words = {name: ", ".join(v) if is_list(v) else v for name, v in values.items()}
    return template.format(**words)


def is_list(value: object) -> TypeGuard[tuple[str, ...]]:
    """Whether it is a tuple of strings: a list in words. A shape is not, it has numbers."""
    return isinstance(value, tuple) and value != () and all(isinstance(v, str) for v in value)


def both(items: Sequence[str]) -> str:
    """A list that ends in "and": "x, B and C"; of one item the item."""
    *others, last = items
    return Message("{items} and {last}", items=tuple(others), last=last) if others else last


def either(items: Sequence[str]) -> str:
    """A list that ends in "or": ".safetensors or .bin"; of one item the item."""
    *others, last = items
    return Message("{items} or {last}", items=tuple(others), last=last) if others else last
