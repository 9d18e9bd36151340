"""The lesson: one idea a screen, on a real model and the real kernel.

Choose a step; the step draws its controls and gives its screen; the screen is shown. A link
restores the step with its settings, and ``?present=1`` shows it to a room.
"""

import html
import time

import streamlit as st

from dashboard import prose
from dashboard.calibration import CalibrationError, Progress
from dashboard.checkpoints import CheckpointError
from dashboard.glossary import glossary
from dashboard.pages import keys, loading, speaking
from dashboard.pages.choosing import PROGRESS_SECONDS, STATE, keep, kept
from dashboard.pages.drawing import show
from dashboard.pages.lesson_steps import STEPS, Studied

STYLE = """
.st-key-screen{display:grid;grid-template-columns:minmax(300px,5fr) 8fr;
grid-template-rows:auto 1fr;gap:1rem 2.5rem;align-items:start}
.st-key-screen>div:has(>.st-key-act){grid-area:1/1}
.st-key-screen>div:has(>.st-key-picture){grid-area:1/2/span 2}
.st-key-screen>div:has(>.st-key-answer){grid-area:2/1}
.claim{font-size:1.125rem;line-height:1.55;max-width:52rem}
.claim p,.prose p{margin:0 0 .5rem}
.task{font-weight:650}
.prose{line-height:1.55}
.context{font:1rem/1.6 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.context mark{background:var(--st-text-color);color:var(--st-background-color);padding:0 .15em}
.note{opacity:.8;font-size:.875rem}
.reply{border-left:4px solid;padding:.1rem 0 .1rem .8rem;line-height:1.5}
.reply.right{border-color:var(--st-green-color)}
.reply.wrong{border-color:var(--st-red-color)}
.st-key-tools{justify-content:space-between}
@media(max-width:900px){.st-key-screen{display:flex}}
"""
PRESENT = """
html{font-size:clamp(16px,1.55vw,30px)}
[data-testid=stHeader],[data-testid=stSidebar],.st-key-tools{display:none}
[data-testid=stMainBlockContainer]{padding-top:1.5rem}
"""
ZOOM = 1.35  # of pictures in a room
say = speaking.spoken()
present = st.query_params.get("present") == "1"


# Turn pages.


def turn(by: int) -> None:
    STATE.step = min(max((STATE.get("step") or 1) + by, 1), len(STEPS))


def leave() -> None:
    st.query_params.pop("present", None)


def pressed() -> None:
    """A presenter's key."""
    move = STATE["keys"].pressed
    if move == "leave":
        leave()
    else:
        turn(1 if move == "next" else -1)


class Frame:
    """Where a step reports what it is waiting for, and what cannot be used."""

    def __init__(self, slot, context) -> None:
        self._slot, self._context = slot, context
        self._shown_at = 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._shown_at >= PROGRESS_SECONDS:
            self._shown_at = now
            words = say("Calibrating: batch {batch} of {batches}, layer {layer}",
                        batch=progress.batch + 1, batches=progress.batches,
                        layer=progress.layer)  # fmt: skip
            self._slot.progress(progress.share, words)

    def refuse(self, sentence: str) -> None:
        """What cannot be used; the controls above stay."""
        self._slot.error(sentence, icon=":material/error:")
        st.stop()

    def prepare(self, source: loading.Source) -> Studied:
        """A source, calibrated; one that cannot be used ends the run with a sentence."""
        try:
            outline = loading.outline(source)
            if not loading.is_calibrated(outline.source):
                self._slot.progress(0.0, say("Loading {checkpoint}", checkpoint=source.checkpoint))
            loading.calibration(outline.source, self.show)
        except (CheckpointError, CalibrationError) as error:
            self.refuse(str(error))
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


# Show.

speaking.style()
st.html(f"<style>{STYLE}{PRESENT if present else ''}</style>")
with st.container(horizontal=True, vertical_alignment="center", key="tools"):
    kept("step")
    step = st.segmented_control(
        say("Step"),
        range(1, len(STEPS) + 1),
        default=None if "step" in STATE else 1,
        key="step",
        required=True,
        bind="query-params",
        label_visibility="collapsed",
    )
    keep("step", step)
    with st.container(horizontal=True, width="content", vertical_alignment="center"):
        say = speaking.language_switch()
        st.button(say("Present"), icon=":material/present_to_all:", key="enter",
                  on_click=lambda: st.query_params.update(present="1"),
                  help=say("Large type for a room. Arrow keys or Page Up and Down turn the page, "
                           "Escape leaves."))  # fmt: skip
keys.listen(step, present, pressed)
heading = st.container(key="heading")
with st.container(key="screen"):
    act = st.container(key="act")
    picture = st.container(key="picture")
    answer = st.container(key="answer")
with act:
    task = st.container()
    controls = st.container()
    context = st.container()
    frame = Frame(st.empty(), context)
with controls:
    screen = STEPS[step - 1](say, frame)

with heading:
    st.markdown(f"## {step} · {screen.title}")
    speaking.write(screen.claim, say, "claim")
with task:
    speaking.write(screen.task, say, "prose task")
with picture:
    show(screen.sheet, key=f"drawing_{step}", zoom=ZOOM if present else 1.0)
with answer:
    speaking.write(screen.reading, say)
    if screen.table:
        speaking.table(screen.table, say)
    if screen.note:
        speaking.write(screen.note, say, "note")
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
            mark = say("Right.") if given.right else say("Not so.")
            kind = "right" if given.right else "wrong"
            st.html(f'<div class="reply {kind}" role="status"><b>{mark}</b> {reply}</div>')
    with st.container(horizontal=True):
        st.button(say("Previous"), key="previous", on_click=turn, args=(-1,), disabled=step == 1,
                  icon=":material/arrow_back:")  # fmt: skip
        st.button(say("Next"), key="next", on_click=turn, args=(1,), type="primary",
                  disabled=step == len(STEPS), icon=":material/arrow_forward:")  # fmt: skip
