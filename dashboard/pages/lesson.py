"""The lesson: one idea a step, on a real model and the real kernel.

Choose a step; its controls are drawn from what it says of them; its screen is computed and shown. A
link restores the step with its settings, and ``?present=1`` shows it to a room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.analysis.report import format_alpha
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.handout import handout, printed_steps
from dashboard.lesson.screen import Control, Introduction, Question, Screen, Step
from dashboard.lesson.steps import STEPS
from dashboard.messages import Message
from dashboard.pages import keys, presenting, registry, speaking
from dashboard.pages.dragging import live_slider
from dashboard.pages.drawing import show
from dashboard.pages.lesson_model import (
    DEFAULT_MODEL,
    calibrated_model,
    layer_box,
    model_box,
    sample_model,
    sample_source,
    source_of,
)
from dashboard.pages.refusing import refusals
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, one_of, switched, whole
from dashboard.pages.waiting import Frame
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import Language

STYLE = """
.st-key-screen{display:grid;grid-template-columns:minmax(300px,5fr) 8fr;
grid-template-rows:auto 1fr;gap:1rem 2.5rem;align-items:start}
.st-key-screen>div:has(>.st-key-act){grid-area:1/1}
.st-key-screen>div:has(>.st-key-beside){grid-area:1/2/span 2}
.st-key-screen>div:has(>.st-key-answer){grid-area:2/1}
.st-key-tools{justify-content:space-between}
.st-key-controls div:has(>.st-key-alpha_slot){display:none}
.st-key-keys{position:absolute;width:1px!important;overflow:hidden}
.st-key-step button{min-width:0;padding-left:.6rem;padding-right:.6rem}
@media(max-width:900px){
.st-key-screen{display:flex}
.st-key-screen>div:has(>.st-key-beside),.st-key-beside{display:contents}
div:has(>.st-key-answer){order:1}
div:has(>.st-key-details){order:2}
}
"""
# In a room the picture begins at the top and stays there while the words beside it are read.
PRESENT = """
html{font-size:clamp(16px,1.5vw,30px)}
[data-testid=stHeader],[data-testid=stSidebar],div:has(>.st-key-head),div:has(>.st-key-controls),
div:has(>.st-key-language){display:none}
[data-testid=stMainBlockContainer]{padding-top:0}
.st-key-act h2{padding-top:0}
.st-key-act .stHorizontalBlock>*{flex:1 1 8rem;width:auto}
@media(min-width:901px){.st-key-screen>div:has(>.st-key-beside){position:sticky;top:.5rem}}
"""
ZOOM = 1.6  # of pictures in a room, where there is space
MANY = 3  # controls: more of them stand side by side


@page(
    "lesson",
    title=Message("Lesson"),
    question=Message("Why does the output need a scale of its own, and how is one chosen?"),
    group="learn",
    drawings=("lesson_1",),
    own_keys=True,
)
def lesson(frame: Frame, say: Language) -> None:
    """Draw the page."""
    in_room = presenting.is_presenting()
    kept("checkpoint")  # also for the steps that have no box for it
    st.html(f"<style>{STYLE}{PRESENT if in_room else ''}</style>")
    with frame.bar:
        number = tools(say)
    keys.listen(number, in_room, pressed)
    introduction = STEPS[number - 1].introduce(say)
    if not in_room:
        head(number, introduction, say)
    show_step(number, introduction, in_room, frame)
    turn_buttons(number, say)


def head(number: int, introduction: Introduction, say: Language) -> None:
    """What stands above a step, in a room beside its picture."""
    st.markdown(f"## {number} · {introduction.title}")
    speaking.write(introduction.claim, say, "claim")


@st.fragment
def show_step(number: int, introduction: Introduction, in_room: bool, frame: Frame) -> None:
    """A step's controls, picture and question: all that changes while its controls are moved."""
    step, say = STEPS[number - 1], frame.say
    with st.container(key="screen"):
        act = st.container(key="act")
        with st.container(key="beside"):
            picture = st.container(key="picture")
            details = st.container(key="details")
        answer = st.container(key="answer")
    with act:
        if in_room:
            head(number, introduction, say)
        speaking.write(introduction.task, say, "prose task")
        controls = st.container()
        frame = replace(frame, progress=st.empty())
    with controls:
        subject, screen = chosen_screen(step, frame, say)
    with act:
        if screen.excerpt:
            st.html(prose.excerpt_html(*screen.excerpt))
    with picture:
        show(
            screen.figure,
            key=f"lesson_{number}",
            zoom=ZOOM if in_room else 1.0,
            file=f"scalescope-{step.name}",
            title=introduction.title,
        )
    with answer:
        speaking.write(screen.reading, say)
        if screen.success:
            success = prose.inline(screen.success)
            st.html(f'<div class="reply right" role="status"><b>✓</b> {success}</div>')
        answered = ask(screen.question, number, say)
        if answered and screen.spoiler:
            speaking.write(screen.spoiler, say)
        if number == len(STEPS):
            lead_on(subject["model"], say)
    with details:
        if screen.table and (answered or not screen.table.spoils):
            speaking.table(screen.table, say)
        if screen.note:
            speaking.write(screen.note, say, "note")


# Turn pages.


def tools(say: Language) -> int:
    """The row above the lesson: its steps, the handout, presenting; the number of the step."""
    with st.container(horizontal=True, vertical_alignment="center", key="tools"):
        kept("step", whole(1, len(STEPS)))
        answers = STATE.get("answers", {})
        done = {number for number, (_, right) in answers.items() if right}
        number = st.segmented_control(
            say("Step"),
            range(1, len(STEPS) + 1),
            default=1,
            key="step",
            required=True,
            label_visibility="collapsed",
            format_func=lambda n: f"{n}✓" if n in done else str(n),
        )
        keep("step", number)
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            settings = STATE.kept
            st.download_button(
                say("Handout"),
                lambda: paper(settings, say),
                f"scalescope-{say.code}.html",
                "text/html",
                key="handout",
                icon=":material/print:",
                on_click="ignore",
                help=say("The whole lesson as one page to print, with your settings."),
            )
    return number


def turn(by: int) -> None:
    """Go so many steps on, or back; the first and the last are ends."""
    STATE.step = min(max((STATE.get("step") or 1) + by, 1), len(STEPS))


def pressed(move: str) -> None:
    """A presenter's key, as ``keys.listen`` says it."""
    if move == "leave":
        presenting.leave()
    else:
        turn(1 if move == "next" else -1)


def turn_buttons(number: int, say: Language) -> None:
    """The buttons for the step before and the one after."""
    with st.container(horizontal=True):
        st.button(
            say("Previous"),
            key="previous",
            on_click=turn,
            args=(-1,),
            disabled=number == 1,
            icon=":material/arrow_back:",
        )
        st.button(
            say("Next"),
            key="next",
            on_click=turn,
            args=(1,),
            disabled=number == len(STEPS),
            icon=":material/arrow_forward:",
        )


def lead_on(model: CalibratedModel, say: Language) -> None:
    """Where the end of the lesson leads to."""
    alpha = format_alpha(model.recommendation.alpha)
    settings = {"checkpoint": model.checkpoint, "lang": say.code}
    words = say("Explore this model at α {alpha}", alpha=alpha)
    registry.link("explore", words, settings | {"rule": "percentile", "alpha": alpha})
    registry.link("claims", say("The published claims, one by one"), settings)


def paper(settings: dict[str, Any], say: Language) -> str:
    """The handout, made when it is asked for.

    Args:
        settings: what ``keep`` noted, by key. A download is made outside a page's run, where the
            page's state cannot be read.
    """
    model = calibrated_model(source_of(settings.get("checkpoint") or DEFAULT_MODEL))
    layers = [layer.number for layer in model.layers]
    layer = settings.get("layer")
    shown = layer if layer in layers else layers[0]
    steps = printed_steps(model, shown, settings, sample_model, say)
    subject = say("Every number was computed from {checkpoint}.", checkpoint=model.checkpoint)
    return handout(steps, subject, say)


# Choose.


def chosen_screen(step: Step, frame: Frame, say: Language) -> tuple[dict[str, Any], Screen]:
    """The step's boxes and controls, drawn: what it is on, and the screen that follows."""
    row = st.container(horizontal=True)
    subject: dict[str, Any] = {}
    if step.on != "nothing":
        if step.sample:
            source = sample_source(step.sample)
        else:
            with row, st.container(width=170 if step.on == "layer" else "stretch"):
                source = model_box(say)
        subject["model"] = model = calibrated_model(source, frame)
        if step.on == "layer":
            with row, st.container(width=90):
                subject["layer"] = layer_box(say, tuple(layer.number for layer in model.layers))
    with refusals(frame):
        controls = step.controls(**subject, say=say)
        values = draw_controls(controls, row)
        return subject, step.screen(**subject, **values, say=say)


def draw_controls(controls: Sequence[Control], row: DeltaGenerator) -> dict[str, Any]:
    """The value of each control, by its key. Numbers stand in ``row``, beside the boxes."""
    values = {}
    many = len(controls) > MANY
    with st.container(horizontal=many):
        for control in controls:
            if control.kind == "number":
                with row:
                    values[control.key] = number_box(control)
            elif control.kind == "choices":
                values[control.key] = speaking.named(
                    control.key,
                    tuple(control.options),
                    control.default,
                    control.label,
                    format_func=control.form,
                )
            elif control.kind == "switch":
                kept(control.key, switched)
                shown = st.toggle(control.label, control.default, key=control.key)
                values[control.key] = keep(control.key, shown, control.default)
            else:
                with st.container(width=180 if many else "stretch"):
                    values[control.key] = slider(control)
    return values


def slider(control: Control) -> Any:
    """A slider over the options, kept in the link and while another step is on show."""
    if kept(control.key, one_of(control.options, control.form)) is not None:
        STATE[control.key] = control.nearest(STATE[control.key])
    options, default = tuple(control.options), control.default
    value = live_slider(control.label, options, default, control.form, control.key)
    return keep(control.key, value, control.default)


def number_box(control: Control) -> int:
    """A whole number of a control, typed; returns the option that it is."""
    first, last = control.options[0], control.options[-1]
    if (kept(control.key, whole(first, last)) or first) > last:
        STATE[control.key] = last
    value = st.number_input(control.label, first, last, control.default, key=control.key, width=110)
    return keep(control.key, value)


# Ask.


def ask(question: Question, number: int, say: Language) -> bool:
    """The question, and the reply to what was chosen; whether anything was.

    What was chosen is kept while another step is on show, and a right answer marks its step.
    """
    key = f"answer_{number}"
    answers: dict[int, tuple[int, bool]] = STATE.setdefault("answers", {})
    if number in answers and key not in STATE:
        STATE[key] = answers[number][0]

    def note() -> None:
        answers[number] = STATE[key], question.answers[STATE[key]].right

    with st.container(border=True, key="question"):
        chosen = st.radio(
            prose.plain(question.prompt),
            range(len(question.answers)),
            index=None,
            format_func=lambda i: prose.plain(question.answers[i].text),
            key=key,
            on_change=note,
        )
        if chosen is None:
            return False
        answer = question.answers[chosen]
        reply = prose.inline(answer.reply, glossary(say))
        kind, mark = ("right", say("Right.")) if answer.right else ("wrong", say("Not quite."))
        st.html(f'<div class="reply {kind}" role="status"><b>{mark}</b> {reply}</div>')
        return True
