"""Where a page has its controls, says what it is waiting for, and refuses what cannot be used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn

from streamlit.delta_generator import DeltaGenerator

from dashboard.calibration import Calibration, Progress
from dashboard.checkpoints import memory
from dashboard.messages import Message
from dashboard.pages import calibrating, loading
from dashboard.pages.jobs import JOBS
from dashboard.pages.refusing import plain, refusals, refuse
from dashboard.pages.remembering import STATE
from dashboard.pages.sources import Source
from dashboard.text.language import Language

PROGRESS_SECONDS = 0.1  # between two updates of the bar: each costs the browser as much as a layer
CALIBRATING = Message("Calibrating: batch {batch} of {batches}, layer {layer}")
COUNTING_GRADIENTS = Message(
    "Counting gradients of the loss: batch {batch} of {batches}, layer {layer}"
)


@dataclass(frozen=True)
class Frame:
    """The places of a page that come before its content."""

    say: Language
    status: DeltaGenerator  # in the heading: which kernel ran, and whether it agrees
    lead: DeltaGenerator  # above the controls: a word to whoever is here for the first time
    bar: DeltaGenerator  # the controls that every page has
    alpha: DeltaGenerator  # below them the slider of α,
    own: DeltaGenerator  # and beside it what one page alone has
    progress: DeltaGenerator  # below both: how far a calibration is, or why there is none
    stop: DeltaGenerator  # beside it: a button
    calibrating: str = CALIBRATING  # what the progress bar says, as a message
    subject: Mapping[str, str] = field(default_factory=dict)  # more that fills its gaps

    def refuse(self, error: ValueError | str) -> NoReturn:
        """One sentence about what cannot be used; the controls above stay. Ends the run."""
        refuse(self.progress, error if isinstance(error, str) else self.say.error(error))

    def wait_for(self, checkpoint: str) -> None:
        """Say that a model is being loaded."""
        self.progress.progress(0.0, self.say("Loading {checkpoint}", checkpoint=plain(checkpoint)))

    def show(self, progress: Progress) -> None:
        """Update the bar. A press on a button in the meantime ends the run here."""
        now = time.monotonic()
        if now - STATE.get("progress_shown_at", 0.0) >= PROGRESS_SECONDS:
            STATE.progress_shown_at = now
            words = self.say(
                self.calibrating if progress.batches > 1 else CALIBRATING,
                batch=progress.batch + 1,
                batches=progress.batches,
                layer=progress.layer,
                **self.subject,
            )
            self.progress.progress(progress.share, words)


def calibrated(frame: Frame, source: Source, gradients: bool = False) -> Calibration:
    """A source's calibration, made now if need be; one that cannot be used ends the run.

    Args:
        gradients: with the gradients of the loss, by a backward pass.
    """
    with refusals(frame):
        if not calibrating.is_calibrated(source):
            frame.wait_for(source.checkpoint)
        if gradients:
            counting = replace(frame, calibrating=COUNTING_GRADIENTS)
            calibration = calibrating.counted_gradients(source, counting.show)
        else:
            calibration = calibrating.calibration(source, frame.show)
    frame.progress.empty()
    return calibration


def fetched(frame: Frame, name: str) -> None:
    """Have a model of the Hub here, where a name is one; one that cannot be had ends the run."""
    if loading.is_to_be_fetched(name):
        with refusals(frame):
            JOBS.watch(
                ("fetch", name),
                partial(loading.fetch, name),
                lambda progress: show_fetched(frame, name, progress),
            )
        frame.progress.empty()


def show_fetched(frame: Frame, name: str, fetched: loading.Fetched) -> None:
    """How far a download is."""
    words = frame.say(
        "Fetching {checkpoint} from the Hub: {done} of {size}",
        checkpoint=plain(name),
        done=memory.size_text(fetched.done),
        size=memory.size_text(fetched.size),
    )
    frame.progress.progress(fetched.done / max(fetched.size, 1), words)
