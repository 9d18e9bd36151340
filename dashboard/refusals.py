"""The error for input that cannot be used: one sentence that can be translated.

A refusal is raised where the fault is seen, long before anything knows who reads it. So it keeps
the English sentence as a template, and beside it what fills the gaps:

    raise CheckpointError("{path} has no config.json", path=path)

``str(error)`` is the English sentence, which a terminal shows; a page looks the template up in its
reader's catalogue (``dashboard.text.language``) and fills in the same values.
"""

from __future__ import annotations

from dashboard.messages import Message, is_list

LONGEST_SENTENCE = 600
LONGEST_VALUE = 80


class Refusal(ValueError):
    """Something given that cannot be used. One sentence that names what it was and what is allowed.

    Args:
        template: the sentence in English, with a gap ``{name}`` for each of ``values``. Without
            values it is taken as it stands, braces included. Or a ``Message``, with its own values.
        values: what fills the gaps; a refusal among them is a reason, put into the same language.

    ``message`` is the sentence with its template, on one line; ``str`` of the error is its English.
    """

    def __init__(self, template: str, /, **values: object) -> None:
        given = template if isinstance(template, Message) else Message(template, **values)
        fillings = {name: _filling(value) for name, value in given.values.items()}
        self.message = Message(given.template, **fillings)
        super().__init__(one_line(self.message))


def _filling(value: object) -> object:
    if isinstance(value, Refusal):
        return value.message
    return value if isinstance(value, Message) or is_list(value) else one_line(str(value))


def one_line(sentence: str) -> str:
    """A sentence that may quote what a stranger wrote, as a terminal and a page can show it.

    One line of printable characters, cut where it is long.
    """
    line = " ".join(sentence.split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= LONGEST_SENTENCE else line[:LONGEST_SENTENCE] + "…"


def quoted(value: object) -> str:
    """A value from a file as an error quotes it: as Python writes it, cut where it is long."""
    if isinstance(value, dict | list):
        if len(value) > 4:
            return Message("a {kind} of {count}", kind=type(value).__name__, count=len(value))
        return _cut(repr(value))
    if isinstance(value, int) and value.bit_length() > 256:
        return Message("an integer of {bits} bits", bits=value.bit_length())
    return _cut(repr(value[:LONGEST_VALUE] if isinstance(value, str) else value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE + 2 else text[:LONGEST_VALUE] + "…"
