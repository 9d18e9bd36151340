"""What scales are made of: the boxes of checkpoint, text, tokenizer, batches, and of uploads."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard.calibration import DEFAULT_BATCHES, DEFAULT_SEQ_LEN, DEFAULT_TEXT
from dashboard.checkpoints import memory, quantized_sample_names, sample_names
from dashboard.checkpoints.hub import STATE_SPACES_TOKENIZER
from dashboard.messages import Message
from dashboard.pages import access, calibrating, outlining, uploads
from dashboard.pages.outlining import MOST_BATCHES, MOST_TOKENS
from dashboard.pages.refusing import plain
from dashboard.pages.remembering import STATE, keep, kept, whole
from dashboard.pages.sources import Source, is_calibration_file, text_choices
from dashboard.refusals import Refusal
from dashboard.text.language import Language

# In place of Streamlit's own, which page.css hides.
UPLOAD_WORDS = """
.st-key-upload_box section button p::after {{ content: "{button}"; }}
.st-key-upload_box [data-testid=stFileUploaderDropzoneInstructions] span::after {{
  content: "{sizes}";
}}
"""
CHOOSE = Message("Choose one, or enter another")  # in an empty box, for Streamlit's own words


def checkpoint_box(say: Language, default: str = "") -> str:
    """The checkpoint: a sample, or what is typed; ``default`` where nothing was chosen yet."""
    names = [*sample_names(), *quantized_sample_names(), *uploads.names("calibration")]
    kept("checkpoint")
    name = st.selectbox(
        say("Checkpoint"),
        names,
        names.index(default) if default else 0,
        key="checkpoint",
        width=204,
        accept_new_options=True,
        placeholder=say(CHOOSE),
        format_func=upload_form(say),
        help=say("A sample, or type a directory, a Hub id (owner/name) or a calibration file."),
    )
    return keep("checkpoint", name) or default or names[0]


def upload_form(say: Language) -> Callable[[str], str]:
    """How a box shows what it offers: an upload by what its visitor calls it."""

    def form(name: str) -> str:
        if not uploads.is_upload(name):
            return name
        return say("{name} (uploaded)", name=uploads.title(name))

    return form


def _upload_box(say: Language) -> None:
    """Where a file is uploaded: a text, or a calibration file in place of a checkpoint."""
    most = uploads.limit_mb()
    if not most:
        return
    # Under a new key it is empty again: what was sent is one of the choices above by then.
    key = f"upload_{len(STATE.get('files_sent', ()))}"
    words = UPLOAD_WORDS.format(
        button=say("Choose a file"),
        sizes=say(
            ".txt, at most {text}; .safetensors, {file}",
            text=memory.size_text(min(uploads.TEXT_MB, most) * uploads.MB),
            file=memory.size_text(most * uploads.MB),
        ),
    )
    with st.container(key="upload_box"):
        st.html(f"<style>{words}</style>")
        st.file_uploader(
            say("Or upload a text or counts"),
            [suffix.removeprefix(".") for suffix in uploads.KINDS],
            key=key,
            max_upload_size=most,
            on_change=_take_upload,
            args=(key,),
            help=say(
                "A UTF-8 text, or, in place of a checkpoint, a calibration file as `python -m "
                "dashboard calibrate` writes it. It is this visit's alone: nobody else can open "
                "it, and it is gone when the tab has been closed for a while."
            ),
        )
    if "upload_refused" in STATE:
        st.error(plain(say(STATE.upload_refused)), icon=":material/error:")


def _take_upload(key: str) -> None:
    """For a file that has arrived: it is chosen, or it is said why it cannot be."""
    STATE.pop("upload_refused", None)
    sent = STATE.get(key)
    if not isinstance(sent, UploadedFile):  # taken back, or taken before
        return
    STATE.files_sent = [*STATE.get("files_sent", ()), key]
    try:
        own = uploads.take(sent)
    except Refusal as error:
        STATE.upload_refused = error.message
        return
    STATE["text" if own.kind == "text" else "checkpoint"] = own.name


def calibration_box(name: str, say: Language) -> Source:
    """The text, how many batches of it, and how long: what the checkpoint is calibrated on.

    A calibration file says all of it, once it is read.
    """
    if is_calibration_file(name):
        return Source(name, "", 0, 0)
    kept("text")
    batches = kept("batches", whole(1, MOST_BATCHES)) or DEFAULT_BATCHES
    seq_len = kept("seq_len", whole(1, MOST_TOKENS)) or DEFAULT_SEQ_LEN
    label = say("Calibration: {batches} × {tokens} tokens", batches=batches, tokens=seq_len)
    with st.popover(label, key="calibration"):
        text = st.selectbox(
            say("Text"),
            text_choices(),
            key="text",
            accept_new_options=True,
            format_func=upload_form(say),
            placeholder=say(CHOOSE),
            help=say("A text that comes with the project, or type the path of a UTF-8 file."),
        )
        tokenizer = _tokenizer_box(name, say)
        most_batches, most_tokens = outlining.bounds(name, batches, seq_len)

        def count_box(label: str, key: str, now: int, most: int, default: int, allowed: int) -> int:
            last = max(most, now)  # what a link asks for beyond stays, and is refused with its size
            return st.number_input(
                label,
                1,
                last,
                min(default, last),
                key=key,
                help=_bound_help(most, allowed, say),
            )

        batches = count_box(
            say("Batches"), "batches", batches, most_batches, DEFAULT_BATCHES, MOST_BATCHES
        )
        seq_len = count_box(
            say("Tokens in each batch"),
            "seq_len",
            seq_len,
            most_tokens,
            DEFAULT_SEQ_LEN,
            MOST_TOKENS,
        )
        _upload_box(say)
    return Source(
        name,
        keep("text", text, DEFAULT_TEXT) or DEFAULT_TEXT,
        int(keep("batches", batches, DEFAULT_BATCHES)),
        int(keep("seq_len", seq_len, DEFAULT_SEQ_LEN)),
        tokenizer,
    )


def _tokenizer_box(name: str, say: Language) -> str:
    """What texts are read with in place of the checkpoint's own; no box for one of bytes."""
    own = outlining.own_tokenizer(name)
    if own == "bytes":
        return ""
    words = {
        "own": say("the checkpoint's own"),
        "fetched": say("GPT-NeoX's, as state-spaces' models have it"),
        "none": say("none yet: choose one"),
    }
    offered = [""]
    if own != "fetched" and access.is_hub_open():
        offered.append(STATE_SPACES_TOKENIZER)
    kept("tokenizer")
    tokenizer = st.selectbox(
        say("Tokenizer"),
        offered,
        key="tokenizer",
        accept_new_options=True,
        format_func=lambda option: option or words[own],
        placeholder=say(CHOOSE),
        help=say(
            "What makes tokens of a text: the checkpoint's own, or type a directory or a Hub id "
            "(owner/name). Another than the model was trained with gives numbers that mean nothing."
        ),
    )
    return keep("tokenizer", tokenizer or "", "")


def _bound_help(most: int, ever: int, say: Language) -> str:
    """Where a box ends, and why there."""
    if most == ever:
        return say(
            "At most {most} on a page; the command line has no such limit.", most=f"{most:,}"
        )
    return say(
        "At most {most}: so much of this checkpoint fits into the memory that a page may take for "
        "one layer, or for one forward.",
        most=f"{most:,}",
    )


def say_origin(source: Source, say: Language) -> None:
    """What a calibration file was counted from, where the calibration is chosen otherwise."""
    origin = calibrating.calibration(source, lambda _: None).origin
    label = say(
        "Calibration: {batches} × {tokens} tokens", batches=origin.batches, tokens=origin.seq_len
    )
    with st.popover(label, key="calibration"):
        st.caption(
            say(
                "Counts of {checkpoint} on {batches} × {tokens} tokens of {text}",
                checkpoint=plain(origin.checkpoint),
                batches=origin.batches,
                tokens=origin.seq_len,
                text=plain(origin.text),
            )
        )
        _upload_box(say)
