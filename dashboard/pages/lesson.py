"""The lesson: one idea a screen, on a real model and the real kernel.

Choose a step; the step draws its controls and gives its screen; the screen is shown. A link
restores the step with its settings, and ``?present=1`` shows it to a room.
"""

from dataclasses import replace

import streamlit as st

from dashboard.lesson.handout import handout
from dashboard.messages import Message
from dashboard.pages import keys, speaking
from dashboard.pages.drawing import show
from dashboard.pages.lesson_steps import DEFAULT_MODEL, STEPS, printed, source_of
from dashboard.pages.registry import page
from dashboard.pages.remembering import STATE, keep, kept, whole
from dashboard.pages.waiting import Frame
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import Language

STYLE = """
.st-key-screen{display:grid;grid-template-columns:minmax(300px,5fr) 8fr;
grid-template-rows:auto 1fr;gap:1rem 2.5rem;align-items:start}
.st-key-screen>div:has(>.st-key-act){grid-area:1/1}
.st-key-screen>div:has(>.st-key-picture){grid-area:1/2/span 2}
.st-key-screen>div:has(>.st-key-answer){grid-area:2/1}
.st-key-tools{justify-content:space-between}
.st-key-keys{position:absolute;width:1px!important;overflow:hidden}
.st-key-step button{min-width:0;padding-left:.6rem;padding-right:.6rem}
@media(max-width:900px){.st-key-screen{display:flex}}
"""
PRESENT = """
html{font-size:clamp(16px,1.5vw,30px)}
[data-testid=stHeader],[data-testid=stSidebar],.st-key-tools{display:none}
[data-testid=stMainBlockContainer]{padding-top:1.2rem}
.st-key-act .stHorizontalBlock>*{flex:1 1 8rem;width:auto}
"""
ZOOM = 1.3  # of pictures in a room


@page(
    "lesson",
    title=Message("Lesson"),
    question=Message("Why does the output need a scale of its own, and how is one chosen?"),
    group="learn",
    drawings=("lesson_1",),
)
def lesson(frame: Frame, say: Language) -> None:
    """Draw the page."""
    present = st.query_params.get("present") == "1"
    kept("checkpoint")  # also for the steps that have no box for it
    settings = STATE.kept

    # Turn pages.

    def turn(by: int) -> None:
        STATE.step = min(max((STATE.get("step") or 1) + by, 1), len(STEPS))

    def enter() -> None:
        st.query_params["present"] = "1"

    def leave() -> None:
        st.query_params.pop("present", None)

    def pressed() -> None:
        """A presenter's key."""
        move = STATE["keys"].pressed
        if move == "leave":
            leave()
        else:
            turn(1 if move == "next" else -1)

    def paper() -> str:
        """The handout, made when it is asked for."""
        checkpoint = settings.get("checkpoint") or DEFAULT_MODEL
        screens = printed(say, source_of(checkpoint), settings)
        subject = say("Every number was computed from {checkpoint}.", checkpoint=checkpoint)
        return handout(screens, subject, say)

    # Choose.

    st.html(f"<style>{STYLE}{PRESENT if present else ''}</style>")
    with st.container(horizontal=True, vertical_alignment="center", key="tools"):
        kept("step", whole(1, len(STEPS)))
        step = st.segmented_control(
            say("Step"),
            range(1, len(STEPS) + 1),
            default=1,
            key="step",
            required=True,
            label_visibility="collapsed",
        )
        keep("step", step)
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            st.download_button(
                say("Handout"),
                paper,
                f"scalescope-{say.code}.html",
                "text/html",
                key="handout",
                icon=":material/print:",
                on_click="ignore",
                help=say("The whole lesson as one page to print, with your settings."),
            )
            st.button(
                say("Present"),
                key="enter",
                on_click=enter,
                icon=":material/present_to_all:",
                help=say(
                    "Large type for a room. Arrow keys or Page Up and Down turn the page, Escape "
                    "leaves."
                ),
            )
    keys.listen(step, present, pressed)
    heading = st.container(key="heading")
    with st.container(key="screen"):
        act = st.container(key="act")
        picture = st.container(key="picture")
        answer = st.container(key="answer")
    with act:
        task = st.container()
        controls = st.container()
        frame = replace(frame, progress=st.empty())
    with controls:
        screen = STEPS[step - 1](say, frame)

    # Show.

    with heading:
        st.markdown(f"## {step} · {screen.title}")
        speaking.write(screen.claim, say, "claim")
    with task:
        speaking.write(screen.task, say, "prose task")
    with picture:
        show(screen.sheet, key=f"lesson_{step}", zoom=ZOOM if present else 1.0)
    with answer:
        speaking.write(screen.reading, say)
        with st.container(border=True, key="question"):
            chosen = st.radio(
                prose.plain(screen.question.prompt),
                range(len(screen.question.answers)),
                index=None,
                format_func=lambda i: prose.plain(screen.question.answers[i].text),
                key=f"answer_{step}",
            )
            if chosen is not None:
                given = screen.question.answers[chosen]
                reply = prose.inline(given.reply, glossary(say))
                kind, mark = ("right", say("Right.")) if given.right else ("wrong", say("Not so."))
                st.html(f'<div class="reply {kind}" role="status"><b>{mark}</b> {reply}</div>')
        with st.container(horizontal=True):
            st.button(
                say("Previous"),
                key="previous",
                on_click=turn,
                args=(-1,),
                disabled=step == 1,
                icon=":material/arrow_back:",
            )
            st.button(
                say("Next"),
                key="next",
                on_click=turn,
                args=(1,),
                disabled=step == len(STEPS),
                icon=":material/arrow_forward:",
            )
        if screen.table and (chosen is not None or not screen.table.spoils):
            speaking.table(screen.table, say)
        if screen.note:
            speaking.write(screen.note, say, "note")
