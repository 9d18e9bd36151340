"""Where the lesson and the claims report what they are waiting for, and what cannot be used."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from typing import NoReturn

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.calibration import CalibrationError, Progress
from dashboard.pages import loading
from dashboard.pages.choosing import PROGRESS_SECONDS
from dashboard.pages.refusing import plain, refusals, refuse
from dashboard.text.language import Language


@dataclass(frozen=True)
class Studied:
    """A model that is calibrated and ready to be looked at."""

    source: loading.Source
    outline: loading.Outline


class Frame:
    """Where a step reports what it is waiting for, and what cannot be used."""

    def __init__(self, slot: DeltaGenerator, context: DeltaGenerator, say: Language) -> None:
        self._slot, self._context, self._say = slot, context, say
        self._shown_at = 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._shown_at >= PROGRESS_SECONDS:
            self._shown_at = now
            words = self._say("Calibrating: batch {batch} of {batches}, layer {layer}",
                        batch=progress.batch + 1, batches=progress.batches,
                        layer=progress.layer)  # fmt: skip
            self._slot.progress(progress.share, words)

    def refuse(self, error: ValueError | str) -> NoReturn:
        """What cannot be used; the controls above stay."""
        refuse(self._slot, str(error))

    def prepare(self, source: loading.Source) -> Studied:
        """A source, calibrated; one that cannot be used ends the run with a sentence."""
        with refusals(self):
            outline = loading.outline(source)
            if not loading.is_calibrated(outline.source):
                words = self._say("Loading {checkpoint}", checkpoint=plain(source.checkpoint))
                self._slot.progress(0.0, words)
            counted = loading.calibration(outline.source, self.show)
            for layer in counted.layers:
                if layer.slices[0].silu_output.absmax == 0:
                    raise CalibrationError(
                        "layer {layer} of {checkpoint} gives nothing but zeros, so there is "
                        "nothing to learn from it; choose another checkpoint",
                        layer=layer.layer,
                        checkpoint=source.checkpoint,
                    )
        self._slot.empty()
        return Studied(outline.source, outline)

    def write_context(self, source: loading.Source, position: int) -> None:
        """The text around a position, where the model reads bytes."""
        if source.from_file or not loading.checkpoint(source.checkpoint).reads_bytes:
            return
        read = bytes(loading.text(source).tokens[0].tolist())
        before, here, after = (
            html.escape(part.decode("utf-8", "replace").replace("\n", "⏎"))
            for part in (read[max(0, position - 24) : position], read[position : position + 1],
                         read[position + 1 : position + 25])
        )  # fmt: skip
        with self._context:
            st.html(f'<div class="context">{before}<mark>{here}</mark>{after}</div>')
