"""A setting pinned to the page: it stays on show beside whatever is chosen next.

A layer, a slice and a rule, kept in the link as ``pin=4.x.percentile@0.9995``. Two values of α or
two layers then stand side by side, each with its own figure and numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import streamlit as st

from dashboard import figures
from dashboard.analysis.report import format_alpha
from dashboard.pages import studies
from dashboard.pages.controls import Choice, read_alpha
from dashboard.pages.exporting import show_figure
from dashboard.pages.remembering import STATE, keep, kept
from dashboard.rules.observers import (
    ALPHA_RULES,
    ASYMMETRIC_RULES,
    DEFAULT_ALPHA,
    SYMMETRIC_RULES,
    ScaleRule,
)
from dashboard.text import captions
from dashboard.text.language import Language

ASYMMETRIC = "asymmetric"  # the end of a pin's text, where its scale is


@dataclass(frozen=True)
class Pin:
    """What is pinned: one scale of one slice of one layer."""

    layer: int
    slice_name: str
    rule: ScaleRule

    @staticmethod
    def read(text: str) -> Pin:
        """A pin as a link has it; raises ValueError for anything else."""
        match = re.fullmatch(
            rf"(\d+)\.(\w+)\.([\w-]+)(?:@([\d.e-]+))?(?:\.({ASYMMETRIC}))?", text, re.ASCII
        )
        if not match:
            raise ValueError(f"{text!r} is no pin; one reads 4.x.percentile@0.9995")
        layer, slice_name, observer, alpha, asymmetric = match.groups()
        allowed = ASYMMETRIC_RULES if asymmetric else SYMMETRIC_RULES
        if observer not in allowed:
            raise ValueError(f"{observer!r} is none of {', '.join(allowed)}")
        value = read_alpha(alpha) if alpha else DEFAULT_ALPHA
        return Pin(int(layer), slice_name, ScaleRule(observer, value, symmetric=not asymmetric))

    @property
    def text(self) -> str:
        """As a link has it."""
        with_alpha = self.rule.observer in ALPHA_RULES
        alpha = f"@{format_alpha(self.rule.alpha)}" if with_alpha else ""
        end = "" if self.rule.symmetric else f".{ASYMMETRIC}"
        return f"{self.layer}.{self.slice_name}.{self.rule.observer}{alpha}{end}"


def pinned(choice: Choice) -> Pin | None:
    """What is pinned, if the checkpoint on show has that layer and slice."""
    text = kept("pin", lambda text: Pin.read(text).text)
    keep("pin", text)
    pin = Pin.read(text) if text else None
    if pin and pin.layer in choice.outline.layers and pin.slice_name in choice.outline.slices:
        return pin
    return None


def button(choice: Choice, say: Language) -> None:
    """A press pins what is on show; where something is pinned, it lets it go."""
    pin = pinned(choice)
    here = Pin(choice.layer, choice.slice_name, choice.rule)

    def press() -> None:
        STATE.pin = None if pin else here.text

    st.button(
        say("Unpin") if pin else say("Pin"),
        key="pin_press",
        on_click=press,
        icon=":material/keep_off:" if pin else ":material/keep:",
        help=say("Keep this layer and scale on show, and choose another beside it."),
    )


def show(choice: Choice, log_counts: bool, say: Language) -> None:
    """What is pinned, beside what is chosen; nothing where nothing is pinned."""
    pin = pinned(choice)
    if pin is None:
        return
    index = choice.outline.slices.index(pin.slice_name)
    report = studies.slice_report(choice.shown, pin.layer, index, pin.rule)
    here = Pin(choice.layer, choice.slice_name, choice.rule)
    current = studies.slice_report(choice.shown, choice.layer, choice.slice_index, choice.rule)
    st.markdown("### " + say("Pinned, and chosen"))
    with st.container(horizontal=True, gap="large", key="pinned"):
        for key, name, entry, shown in (
            ("pinned_one", say("Pinned"), pin, report),
            ("chosen_one", say("Chosen"), here, current),
        ):
            with st.container(key=key, width="stretch"):
                where = say(
                    "layer {layer}, slice {slice}", layer=entry.layer, slice=entry.slice_name
                )
                st.markdown(f"**{name}** · {where} · {say(shown.chosen.label)}")
                figure = figures.transfer(shown, [], log_counts, say)
                show_figure(figure, f"{key}_figure", choice, say, rule=entry.rule)
    st.table(captions.side_by_side(report, current, say))
