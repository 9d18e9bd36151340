"""Every registered page in Chinese, without a browser: nothing that it shows is English.

Names stay as they are in every language: of measures, rules, models, files, formats and units, and
what stands in code. Whatever else has Latin letters is a word that nobody translated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from opening import asked, opened
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Dataframe, Table

from dashboard import cli, formats
from dashboard.analysis.compare import published_columns
from dashboard.calibration import text_names
from dashboard.checkpoints import quantized_sample_names, sample_names
from dashboard.pages.registry import pages
from dashboard.rules.observers import RULES

QUICK = {"batches": "2", "seq_len": "64", "lang": "zh-CN"}
NAMES = {
    # number formats, in full and as a drawing has room for, and how many values they have
    *formats.names(), "INT", "FP8 E4M3", "FP8 E5M2", "FP4 E2M1", "NF4", "three-segments",
    "quarter", "minmax", "double", "half", "points",
    *RULES, *sample_names(), *quantized_sample_names(), *text_names(), *published_columns(),
    # languages, models, methods and formats
    "English", "Language / 语言", "Mamba", "Quamba", "Quamba-SE", "Quamba2", "W8A8QMamba2", "SiLU",
    "causal conv1d", "Conv1d", "conv1d", "SSD", "INT8", "int8", "FP32", "float16", "float32",
    "SQNR", "KL", "MinMax", "ACIQ", "Laplace", "TensorRT", "k-means", "torch.compile",
    "AuthorFolder", "absmax", "amax", "shape", "mixer", "state dict",
    # of the kernel: variants, steps as its source names them, machines
    "exact", "fast", "fast math", "sequence-last", "channel-last", "window", "acc", "rounded",
    "weight", "bias", "triton-interpret", "triton", "torch", "CUDA", "GPU", "PTX", "NVIDIA", "FMA",
    # of formulas
    "log10", "log", "max", "min", "exp", "clamp", "round", "quantize", "code", "scale", "argmin",
    # units, files and keys
    "dB", "ms", "GB", "nats", "TB/s", "Hub", "id", "owner/name", "UTF-8", "JSON", "CSV", "HTML",
    "PNG", "SVG",
    "arXiv", "Page Up", "Page Down", "Esc",
}  # fmt: skip
HAN = re.compile(r"[\u4e00-\u9fff]")
LATIN = re.compile(r"[A-Za-z][A-Za-z]+")
# What holds no words: styles, code, quotations and where they stand, tags, gaps of figures,
# Streamlit's marks, links; paths, and whatever has an underscore, as measures and entries do.
PASSAGES = (r"<style>.*?</style>", r"<code>.*?</code>", r"`[^`]*`", r"<q\b.*?</q>",
            r"<cite>.*?</cite>", r"<[^>]+>", r"%\{[^}]*\}", r"&\w+;", r":[a-z]+\[",
            r":material/\w+:", r"https?:\S+", r"[\w.-]*[/\\][\w./\\-]+",
            r"\w*_\w+(?:\.md)?", r"torch \S+")  # fmt: skip


def leftovers(text: str, *names: str) -> list[str]:
    """The Latin words of a text that are no names, and none of ``names``."""
    for passage in PASSAGES:
        text = re.sub(passage, " ", text, flags=re.S)
    for name in sorted({*NAMES, *names}, key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", " ", text)
    return LATIN.findall(text)


def shown(app: AppTest) -> Iterator[tuple[str, str]]:
    """What a page shows, each with the kind of element that shows it."""
    for kind in ("markdown", "caption", "info", "error", "title"):
        for element in app.get(kind):
            yield kind, element.value
    for element in app.get("html"):
        yield "html", element.proto.body
    for kind in (
        "selectbox",
        "button",
        "toggle",
        "number_input",
        "slider",
        "select_slider",
        "button_group",
        "metric",
        "radio",
        "download_button",
        "expander",
        "page_link",
        "popover",
    ):
        for element in app.get(kind):
            proto = element.proto.popover if kind == "popover" else element.proto
            for field in ("label", "help", "placeholder"):
                yield f"{kind} {field}", str(getattr(proto, field, "") or "")
            for option in getattr(proto, "options", ()):
                yield f"{kind} option", str(getattr(option, "content", option))
    for table in [*app.dataframe, *app.table]:
        yield from cells(table)
    for element in app.get("bidi_component"):
        if element.proto.component_name == "scalescope_figure":
            yield from drawn(json.loads(element.proto.json))
        if element.proto.component_name == "scalescope_damage":
            data = json.loads(element.proto.json)
            heads = [re.sub("“.*?”", " ", piece["head"], flags=re.S) for piece in data["pieces"]]
            for text in (data["alt"], data["hint"], *data["columns"], *heads):
                yield "text", text


def cells(table: Dataframe | Table) -> Iterator[tuple[str, str]]:
    """Names of columns, as the page renames them, and what is text below them."""
    config = json.loads(getattr(table.proto, "columns", "") or "{}")
    for column in table.value.columns:
        own = config.get(str(column), {})
        yield "header", str(own.get("label", column))
        yield "header help", str(own.get("help") or "")
        for value in table.value[column]:
            if isinstance(value, str):
                yield "cell", value


SAID = ("text", "hovertext", "hovertemplate", "customdata", "alt", "label", "ticktext", "words")


def drawn(data: object, words: bool = False) -> Iterator[tuple[str, str]]:
    """What a figure says: in its drawing, at the pointer, on its buttons, to a screen reader."""
    if isinstance(data, dict):
        for key, value in data.items():
            value = json.loads(value) if key == "figure" else value
            yield from drawn(value, key in SAID or (words and isinstance(value, dict | list)))
    elif isinstance(data, list):
        for value in data:
            yield from drawn(value, words)
    elif words and isinstance(data, str):
        yield "figure", data


def english(app: AppTest, *names: str) -> list[tuple[str, str, list[str]]]:
    """What is shown and has English left in it; ``names`` may stand anywhere."""
    return [
        (kind, text[:120], left) for kind, text in shown(app) if (left := leftovers(text, *names))
    ]


@pytest.mark.parametrize("key", pages())
@pytest.mark.parametrize("checkpoint", ["mamba2-tiny", "mamba-tiny", "mamba2-small-quamba2"])
def test_a_page_in_chinese_shows_no_english(key, checkpoint):
    app = opened(key, checkpoint=checkpoint, **QUICK)
    assert english(app) == []
    assert any(HAN.search(text) for _, text in shown(app))


@pytest.mark.parametrize("key", ["explore", "layers", "kernel"])
def test_an_asymmetric_scale_is_told_in_chinese(key):
    app = opened(key, checkpoint="mamba2-tiny", rule="minmax", asymmetric="true", **QUICK)
    assert english(app) == []


def test_a_calibration_file_is_told_in_chinese(tmp_path):
    path = str(tmp_path / "counts.safetensors")
    options = ["--batches", "2", "--seq-len", "64", "--out", path]
    assert cli.main(["calibrate", "mamba2-tiny", *options]) == 0
    for key in pages():
        assert english(opened(key, checkpoint=path, **QUICK), "counts.safetensors") == []


def test_a_quantized_checkpoint_is_judged_in_chinese():
    app = opened("layers", checkpoint="mamba2-small-quamba2", against="mamba2-small", **QUICK)
    assert english(app) == []


REFUSED = [
    {"checkpoint": "nowhere"}, {"checkpoint": "no/such-model"}, {"text": "nothing.txt"},
    {"batches": "1024", "seq_len": "8192"}, {"batches": "1000", "seq_len": "2000"},
    {"checkpoint": "{directory}"}, {"text": "{directory}/short.txt"},
    {"checkpoint": "{directory}/cut.safetensors"},
]  # fmt: skip


@pytest.mark.parametrize("settings", REFUSED, ids=lambda settings: "-".join(settings.values()))
@pytest.mark.parametrize("key", ["explore", "held-out", "compare"])
def test_a_refusal_is_told_in_chinese(key, settings, tmp_path, monkeypatch):
    """But for what a library says of a file or of the network, which is quoted after a colon."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "short.txt").write_text("zu kurz")
    (tmp_path / "cut.safetensors").write_bytes(b"{")
    settings = {name: value.format(directory=tmp_path) for name, value in settings.items()}
    app = asked(key, **{**QUICK, "checkpoint": "mamba2-tiny", **settings}).run()
    assert not app.exception
    (error,) = app.error
    sentence = error.value.replace("\\", "")
    for value in settings.values():
        sentence = sentence.replace(value, " ")
    before, _, _ = sentence.partition("：")
    assert HAN.search(before)
    assert leftovers(before) == []


@pytest.mark.parametrize("column", [{"alpha_b": "often"}, {"source_b": "nowhere"}])
def test_what_a_column_of_compare_cannot_be_is_told_in_chinese(column):
    (error,) = opened("compare", checkpoint="mamba2-tiny", **QUICK, **column).error
    assert HAN.search(error.value)
    assert set(leftovers(error.value)) <= set(column.values())
