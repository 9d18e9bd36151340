"""What leaves the project: a report to send, code to repeat.

Tables leave as CSV and JSON (``tables``), scales for Quamba's loader by ``quamba_entries``; what is
here is for one reader. The report needs no server and no network to be read, and the
snippet repeats a scale in plain torch, so that nobody has to believe this project's histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from dashboard.analysis.formats import INT8, FormatLayer
from dashboard.analysis.report import LayerReport
from dashboard.calibration import Origin
from dashboard.checkpoints import ConvSlice
from dashboard.figures.theme import document_scripts, to_html
from dashboard.rules.observers import ScaleRule
from dashboard.text.language import Language
from dashboard.text.templates import templates

REPORT_WIDTH = 1040  # px, of its drawings
CHARACTERS = 110  # of a table's row, on a printed page
KEYS = ("layer", "slice")  # columns that say what a row is about


def document(
    origin: Origin,
    rule: ScaleRule,
    reports: Sequence[LayerReport] | Sequence[FormatLayer],
    number_format: str | None = None,
) -> dict:
    """Every layer under a rule, as ``analyze --format json`` writes it.

    Args:
        number_format: its name; None is INT8, symmetric or not as the rule is.
    """
    kernel = next((report.kernel for report in reports if report.kernel), None)
    return {
        "checkpoint": origin.checkpoint,
        "family": origin.family,
        "backend": kernel and kernel.backend,
        "text": origin.text,
        "text_sha256": origin.text_sha256,
        "batches": origin.batches,
        "seq_len": origin.seq_len,
        "observer": rule.observer,
        "alpha": rule.alpha,
        "sigma": rule.sigma,
        "order": rule.order,
        "symmetric": rule.symmetric,
        "number_format": number_format or INT8[0 if rule.symmetric else 1],
        "layers": [report.as_dict() for report in reports],
    }


@dataclass(frozen=True)
class Section:
    """A section of a report: a heading, what to notice, and a drawing or a table or both.

    ``words`` are captions, with the marks of ``dashboard.text.prose``; ``rows`` have one set of
    keys, the table's header.
    """

    heading: str
    words: Sequence[str] = ()
    figure: go.Figure | None = None
    rows: Sequence[dict] = ()


def report_html(title: str, origin: str, sections: Sequence[Section], say: Language) -> str:
    """A report that stands alone: one HTML file with its drawings, light or dark as its reader.

    What it looks like is in ``report.html`` beside this module. The words are in the language of
    ``say`` already. plotly.js lies in it once, 1.5 MB, and figures keep their hover. As SVG four
    figures would take 425 kB, where their numbers take 424; but only a browser makes it of them,
    which a server need not have. Chromium prints those four with their tables as 112 kB of vectors.

    Args:
        origin: a sentence that says where its numbers come from.
    """
    template = templates(Path(__file__).parent).get_template("report.html")
    has_figures = any(section.figure is not None for section in sections)
    return template.render(
        title=title,
        origin=origin,
        sections=sections,
        width=REPORT_WIDTH,
        scripts=Markup(document_scripts() if has_figures else ""),
        drawn=_drawn,
        tables=_tables,
        language=say.code,
    )


def _drawn(figure: go.Figure) -> Markup:
    """A figure's place in the document."""
    return Markup(to_html(figure, REPORT_WIDTH))


def _tables(rows: Sequence[dict]) -> list[list[dict[str, str]]]:
    """Rows as texts, in as many tables one under another as fit a page; each has the row's keys."""
    if not rows:
        return []
    texts = [{name: _cell(value) for name, value in row.items()} for row in rows]
    keys = [name for name in rows[0] if name in KEYS]
    wide = {name: max(len(name), *(len(row[name]) for row in texts)) + 2 for name in rows[0]}
    groups: list[list[str]] = [[]]
    for name in rows[0]:
        if name in keys:
            continue
        if groups[-1] and sum(wide[n] for n in (*keys, *groups[-1], name)) > CHARACTERS:
            groups.append([])
        groups[-1].append(name)
    return [[{name: row[name] for name in (*keys, *group)} for row in texts] for group in groups]


def _cell(value: object) -> str:
    """A cell's text: numbers to six digits, which CSV and JSON have in full; α in full."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.10g}" if 0.99 < value < 1 else f"{value:.6g}"


def snippet(
    checkpoint: str,
    text: str,
    batches: int,
    seq_len: int,
    layer: int,
    conv_slice: ConvSlice,
    rule: ScaleRule,
) -> str | None:
    """Ten lines that give a slice's x_out_scale again, in plain torch and numpy.

    Only the conv input is taken from this project. None for a rule that takes more lines than a
    reader would check: the searches, and asymmetric scales.
    """
    template = rule.registered.snippet
    if template is None or not rule.symmetric or rule.order is not None:
        return None
    *before, amax = template.format(alpha=rule.alpha, sigma=rule.sigma).split("\n")
    lines = [
        "import numpy as np, torch.nn.functional as F",
        "from dashboard import calibration, checkpoints",
        f"model = checkpoints.load_checkpoint({checkpoint!r})",
        f"text = calibration.read_text(model, {text!r}, {batches}, {seq_len})",
        "seen = calibration.calibrate(model, checkpoints.load_backbone(model), text, layers=(), "
        f"keep=({layer},)).capture({layer})",
        f"d = slice({conv_slice.start}, {conv_slice.stop})  # the channels of {conv_slice.name}",
        "x, w, b = seen.x[:, d], seen.weight[d], seen.bias[d, None]",
        "v = sum(w[:, k, None] * F.pad(x, (w.shape[1] - 1 - k, 0))[..., : x.shape[2]] "
        "for k in range(w.shape[1])) + b",
        "y = F.silu(v).half().float().abs()",
    ]
    return "\n".join([*lines, *before, f"print(float({amax} / 127))"])
