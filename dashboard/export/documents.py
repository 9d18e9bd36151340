"""What leaves the project: a report to send, code to repeat.

Tables leave as CSV and JSON (``tables``), scales for Quamba's loader by ``quamba_entries``; what is
here is made for one reader each. The report needs no server and no network to be read, and the
snippet repeats a scale in plain torch, so that nobody has to believe this project's histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

from dashboard.analysis.report import LayerReport
from dashboard.calibration import Origin
from dashboard.checkpoints import ConvSlice
from dashboard.figures.style import Sheet
from dashboard.figures.svg import to_svg
from dashboard.figures.theme import document_scripts, to_html
from dashboard.rules.observers import ScaleRule

REPORT_WIDTH = 1040  # px, of its drawings


def document(origin: Origin, rule: ScaleRule, reports: Sequence[LayerReport]) -> dict:
    """Every layer under a rule, as ``analyze --format json`` writes it."""
    kernel = reports[0].kernel
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
        "layers": [report.as_dict() for report in reports],
    }


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, what to notice, and a drawing or a table or both."""

    heading: str
    words: Sequence[str] = ()
    figure: go.Figure | Sheet | None = None
    rows: Sequence[dict] = ()


def report_html(title: str, sections: Sequence[Section]) -> str:
    """A report that stands alone: one HTML file with its drawings, light or dark as its reader."""
    body = "".join(_section(section) for section in sections)
    scripts = document_scripts() if 'class="plotly-figure"' in body else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"{scripts}</head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2rem auto;padding:0 1rem;"
    "color:#17202E;background:#fff}table{border-collapse:collapse;font-size:13px}"
    "th,td{padding:3px 9px;text-align:right;border-bottom:1px solid #CBD2DC;white-space:nowrap}"
    ".wide{overflow-x:auto}svg{max-width:100%;height:auto}.dark{display:none}"
    "@media(prefers-color-scheme:dark){body{color:#F3F5F8;background:#0E1117}"
    "th,td{border-color:#3A4250}.light{display:none}.dark{display:block}}"
    "@media print{body{color:#17202E;background:#fff}.light{display:block}.dark{display:none}"
    "section{break-inside:avoid}}"
)


def _section(section: Section) -> str:
    words = "".join(f"<p>{bold(text)}</p>" for text in section.words)
    drawing = table = ""
    if isinstance(section.figure, Sheet):
        drawing = "".join(
            f'<div class="{theme}">{to_svg(section.figure, REPORT_WIDTH, theme)}</div>'
            for theme in ("light", "dark")
        )
    elif section.figure is not None:
        drawing = to_html(section.figure, REPORT_WIDTH)
    if section.rows:
        head = "".join(f"<th>{escape(str(name))}</th>" for name in section.rows[0])
        lines = "".join(
            "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>"
            for row in section.rows
        )
        table = f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'
    return f"<section><h2>{escape(section.heading)}</h2>{words}{drawing}{table}</section>"


def _cell(value: object) -> str:
    """A table's cell: a dash where there is no number."""
    return "–" if value is None else escape(str(value))


def bold(text: str) -> str:
    """A caption's words as HTML: ``**bold**`` is all the markup that captions use."""
    plain, *rest = escape(text).split("**")
    return plain + "".join(
        f"<b>{piece}</b>" if i % 2 == 0 else piece for i, piece in enumerate(rest)
    )


def snippet(
    checkpoint: str,
    text: str,
    batches: int,
    seq_len: int,
    layer: int,
    part: ConvSlice,
    rule: ScaleRule,
) -> str | None:
    """Ten lines that give a slice's x_out_scale again, in plain torch and numpy.

    Only the conv input is taken from this project. None for a rule that takes more lines than a
    reader would check: the searches, and asymmetric scales.
    """
    wanted = rule.registered.snippet
    if wanted is None or not rule.symmetric or rule.order is not None:
        return None
    *before, amax = wanted.format(alpha=rule.alpha, sigma=rule.sigma).split("\n")
    lines = [
        "import numpy as np, torch.nn.functional as F",
        "from dashboard import calibration, checkpoints",
        f"model = checkpoints.load_checkpoint({checkpoint!r})",
        f"text = calibration.read_text(model, {text!r}, {batches}, {seq_len})",
        "seen = calibration.calibrate(model, checkpoints.load_backbone(model), text, layers=(), "
        f"keep=({layer},)).capture({layer})",
        f"d = slice({part.start}, {part.stop})  # the channels of {part.name}",
        "x, w, b = seen.x[:, d], seen.weight[d], seen.bias[d, None]",
        "v = sum(w[:, k, None] * F.pad(x, (w.shape[1] - 1 - k, 0))[..., : x.shape[2]] "
        "for k in range(w.shape[1])) + b",
        "y = F.silu(v).half().float().abs()",
    ]
    return "\n".join([*lines, *before, f"print(float({amax} / 127))"])
