"""The boxes of Compare's columns, and what each of them stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import streamlit as st

from dashboard.analysis.compare import published_columns
from dashboard.analysis.report import format_alpha
from dashboard.calibration import DEFAULT_TEXT
from dashboard.checkpoints import quantized_sample_names, sample_names
from dashboard.formats import DEFAULT_FORMAT
from dashboard.formats import names as format_names
from dashboard.pages.controls import Choice
from dashboard.pages.remembering import keep, kept, one_of, whole
from dashboard.pages.source_boxes import CHOOSE, upload_form
from dashboard.pages.sources import Source, text_choices
from dashboard.rules.observers import ALPHA_RULES, DEFAULT_RULE, PUBLISHED_ALPHAS, SYMMETRIC_RULES
from dashboard.text import captions
from dashboard.text.language import Language

MOST = 6
LETTERS = "ABCDEF"
SAME, BEST = "same", "best"  # as A has it; each layer's own best α. In links, too.
ALPHAS = (BEST, *map(format_alpha, (0.9, 0.99, 0.999, *PUBLISHED_ALPHAS)))
PUBLISHED = published_columns()
# What each column shows on the first visit: B what A loses, C the published table, …
FIRST = (SAME, SAME, next(iter(PUBLISHED)), "mamba2-small-quamba2", "mamba-small", "mamba2-small")


@dataclass(frozen=True)
class ColumnChoice:
    """What one column after A stands for; words as they are in a link."""

    name: str  # a checkpoint, a published table, or SAME
    observer: str
    alpha: str
    text: str
    number_format: str

    def source(self, choice: Choice) -> Source:
        """Its calibration: as many batches of as many tokens as A's."""
        name = choice.source.checkpoint if self.name == SAME else self.name
        text = choice.source.text if self.text == SAME else self.text
        return replace(choice.source, checkpoint=name, text=text or DEFAULT_TEXT)


def column_boxes(say: Language) -> tuple[str, list[ColumnChoice]]:
    """A's number format, how many columns there are, and what each after A stands for."""
    kept("columns", whole(2, MOST))
    count = st.number_input(say("Columns"), 2, MOST, 2, key="columns", width=100)
    keep("columns", count, 2)
    first_format = _format_box(0, "visible", say)
    with st.container(key="column_boxes"):
        return first_format, [_boxes_of(i, say) for i in range(1, int(count))]


def _format_box(i: int, shown: Literal["visible", "collapsed"], say: Language) -> str:
    key = f"format_{LETTERS[i].lower()}"
    kept(key, one_of(format_names()))
    chosen = st.selectbox(
        say("Format of {column}", column=LETTERS[i]),
        format_names(),
        key=key,
        width=190,
        format_func=lambda name: captions.format_label(name, say),
        label_visibility=shown,
    )
    return keep(key, chosen, DEFAULT_FORMAT)


def _boxes_of(i: int, say: Language) -> ColumnChoice:
    """One column's source, rule, α and text; only the first row of boxes has labels over it."""
    sources = [SAME, *sample_names(), *quantized_sample_names(), *PUBLISHED]
    texts = [SAME, *text_choices()]
    uploaded = upload_form(say)
    words = {SAME: say("same as A"), BEST: say("each layer's best")}
    keys = [f"{name}_{LETTERS[i].lower()}" for name in ("source", "rule", "alpha", "text")]
    for key in keys:
        kept(key, one_of(SYMMETRIC_RULES) if key.startswith("rule") else str)
    shown: Literal["visible", "collapsed"] = "visible" if i == 1 else "collapsed"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{LETTERS[i]}**", width="content")
        name = st.selectbox(
            say("Source of {column}", column=LETTERS[i]),
            sources,
            sources.index(FIRST[i]),
            format_func=lambda option: words.get(option, option),
            key=keys[0],
            width=200,
            accept_new_options=True,
            placeholder=say(CHOOSE),
            label_visibility=shown,
            help=say(
                "A sample, a published table, or type a directory, a Hub id or a calibration file."
            ),
        )
        given = name in PUBLISHED or name in quantized_sample_names()
        observer = st.selectbox(
            say("Scale rule of {column}", column=LETTERS[i]),
            list(SYMMETRIC_RULES),
            key=keys[1],
            width=140,
            disabled=given,
            label_visibility=shown,
        )
        alpha = st.selectbox(
            say("α of {column}", column=LETTERS[i]),
            ALPHAS,
            format_func=lambda option: words.get(option, option),
            key=keys[2],
            width=150,
            accept_new_options=True,
            placeholder=say(CHOOSE),
            disabled=given or observer not in ALPHA_RULES,
            label_visibility=shown,
        )
        text = st.selectbox(
            say("Text of {column}", column=LETTERS[i]),
            texts,
            format_func=lambda option: words.get(option) or uploaded(option),
            key=keys[3],
            width=150,
            accept_new_options=True,
            placeholder=say(CHOOSE),
            disabled=given,
            label_visibility=shown,
        )
        number_format = _format_box(i, shown, say)
    defaults = (FIRST[i], DEFAULT_RULE, BEST, SAME)
    for key, value, default in zip(keys, (name, observer, alpha, text), defaults, strict=True):
        keep(key, value, default)
    return ColumnChoice(name or FIRST[i], observer, alpha or BEST, text or SAME, number_format)
