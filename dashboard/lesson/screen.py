"""What the lesson shows, one module a step: a claim, a picture, what it says, and a question.

A screen is made from a record of ``dashboard.lesson`` and a language, and is complete: the page
shows it beside its controls, the handout prints it. Whatever number stands in a text was computed.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.figures import Sheet


@dataclass(frozen=True)
class Answer:
    """One of a question's answers, and what is said to whoever chooses it."""

    text: str
    right: bool
    reply: str


@dataclass(frozen=True)
class Question:
    prompt: str
    answers: tuple[Answer, ...]

    @property
    def right(self) -> Answer:
        """The one that is."""
        (found,) = (answer for answer in self.answers if answer.right)
        return found


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: int | None = None  # the row to stress
    spoils: bool = False  # it gives the question's answer away


@dataclass(frozen=True)
class Screen:
    """One step with its present settings; texts carry the marks of ``prose``."""

    title: str
    claim: str
    task: str  # what to do with the control
    sheet: Sheet
    reading: str  # what the picture says now
    question: Question
    table: Table | None = None
    note: str = ""
