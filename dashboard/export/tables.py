"""A document of reports -> text: an aligned table, CSV, JSON, or the columns that were published.

A document is what ``analyze --format json`` writes; the pages make the same one, so that a figure
reads alike wherever it is looked up.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence

from dashboard.analysis.formats import INT8
from dashboard.analysis.report import HeldOut, format_alpha
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import REGISTERED, MovingAverage

TABLE_COLUMNS = {
    "layer": "{}",
    "x_scale": "{:.8f}",
    "w_scale": "{:.8f}",
    "scale_wx": "{:.8f}",
    "x_out_scale": "{:.8f}",
    "shape": "{}",
    "ratio_weight": "{:.4f}",
    "ratio_wx": "{:.1f}",
    "saturation_rate": "{:.2e}",
    "code_utilization": "{:.3f}",
    "effective_bits": "{:.2f}",
    "sqnr_db": "{:.2f}",
    "best_alpha": "{:.6g}",
    "gain_db": "{:.2f}",
    "kernel_sqnr_db": "{:.2f}",
    "kernel_differing_codes": "{}",
}
# Of another number format than INT8, for which no α was looked for.
FORMAT_COLUMNS = {
    "layer": "{}",
    "x_out_scale": "{:.8f}",
    "zero_point": "{}",
    "points": "{}",
    "bits_needed": "{}",
    "saturation_rate": "{:.2e}",
    "code_utilization": "{:.3f}",
    "effective_bits": "{:.2f}",
    "sqnr_db": "{:.2f}",
    "best_scale": "{:.8f}",
    "best_sqnr_db": "{:.2f}",
    "kernel_sqnr_db": "{:.2f}",
    "kernel_differing_codes": "{}",
}


def slice_rows(document: dict) -> Iterator[dict]:
    """A flat row a slice: ``slice`` names it, the other columns are the JSON's keys."""
    for layer in document["layers"]:
        nested = {name: value for name, value in layer.items() if isinstance(value, dict)}
        own = {name: value for name, value in layer.items() if name not in nested}
        own["shape"] = str(tuple(own["shape"]))
        yield {"slice": "x", **own}
        for name, measures in nested.items():
            yield {"slice": name, **own, **measures, "shape": str(tuple(measures["shape"]))}


def as_json(document: dict | list) -> str:
    """JSON has no infinite numbers and no NaN: where a measure is one, null stands."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(document: dict) -> str:
    """A line a slice under a header, of the document that JSON has."""
    return rows_as_csv(list(slice_rows(document)))


def rows_as_csv(rows: Sequence[dict]) -> str:
    """A header and a line a row; every row has the first one's columns."""
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def landscape_rows(landscape: Landscape) -> list[dict]:
    """A row an α: its scale, and every measure there."""
    output = landscape.output
    columns = {
        "alpha": landscape.alphas,
        "x_out_scale": landscape.scales,
        "sqnr_db": landscape.sqnr_db,
        "saturation_rate": output.saturation_rate,
        "code_utilization": output.code_utilization,
        "effective_bits": output.effective_bits,
        "rounding_mse": output.rounding_mse,
        "clipping_mse": output.clipping_mse,
    }
    if landscape.predicted_nats is not None:
        columns["predicted_nats"] = landscape.predicted_nats
    return [
        dict(zip(columns, map(float, row), strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def average_rows(average: MovingAverage) -> list[dict]:
    """A row a batch, in the order in which the average took them."""
    return [
        {"batch": batch, "quantile": quantile, "mean": mean, "weight": weight}
        for batch, quantile, mean, weight in zip(
            average.order, average.quantiles, average.means, average.weights, strict=True
        )
    ]


def held_out_rows(evaluated: Sequence[HeldOut], names: tuple[str, str]) -> list[dict]:
    """A row a layer: a scale calibrated on the first text, and its measures on both."""
    return [
        {
            "layer": layer.layer,
            "x_out_scale": layer.own.x_out_scale,
            **{
                f"{measure}, {name}": float(getattr(output, measure))
                for name, output in zip(names, (layer.own.output, layer.there), strict=True)
                for measure in ("saturation_rate", "sqnr_db", "effective_bits")
            },
        }
        for layer in evaluated
    ]


def as_published(document: dict) -> str:
    """The columns of the published analysis, in its form, for the x slice of each layer.

    What it calls ``wx_scale`` is the scale of the *weights*, and its ``ratio`` is x_out_scale over
    that: ``w_scale`` and ``ratio_weight`` elsewhere. Of several scales, x_out_scale is the mean, as
    the published table's are (see ``published``); the least and the greatest stand beside it. A
    layer without scales has dashes.
    """
    names = ["layer", "x_scale", "wx_scale", "x_out_scale", "ratio", "shape", "least", "greatest"]
    keys = (
        "x_scale",
        "w_scale",
        "x_out_scale_mean",
        "ratio_weight",
        "shape",
        "x_out_scale_min",
        "x_out_scale_max",
    )
    forms = {"ratio_weight": "{:.4f}", "shape": "{}"}
    rows = []
    for layer in document["layers"]:
        shape = tuple(layer["shape"]) or (1,)
        values = layer | {"shape": None if layer["x_out_scale"] is None else shape}
        cells = (_cell(key, forms.get(key, "{:.8f}"), values[key]) for key in keys)
        rows.append([str(layer["layer"]), *cells])
    return "\n".join([*aligned(names, rows), ""])


def as_table(document: dict) -> str:
    """A line a layer for whoever sits at a terminal, and the recommended α where asked for."""
    head = (
        f"{document['checkpoint']} ({document['family']}), {_settings(document)}, "
        f"{document['backend'] or 'no kernel run'}"
    )
    of_a_format = any("points" in layer for layer in document["layers"])
    columns = FORMAT_COLUMNS if of_a_format else TABLE_COLUMNS
    rows = [
        [_cell(name, form, layer[name]) for name, form in columns.items()]
        for layer in document["layers"]
    ]
    lines = [head, "", *aligned(list(columns), rows)]
    reasons = dict.fromkeys(layer.get("kernel_refusal") for layer in document["layers"])
    lines += ["", *(reason for reason in reasons if reason)] if any(reasons) else []
    if "recommended" in document:
        recommended = document["recommended"]
        best = [
            [
                str(e["layer"]),
                e["slice"],
                format_alpha(e["alpha"]),
                f"{e['x_out_scale']:.8f}",
                f"{e['sqnr_db']:.2f}",
                *(f"{loss:.2f}" for loss in e["loss_db"].values()),
            ]
            for e in recommended["layers"]
        ]
        lost = [
            f"{'MinMax' if alpha == '1' else alpha} loses"
            for alpha in recommended["layers"][0]["loss_db"]
        ]
        names = ["layer", "slice", "best alpha", "x_out_scale", "sqnr_db", *lost]
        lines += ["", recommended["reason"], "", *aligned(names, best)]
    return "\n".join([*lines, ""])


def _settings(document: dict) -> str:
    """What was calibrated on, and by which rule."""
    rule = document["observer"]
    if rule is None:
        return "stored scales"
    settings = f" α {document['alpha']:g}" if REGISTERED[rule].uses_alpha else ""
    settings += f" σ {document['sigma']:g}" if REGISTERED[rule].averages else ""
    number_format = document["number_format"]
    settings += "" if number_format == INT8[0] else f" {number_format}"
    return (
        f"{document['batches']} × {document['seq_len']} tokens of {document['text']}, "
        f"{rule}{settings}"
    )


def _cell(name: str, form: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return str(tuple(value)) if name == "shape" else f"{len(value)} scales"
    return form.format(value)


def aligned(names: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table whose columns stand under each other, the first of them the names."""
    cells = [names, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]


FORMATS = {"table": as_table, "csv": as_csv, "json": as_json, "published": as_published}
