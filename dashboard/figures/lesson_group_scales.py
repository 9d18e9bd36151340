"""The lesson's eighth figure: a scale for each group, and the one scale in which α does act."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import format_alpha
from dashboard.figures.theme import LIGHT, dots, faded, label, line, new_figure, rule, strokes
from dashboard.text.language import Language
from dashboard.text.numbers import scale_text

ROW = 62  # px
ABOVE, BELOW = 60, 104  # px: over and under the table
STRENGTH = (0.5, 0.08)  # opacity of the finest scale's cell and of the coarsest one's


def group_scales(scales: np.ndarray, tensor_scale: float, alpha: float, say: Language) -> go.Figure:
    """The groups' scales as a table, and under it all of them beside the tensor's on one line.

    Args:
        scales: (SSD groups, head groups, channel groups), real units per code.
        tensor_scale: the percentile's, for the whole tensor.
    """
    ssd_groups, head_groups, channel_groups = scales.shape
    table = scales.reshape(-1, channel_groups)
    rows = len(table)
    height = ABOVE + ROW * rows + BELOW
    names = [
        str(row + 1) if ssd_groups == 1 else f"{row // head_groups + 1}.{row % head_groups + 1}"
        for row in range(rows)
    ]
    words = say(
        "one scale, α {alpha}: {scale}", alpha=format_alpha(alpha), scale=scale_text(tensor_scale)
    )
    end = 1.15 * max(float(scales.max()), tensor_scale)
    foot = (40 / (height - ABOVE), 76 / (height - ABOVE))  # of the line of scales
    share = tensor_scale / end
    side = "center" if 0.3 < share < 0.7 else "left" if share >= 0.7 else "right"
    figure = new_figure(
        height,
        say(
            "{count} scales by MinMax from {low} to {high}; one scale for the tensor at α "
            "{alpha} is {scale}.",
            count=scales.size,
            low=scale_text(float(scales.min())),
            high=scale_text(float(scales.max())),
            alpha=format_alpha(alpha),
            scale=scale_text(tensor_scale),
        ),
        margin={"l": 62, "r": 10, "t": ABOVE},
        xaxis={
            "range": [-0.5, channel_groups - 0.5],
            "side": "top",
            "anchor": "y",
            "ticks": "",
            "tickvals": list(range(channel_groups)),
            "ticktext": [str(column + 1) for column in range(channel_groups)],
        },
        yaxis={
            "range": [rows - 0.5, -0.5],
            "domain": [BELOW / (height - ABOVE), 1],
            "ticks": "",
            "tickvals": list(range(rows)),
            "ticktext": names,
        },
        xaxis2={
            "range": [0, end],
            "anchor": "y2",
            "showline": False,
            "tickvals": [0, end / 1.15],
            "ticktext": ["0", scale_text(end / 1.15)],
        },
        yaxis2={"range": [-1, 1], "domain": foot, "visible": False},
        shapes=[rule((0, end), (0, 0), "line", axes=("x2", "y2"), layer="below")],
        annotations=[
            label(
                0,
                1,
                say("{count} scales by MinMax", count=scales.size),
                "output",
                "top right",
                bold=True,
                xshift=-62,
                yshift=38,
            ),
            label(1, 1, say("channel group →"), anchor="top left", yshift=38),
            label(0, 1, say("head\ngroup\n↓"), anchor="bottom right", xshift=-62),
            label(
                share,
                foot[1],
                words,
                "text",
                f"top {side}",
                13,
                bold=True,
                axes=("x2 domain", "paper"),
            ),
        ],
    )
    least, most = np.log(float(scales.min())), np.log(float(scales.max()))
    figure.add_trace(
        {
            "type": "heatmap",
            "z": np.log(table),
            "zmin": least,
            "zmax": max(most, least + 1e-6),
            "colorscale": [[0, faded("output", STRENGTH[0])], [1, faded("output", STRENGTH[1])]],
            "showscale": False,
            "xgap": 4,
            "ygap": 4,
            "text": [[scale_text(float(scale)) for scale in row] for row in table],
            "texttemplate": "%{text}",
            "textfont": {"size": 13, "color": LIGHT["text"]},
            "customdata": [
                [
                    say(
                        "head group {row}, channel group {column}: {scale}",
                        row=names[i],
                        column=j + 1,
                        scale=scale_text(float(scale)),
                    )
                    for j, scale in enumerate(row)
                ]
                for i, row in enumerate(table)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    )
    axes = {"xaxis": "x2", "yaxis": "y2"}
    ticks = strokes((scales.ravel(), scales.ravel()), (-0.6, 0.6))
    figure.add_trace(line(*ticks, "output", 2, **axes))
    figure.add_trace(
        dots(
            [tensor_scale],
            [0],
            "chosen",
            13,
            customdata=[words],
            hovertemplate="%{customdata}",
            **axes,
        )
    )
    return figure
