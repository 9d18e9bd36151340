"""What a step of the lesson is made of: records that a page shows and the handout prints.

A step is introduced before anything is computed; what it shows then follows from the values of its
controls. Texts carry the marks of ``dashboard.text.prose``; each number in them was computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import plotly.graph_objects as go

from dashboard.text.language import Language


@dataclass(frozen=True)
class Introduction:
    """What stands there at once, whatever model is chosen and whether it is calibrated."""

    title: str
    claim: str
    task: str  # what to do with the controls


@dataclass(frozen=True)
class Control:
    """One setting of a step: a page draws it, a link and the handout name its value by its key.

    The key is the name of the argument that ``Step.screen`` takes. ``default`` is one of
    ``options``. A "slider" has ordered options, "choices" a few side by side, a "number" whole
    numbers from the first option to the last, and a "switch" off and on.
    """

    key: str
    label: str
    options: Sequence[Any]
    default: Any
    form: Callable[[Any], str] = str  # how an option is written
    kind: Literal["slider", "choices", "number", "switch"] = "slider"

    def nearest(self, value: Any) -> Any:
        """A value that another model's control had, as one of this one's options."""
        if value in self.options:
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return min(self.options, key=lambda option: abs(option - value))
        return self.default


@dataclass(frozen=True)
class Answer:
    """One of a question's answers, and the reply to whoever chooses it."""

    text: str
    right: bool
    reply: str


@dataclass(frozen=True)
class Question:
    """One of its answers is right."""

    prompt: str
    answers: tuple[Answer, ...]

    @property
    def right(self) -> Answer:
        """Raises ValueError unless one answer is right, and only one."""
        (right,) = (answer for answer in self.answers if answer.right)
        return right


@dataclass(frozen=True)
class Table:
    """Rows of words under a header; the first column names the rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: int | None = None  # the row to stress
    spoils: bool = False  # it gives the question's answer away


class Excerpt(NamedTuple):
    """A place in the text that the model reads."""

    before: str
    here: str
    after: str


@dataclass(frozen=True)
class Screen:
    """What a step shows at one setting of its controls."""

    figure: go.Figure
    reading: str  # what the picture says now
    question: Question
    table: Table | None = None
    spoiler: str = ""  # more of the reading, which gives the question's answer away
    note: str = ""
    success: str = ""  # where the task is done: what was reached
    excerpt: Excerpt | None = None


class StepSample(NamedTuple):
    """A sample that comes with the project, and its own text."""

    checkpoint: str
    text: str


@dataclass(frozen=True)
class Step:
    """One step: its words, its controls as data, and the function that computes its screen.

    ``controls`` and ``screen`` are called with keywords: ``say``, the reader's language; where the
    step is ``on`` a model ``model``, a ``CalibratedModel``, and on a layer ``layer``, its number;
    and ``screen`` with the value of each control under its key. Both raise a ``Refusal`` for a
    model that does not have what the step shows.
    """

    name: str  # of its picture, where one is saved
    introduce: Callable[[Language], Introduction]
    controls: Callable[..., tuple[Control, ...]]
    screen: Callable[..., Screen]
    on: Literal["nothing", "model", "layer"] = "nothing"
    sample: StepSample | None = None  # the model, where it is not the reader's to choose


def control_values(controls: Sequence[Control], known: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each control, by its key: the option nearest to a known one, or its default."""
    return {
        control.key: control.nearest(known.get(control.key, control.default))
        for control in controls
    }
