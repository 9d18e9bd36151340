"""The row of buttons at the end of a page: what it shows, as a file."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import plotly.graph_objects as go
import streamlit as st

from dashboard import figures
from dashboard.analysis.report import KernelRun, LayerReport
from dashboard.checkpoints import Checkpoint
from dashboard.export import documents, quamba_entries, tables
from dashboard.export.provenance import Provenance, labelled
from dashboard.figures.theme import SentFigure
from dashboard.pages import loading, presenting, studies
from dashboard.pages.controls import Choice
from dashboard.pages.drawing import show
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import Language

MIME = {
    "csv": "text/csv",
    "json": "application/json",
    "html": "text/html",
    "bin": "application/octet-stream",
}


def origin_of(choice: Choice, rule: ScaleRule | None) -> Provenance:
    """Where the numbers of a page come from; ``rule`` is None for stored scales."""
    stored = choice.outline.stored
    origin = None if stored else choice.calibration.origin
    return Provenance(
        origin.checkpoint if origin else choice.source.checkpoint,
        origin.text if origin else "",
        origin.batches if origin else 0,
        origin.seq_len if origin else 0,
        rule,
        datetime.date.today().isoformat(),
    )


def show_figure(
    figure: go.Figure | SentFigure,
    key: str,
    choice: Choice,
    say: Language,
    on_pick: Callable[[], None] = lambda: None,
    rule: ScaleRule | None = None,
) -> None:
    """Draw a figure whose saved copies say where they come from.

    Args:
        on_pick: as of ``drawing.show``.
        rule: of the figure, where it is not the bar's.
    """
    origin = origin_of(choice, None if choice.outline.stored else rule or choice.rule)
    where = say("layer {layer}, slice {slice}", layer=choice.layer, slice=choice.slice_name)
    show(
        figure,
        key,
        on_pick,
        presenting.ZOOM if presenting.is_presenting() else 1.0,
        file=origin.file_name(f"{key}-layer-{choice.layer}-{choice.slice_name}"),
        note=say.sentences(origin.sentence(say), where),
    )


def export_rows(
    name: str, choice: Choice, rule: ScaleRule | None, rows: Sequence[dict], say: Language
) -> None:
    """CSV and JSON of flat rows: what a table or a chart is made of."""
    origin = origin_of(choice, rule)
    files: dict[str, Callable[[], str | bytes]] = {
        "csv": lambda: tables.rows_as_csv(labelled(rows, origin)),
        "json": lambda: tables.as_json(origin.columns() | {"rows": list(rows)}),
    }
    export_bar(name, origin, files, say)


def export_bar(
    name: str,
    origin: Provenance,
    files: Mapping[str, Callable[[], str | bytes]],
    say: Language,
    note: str = "",
) -> None:
    """A button for each format; a file is made when it is asked for.

    Args:
        name: what the files are about; of the buttons' keys, too.
        files: the suffix of each file, and what makes its content.
        note: a caption beside the buttons.
    """
    labels = {
        "csv": "CSV",
        "json": "JSON",
        "html": say("HTML report"),
        "bin": say("Quamba entries"),
    }
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(say("Export"), width="content")
        for suffix, make in files.items():
            st.download_button(
                labels[suffix],
                make,
                f"{origin.file_name(name)}.{suffix}",
                MIME[suffix],
                key=f"export_{name}_{suffix}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )
        if note:
            st.caption(note, width="content")


def export_layer(
    choice: Choice, study: studies.SliceStudy, kernel: KernelRun | None, say: Language
) -> None:
    """One layer under a rule: its measures, its scales for Quamba, and a report to send."""
    report = replace(study.layer, kernel=kernel)
    origin = origin_of(choice, choice.rule)
    document = documents.document(choice.calibration.origin, choice.rule, [report])
    document |= {"date": origin.date}
    rows = list(tables.slice_rows(document))
    quamba, note = quamba_file([report], choice, say)
    export_bar(
        f"layer-{choice.layer}-{choice.slice_name}",
        origin,
        {
            "csv": lambda: tables.rows_as_csv(labelled(rows, origin)),
            "json": lambda: tables.as_json(document),
            **quamba,
            "html": lambda: layer_report_html(choice, study, rows, origin, say),
        },
        say,
        note,
    )


def layer_report_html(
    choice: Choice, study: studies.SliceStudy, rows: list[dict], origin: Provenance, say: Language
) -> str:
    """What Explore shows of a slice, as one file."""
    others = [(study.beside, "beside"), (study.best, "best")]
    return documents.report_html(
        say(
            "{checkpoint}, layer {layer}, slice {slice}",
            checkpoint=origin.checkpoint,
            layer=choice.layer,
            slice=choice.slice_name,
        ),
        origin.sentence(say),
        [
            documents.Section(
                captions.verdict(study.report, study.landscape, say),
                [captions.proof(study.report, study.landscape, say)],
                figures.transfer(study.report, others, True, say),
            ),
            documents.Section(
                say("How each scale uses INT8"),
                [captions.table_caption(study.rows, say)],
                figures.scale_table(study.rows, study.has_beside, say, study.landscape.by),
            ),
            documents.Section(
                say("Utilization against scale_wx"),
                [captions.sweep_caption(study.report, say)],
                figures.utilization_sweep(study.sweep, study.rows, say),
            ),
            documents.Section(say("Every measure"), rows=rows),
        ],
        say,
    )


def quamba_file(
    reports: Sequence[LayerReport], choice: Choice, say: Language
) -> tuple[dict[str, Callable[[], bytes]], str]:
    """The file of Quamba's entries where there can be one, and a note about it.

    There can be none of a calibration file: it does not say how many SSD groups there are.
    """
    refusal = quamba_entries.refusal(reports[0].slices[0].chosen.rule)
    if refusal is not None:
        return {}, say(refusal)
    if choice.source.from_file:
        return {}, say(
            "A calibration file does not know Quamba's groups: its scales leave as JSON or CSV."
        )
    checkpoint: Checkpoint = loading.checkpoint(choice.source.checkpoint)
    groups = checkpoint.architecture.n_groups
    note = say(
        "Quamba entries: output scales that go into a Quamba checkpoint's state dict, in its "
        "names, shapes and types."
    )
    if groups is None:
        note += " " + say(
            "A W8A8 one folds them into x_proj: `python -m dashboard export … --into` does that."
        )
    return {
        "bin": lambda: quamba_entries.as_bytes(quamba_entries.scale_entries(reports, groups))
    }, note
