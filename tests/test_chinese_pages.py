"""Every registered page in Chinese, without a browser: nothing that it shows is English.

Names stay as they are in every language: of measures, rules, models, files, formats and units, and
what stands in code. Whatever else has Latin letters is a word that nobody translated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from opening import opened
from streamlit.testing.v1 import AppTest

from dashboard.analysis.compare import published_columns
from dashboard.calibration import text_names
from dashboard.checkpoints import quantized_sample_names, sample_names
from dashboard.pages.registry import pages
from dashboard.rules.observers import RULES

QUICK = {"batches": "2", "seq_len": "64", "lang": "zh-CN"}
NAMES = {
    *RULES, *sample_names(), *quantized_sample_names(), *text_names(), *published_columns(),
    "English", "SiLU", "INT8", "SQNR", "dB", "MinMax", "Mamba", "Quamba", "Quamba2",
    "TensorRT", "KL", "ACIQ",
    "Hub", "id", "owner/name", "UTF", "JSON", "CSV", "HTML", "PTX", "CUDA", "GPU", "Triton",
    "torch", "state dict", "float16", "float32",
}  # fmt: skip
LATIN = re.compile(r"[A-Za-z][A-Za-z'’]+")
# In code, in an element of HTML or its attributes, a measure or a key (with an underscore), a path.
NO_WORDS = re.compile(
    r"`[^`]*`|<code>.*?</code>|<q lang=\"(?:en|zh)\">.*?</q>|<style>.*?</style>|<[^>]+>|&\w+;|"
    r":[a-z]+\[|:material/\w+:|\w*_\w+|\S*[/\\]\S+|https?:\S+",
    re.S,
)


def leftovers(text: str) -> list[str]:
    """The Latin words of a text that are no names."""
    text = NO_WORDS.sub(" ", text)
    for name in sorted(NAMES, key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", " ", text)
    return LATIN.findall(text)


def shown(app: AppTest) -> Iterator[tuple[str, str]]:
    """What a page shows, each with the kind of element that shows it."""
    for kind in ("markdown", "caption", "info", "error", "title"):
        for element in app.get(kind):
            yield kind, element.value
    for element in app.get("html"):
        yield "html", element.proto.body
    for kind in ("selectbox", "button", "toggle", "number_input", "slider", "select_slider",
                 "button_group", "metric", "radio", "download_button", "expander", "page_link",
                 "popover"):  # fmt: skip
        for element in app.get(kind):
            proto = getattr(element, "proto", element)
            for field in ("label", "help", "placeholder"):
                yield f"{kind} {field}", str(getattr(proto, field, "") or "")
            for option in getattr(proto, "options", ()):
                yield f"{kind} option", str(getattr(option, "content", option))
    for table in [*app.dataframe, *app.table]:
        frame = table.value
        config = json.loads(getattr(table.proto, "columns", "") or "{}")
        for column in frame.columns:
            label = config.get(str(column), {}).get("label")
            yield "header", str(column if label is None else label)
            for value in frame[column]:
                if isinstance(value, str):
                    yield "cell", value


def english(app: AppTest) -> list[tuple[str, str, list[str]]]:
    return [(kind, text[:120], left) for kind, text in shown(app) if (left := leftovers(text))]


@pytest.mark.parametrize("key", pages())
@pytest.mark.parametrize("checkpoint", ["mamba2-tiny", "mamba-tiny", "mamba2-small-quamba2"])
def test_a_page_in_chinese_shows_no_english(key, checkpoint):
    app = opened(key, checkpoint=checkpoint, **QUICK)
    assert english(app) == []
