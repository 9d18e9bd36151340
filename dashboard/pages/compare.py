"""Compare: two or more of whatever has scales, layer by layer."""

from dataclasses import replace

import streamlit as st

from dashboard import figures
from dashboard.analysis import compare
from dashboard.analysis.report import format_alpha, rule_label
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    text_names,
)
from dashboard.checkpoints import quantized_sample_names, sample_names
from dashboard.export import documents, tables
from dashboard.pages import choosing, loading
from dashboard.pages.choosing import MOST_BATCHES, MOST_TOKENS, Frame
from dashboard.pages.drawing import show
from dashboard.pages.exporting import export_bar
from dashboard.pages.refusing import refusals
from dashboard.pages.remembering import keep, kept, one_of, whole
from dashboard.pages.speaking import spoken
from dashboard.rules.observers import (
    ALPHA_RULES,
    DEFAULT_ALPHA,
    DEFAULT_RULE,
    PUBLISHED_ALPHAS,
    SYMMETRIC_RULES,
    ScaleRule,
)
from dashboard.text import captions

say = spoken()

MOST = 6
BEST = "each layer's best"
ALPHAS = [BEST, *map(format_alpha, (0.9, 0.99, 0.999, *PUBLISHED_ALPHAS))]
PUBLISHED = compare.published_columns()
FIRST = ("mamba-tiny", "mamba2-tiny", next(iter(PUBLISHED)), "mamba2-small-quamba2", "mamba-small",
         "mamba2-small")  # fmt: skip


def column_boxes(i: int) -> tuple[str, str, str, str]:
    """One column's source, rule, α and text."""
    sources = [*sample_names(), *quantized_sample_names(), *PUBLISHED]
    keys = [f"{name}_{'abcdef'[i]}" for name in ("source", "rule", "alpha", "text")]
    kept(keys[0])
    kept(keys[1], one_of(SYMMETRIC_RULES))
    kept(keys[2])
    kept(keys[3])
    source = st.selectbox(
        f"{'ABCDEF'[i]}", sources, sources.index(FIRST[i]), key=keys[0], width=250,
        accept_new_options=True,
        help="A sample, a published table, or type a directory, a Hub id or a calibration file.",
    )  # fmt: skip
    given = source in PUBLISHED or source in quantized_sample_names()
    rule = st.selectbox("Scale rule", list(SYMMETRIC_RULES), key=keys[1], width=150,
                        disabled=given, help=choosing.rule_help(SYMMETRIC_RULES))  # fmt: skip
    alpha = st.selectbox("α", ALPHAS, ALPHAS.index(format_alpha(DEFAULT_ALPHA)), key=keys[2],
                         width=130, accept_new_options=True,
                         disabled=given or rule not in ALPHA_RULES)  # fmt: skip
    text = st.selectbox("Text", text_names(), key=keys[3], width=170, accept_new_options=True,
                        disabled=given)  # fmt: skip
    defaults = (FIRST[i], DEFAULT_RULE, format_alpha(DEFAULT_ALPHA), DEFAULT_TEXT)
    for key, value, default in zip(keys, (source, rule, alpha, text), defaults, strict=True):
        keep(key, value, default)
    return source, rule, alpha, text


def column(i: int, chosen: tuple[str, str, str, str], frame: Frame) -> compare.Column:
    """What a row of boxes stands for; what cannot be used is told, and ends the run."""
    name, _, _, text = chosen
    frame = replace(frame, subject=f" column {'ABCDEF'[i]}, {name}")
    if name in PUBLISHED:
        return PUBLISHED[name]
    wanted = loading.Source(name, text, batches, seq_len)
    with refusals(frame):
        outline = loading.outline(wanted)
        if outline.stored:
            return compare.stored_column(f"{name}, stored", loading.checkpoint(name))
        return loading.column(outline.source, chosen, lambda: _calibrated(outline, chosen, frame))


def _calibrated(
    outline: loading.Outline, chosen: tuple[str, str, str, str], frame: Frame
) -> compare.Column:
    name, observer, alpha, text = chosen
    source = outline.source
    loading.calibration(source, frame.show)
    rules = [_rule(source, layer, observer, alpha) for layer in outline.layers]
    reports = [
        loading.layer_report(source, layer, rule)
        for layer, rule in zip(outline.layers, rules, strict=True)
    ]
    label = f"best α, {observer}" if alpha == BEST and observer in ALPHA_RULES else rule_label(
        rules[0])  # fmt: skip
    shown = name.rsplit("/", 1)[-1]
    told = "" if text == text_names()[0] or source.from_file else f", {text.rsplit('/', 1)[-1]}"
    return compare.calibrated_column(f"{shown}, {label}{told}", reports)


def _rule(source: loading.Source, layer: int, observer: str, alpha: str) -> ScaleRule:
    if observer not in ALPHA_RULES:
        return ScaleRule(observer)
    if alpha == BEST:
        return ScaleRule(observer, loading.landscape(source, layer, 0).best_alpha)
    try:
        return ScaleRule(observer, float(alpha))
    except ValueError:
        raise ValueError(f"α is {alpha!r}; give a number with 0 < α <= 1, or {BEST}") from None


choosing.heading()
kept("columns", whole(2, MOST))
kept("batches", whole(1, MOST_BATCHES))
kept("seq_len", whole(1, MOST_TOKENS))
with st.container(horizontal=True, vertical_alignment="bottom"):
    count = st.number_input("Columns", 2, MOST, 2, key="columns", width=130)
    batches = int(st.number_input("Batches", 1, MOST_BATCHES, DEFAULT_BATCHES, key="batches",
                                  width=130))  # fmt: skip
    seq_len = int(st.number_input("Tokens a batch", 1, MOST_TOKENS, DEFAULT_SEQ_LEN, key="seq_len",
                                  width=130))  # fmt: skip
keep("columns", count)
keep("batches", batches, DEFAULT_BATCHES)
keep("seq_len", seq_len, DEFAULT_SEQ_LEN)
chosen = []
for i in range(int(count)):
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"column_{i}"):
        chosen.append(column_boxes(i))
frame = Frame(st.empty(), st.empty(), st.empty())
columns = [column(i, each, frame) for i, each in enumerate(chosen)]
frame.progress.empty()

headline_slot = st.container()
kept("quantity", one_of(compare.QUANTITIES))
quantity = st.segmented_control(
    "Quantity", compare.QUANTITIES, default="x_out_scale", key="quantity", required=True,
    label_visibility="collapsed",
)  # fmt: skip
keep("quantity", quantity, "x_out_scale")
headline = captions.compare_headline(columns, quantity, say)
with headline_slot:
    st.markdown(f"## {headline}")
    st.markdown(captions.compare_verdict(columns, say))
lines = figures.compared_lines(columns, quantity, say)
show(lines, key="lines")
rows = captions.compare_rows(columns, quantity, say)
st.dataframe(rows, hide_index=True, width="stretch")
st.caption(
    "Of the x slice. Of grouped scales x_out_scale and the ratios are of the mean, as the "
    "published ones are; their least and greatest are quantities too. Every column against A."
)
flat = compare.compared_rows(columns)
export_bar(
    "compared",
    {
        "csv": lambda: tables.rows_as_csv(flat),
        "json": lambda: tables.as_json({"columns": [c.label for c in columns], "rows": flat}),
        "html": lambda: documents.report_html(
            "Scales compared",
            [
                documents.Section(headline, [captions.compare_verdict(columns, say)]),
                documents.Section(quantity, figure=lines, rows=rows),
            ],
            say,
        ),
    },
)
