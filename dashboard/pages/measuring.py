"""Measures settings step by step: what is finished stays on show, and a press stops the rest.

A run of the page shows what is known, measures for a second and a half, and asks for another run,
until nothing is missing. So every figure grows while one looks at it, any control can be moved in
between, and what was measured is kept (``costing.measurements``). A study that takes no longer than
``AT_ONCE_S`` begins by itself; another waits for its button.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import streamlit as st

from dashboard.analysis.impact import ImpactProgress
from dashboard.analysis.measurements import Measurements, Setting, expected_seconds
from dashboard.pages import costing
from dashboard.pages.refusing import refusals
from dashboard.pages.remembering import STATE
from dashboard.pages.waiting import PROGRESS_SECONDS, Frame
from dashboard.text import captions
from dashboard.text.language import Language

CHUNK_S = 1.5  # of measuring between two runs of the page
AT_ONCE_S = 3.0  # what begins without being asked
MOST_STOPPED = 32  # studies of which is remembered that they were stopped


@dataclass(frozen=True)
class Study:
    """Settings that a part of the page shows together."""

    name: str  # of its button's key, too
    held_out: costing.HeldOutText
    mode: str
    settings: tuple[Setting, ...]
    asked: Measurements = field(compare=False)

    @property
    def missing(self) -> list[Setting]:
        """The settings that are still to be measured."""
        return self.asked.missing(self.settings)

    @property
    def seconds(self) -> float:
        """About how long it takes to measure what is missing."""
        forward_s = costing.forward_seconds(self.held_out)
        return expected_seconds(self.missing, self.asked, forward_s)


@dataclass(frozen=True)
class Running:
    """The study that goes on over several runs of the page."""

    study: Study
    total: int  # settings that were missing when it began
    spent_s: float


def study_of(
    name: str, held_out: costing.HeldOutText, asked: Measurements, settings: Sequence[Setting]
) -> Study:
    """A study of some settings, under the name that pages know it by."""
    return Study(name, held_out, asked.mode, tuple(settings), asked)


def begin(study: Study) -> None:
    """For a press: measure what is missing, after what was begun before."""
    STATE.measuring = [*_running(), Running(study, len(study.missing), 0.0)]
    STATE.not_measured = [other for other in STATE.get("not_measured", []) if other != study]


def stop() -> None:
    """For a press: measure no further, and begin none of it by itself again."""
    stopped = [running.study for running in _running()]
    STATE.not_measured = [*STATE.get("not_measured", []), *stopped][-MOST_STOPPED:]
    STATE.measuring = []


def _running() -> list[Running]:
    """The studies that were begun, in this order."""
    begun: list[Running] = STATE.get("measuring", [])
    return begun


def is_running(study: Study) -> bool:
    """Whether the study is being measured now."""
    return any(running.study == study for running in _running())


def button(study: Study, say: Language) -> None:
    """Offer to measure what a study lacks; nothing where it lacks nothing, or is being measured."""
    missing = study.missing
    if missing and not is_running(study):
        st.button(
            captions.settings_left(len(missing), study.seconds, say),
            key=f"measure_{study.name}",
            icon=":material/play_arrow:",
            on_click=begin,
            args=(study,),
        )


def buttons(studies: Sequence[Study], say: Language) -> None:
    """One button for all that several studies lack."""
    waiting = [study for study in studies if study.missing and not is_running(study)]
    if waiting:
        missing = sum(len(study.missing) for study in waiting)
        seconds = sum(study.seconds for study in waiting)
        st.button(
            captions.settings_left(missing, seconds, say),
            key=f"measure_{waiting[0].name}_on",
            icon=":material/play_arrow:",
            on_click=_begin_all,
            args=(waiting,),
        )


def _begin_all(studies: Sequence[Study]) -> None:
    for study in studies:
        begin(study)


def go_on(frame: Frame, studies: Sequence[Study]) -> None:
    """Measure for a while, at the end of a page's run; another run follows where it did.

    What was begun and is not on show any more, of another rule or another text, is forgotten.

    Args:
        studies: of the page, what may begin by itself first.
    """
    STATE.measuring = [
        running for running in _running() if running.study in studies and running.study.missing
    ]
    if not _running():
        stopped = STATE.get("not_measured", [])
        for study in studies:
            if study.missing and study not in stopped and study.seconds <= AT_ONCE_S:
                begin(study)
                break
    if _running():
        _measure(frame, _running()[0])


def _measure(frame: Frame, running: Running) -> None:
    study, say = running.study, frame.say
    missing = study.missing
    frame.stop.button(say("Stop measuring"), key="stop_measuring", on_click=stop)
    begun = time.monotonic()

    already = max(running.total - len(missing), 0), running.spent_s
    show = partial(show_progress, frame)
    with refusals(frame):
        costing.measure_settings(study.held_out, study.asked, missing, already, CHUNK_S, show)
    spent_s = running.spent_s + time.monotonic() - begun
    STATE.measuring = [replace(running, spent_s=spent_s), *_running()[1:]]
    st.rerun()


def show_progress(frame: Frame, progress: ImpactProgress) -> None:
    """Update the bar. A press on a button in the meantime ends the run here."""
    now = time.monotonic()
    if now - STATE.get("progress_shown_at", 0.0) >= PROGRESS_SECONDS:
        STATE.progress_shown_at = now
        words = captions.measuring(
            progress.setting + 1, progress.settings, progress.left_s, frame.say
        )
        frame.progress.progress(min(progress.share, 1.0), words)
