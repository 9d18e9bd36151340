"""What each way to choose a scale costs every sample, predicted and measured: docs/findings.md.

    python -m benchmarks.findings [--samples mamba-tiny …]

For each sample: scales and gradients from the first ``WINDOWS`` windows of 512 bytes of its own
text; the cost, with INT8 outputs in all layers, on the ``WINDOWS`` after those, and on as many of
out-of-domain.txt. Each layer is also quantized by itself, under several rules, on ``ALONE_WINDOWS``
windows: how well do SQNR and the prediction rank what is measured there? What was measured goes to
benchmarks/recorded/findings.json, sample by sample, so that a run can be stopped and go on; the
tables of the document are then written again from that file.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dashboard.analysis.impact import (
    FloatRun,
    Impact,
    float_run,
    kl_difference,
    measure,
    spearman,
)
from dashboard.analysis.prediction import PlannedLayer, plan_layers, predict_layer
from dashboard.analysis.quantized_forward import LayerQuantization, SliceQuantization
from dashboard.calibration import Calibration, LayerCalibration, calibrate, read_text
from dashboard.checkpoints import Checkpoint, load_checkpoint, load_language_model
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule
from dashboard.text.numbers import small, with_error

WINDOWS, ALONE_WINDOWS = 16, 8
OTHER_TEXT = "out-of-domain.txt"
OWN_TEXT = {"mamba2-dictionary": "dictionary.txt"}
SAMPLES = ("mamba-tiny", "mamba2-tiny", "mamba-small", "mamba2-small", "mamba2-dictionary")
RECORDED = Path(__file__).parent / "recorded" / "findings.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "findings.md"
GROUP = 32  # channels, a head of the Mamba-2 samples

Planned = dict[int, PlannedLayer]
Plan = Callable[[Checkpoint, Calibration], Planned]


def by_rule(rule: ScaleRule, group_size: int | None = None) -> Plan:
    """Every slice by one rule; with a group size, each group of channels by itself."""
    return lambda checkpoint, calibration: plan_layers(
        checkpoint, calibration, rule, group_size=group_size
    )


def by_best(measure: str) -> Plan:
    """Each slice its own best α, by one of the two meanings of "best"."""

    def plan(checkpoint: Checkpoint, calibration: Calibration) -> Planned:
        def scale(own) -> float:
            landscape = Landscape.of(own.silu_output, gradients=own.gradients, by=measure)
            return float(landscape.scales[landscape.best])

        def layer(counted: LayerCalibration) -> PlannedLayer:
            slices = tuple(
                SliceQuantization(conv_slice, own.scales, np.asarray(scale(own), np.float32))
                for conv_slice, own in zip(checkpoint.slices, counted.slices, strict=True)
            )
            quantization = LayerQuantization(counted.layer, slices)
            return PlannedLayer(quantization, predict_layer(counted, quantization))

        return {counted.layer: layer(counted) for counted in calibration.layers}

    return plan


PLANS: Mapping[str, Plan] = {
    "MinMax": by_rule(ScaleRule("minmax")),
    "α 0.9995": by_rule(ScaleRule("percentile", 0.9995)),
    "α 0.99999": by_rule(ScaleRule("percentile", 0.99999)),
    "moving average, α 0.9995": by_rule(ScaleRule("percentile-ema", 0.9995)),
    "best α a slice, by SQNR": by_best("sqnr_db"),
    "best α a slice, by predicted loss": by_best("predicted_nats"),
    "least squared error": by_rule(ScaleRule("mse")),
    "entropy (TensorRT)": by_rule(ScaleRule("entropy")),
    "scale_wx": by_rule(ScaleRule("scale-wx")),
    "asymmetric MinMax": by_rule(ScaleRule("minmax", symmetric=False)),
    "asymmetric, least squared error": by_rule(ScaleRule("mse", symmetric=False)),
    f"MinMax a group of {GROUP}": by_rule(ScaleRule("minmax"), GROUP),
    "MinMax a channel": by_rule(ScaleRule("minmax"), 1),
}
ALONE = {
    "α 0.99": by_rule(ScaleRule("percentile", 0.99)),
    "α 0.999": by_rule(ScaleRule("percentile", 0.999)),
    **{name: PLANS[name] for name in ("α 0.9995", "α 0.99999", "MinMax", "asymmetric MinMax")},
    "entropy (TensorRT)": PLANS["entropy (TensorRT)"],
}


def first_windows(run: FloatRun, count: int) -> FloatRun:
    """The same run, of its first windows alone."""
    text = replace(run.text, tokens=run.text.tokens[:count])
    return replace(run, text=text, loss=run.loss[:count], logits=run.logits[:count])


def noise_db(counted: LayerCalibration, quantization: LayerQuantization) -> float:
    """SQNR over the layer's slices together: signals and squared errors added up."""
    signal = error = 0.0
    for entry, own in zip(quantization.slices, counted.slices, strict=True):
        output = own.silu_output.quantize(float(entry.scale_out), entry.zero_point)
        signal += output.signal
        error += float(output.rounding_sse + output.clipping_sse)
    return float(10 * np.log10(signal / error))


def summary(impact: Impact) -> dict:
    """Means, standard errors, and the KL of each window, for the record."""
    return {**impact.measures(), "kl_windows": impact.kl.mean(1).tolist()}


def examine(name: str, on_line: Callable[[str], None]) -> dict:
    """Everything about one sample."""
    checkpoint = load_checkpoint(name)
    model: nn.Module = load_language_model(checkpoint, "cpu")
    own = OWN_TEXT.get(name, "calibration.txt")
    calibration = calibrate(
        checkpoint,
        model,
        read_text(checkpoint, own, WINDOWS),
        gradients=True,
        keep=checkpoint.layers,
    )
    runs = {
        own: float_run(checkpoint, model, read_text(checkpoint, own, WINDOWS, first=WINDOWS)),
        OTHER_TEXT: float_run(checkpoint, model, read_text(checkpoint, OTHER_TEXT, WINDOWS)),
    }
    findings: dict = {"text": own, "loss": {t: vars(run.loss_nats) for t, run in runs.items()}}
    findings["rules"] = {}
    for label, plan in PLANS.items():
        planned = plan(checkpoint, calibration)
        layers = [entry.quantization for entry in planned.values()]
        findings["rules"][label] = {
            "predicted_nats": sum(entry.predicted_nats or 0.0 for entry in planned.values()),
            **{t: summary(measure(checkpoint, model, run, layers)) for t, run in runs.items()},
        }
        kl = findings["rules"][label][own]
        on_line(f"{name}, {label}: {with_error(kl['kl_nats'], kl['kl_nats_error'])}")
    few = first_windows(runs[own], ALONE_WINDOWS)
    findings["alone"] = []
    for label, plan in ALONE.items():
        for layer, entry in plan(checkpoint, calibration).items():
            impact = measure(checkpoint, model, few, [entry.quantization])
            findings["alone"].append(
                {
                    "rule": label,
                    "layer": layer,
                    "sqnr_db": noise_db(calibration.layer(layer), entry.quantization),
                    "predicted_nats": entry.predicted_nats,
                    **impact.measures(),
                }
            )
        on_line(f"{name}, {label}, each layer alone")
    return findings


def tables(recorded: dict) -> dict[str, str]:
    """The document's tables, by the name that stands in its markers."""
    return {
        **{f"cost {name}": cost_table(sample) for name, sample in recorded.items()},
        "trust": trust_table(recorded),
        "published": published_table(recorded),
    }


def paired(one: dict, other: dict) -> str:
    """How two settings differ, paired by window, or that it is noise."""
    impacts = [
        Impact(np.array(setting["kl_windows"])[:, None], np.zeros((1, 1)), np.zeros((1, 1)))
        for setting in (one, other)
    ]
    difference = kl_difference(*impacts)
    if difference.is_noise:
        return "noise"
    return with_error(difference.mean, difference.error)


def cost_table(sample: dict) -> str:
    """A row a rule; the last column is against MinMax, paired."""
    own = sample["text"]
    lines = [
        f"| scales | predicted | KL, {own} | against MinMax | loss, {own} | top stays | "
        f"KL, {OTHER_TEXT} |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, row in sample["rules"].items():
        here, there = row[own], row[OTHER_TEXT]
        against = "" if label == "MinMax" else paired(here, sample["rules"]["MinMax"][own])
        lines.append(
            f"| {label} | {small(row['predicted_nats'])} | "
            f"{with_error(here['kl_nats'], here['kl_nats_error'])} | {against} | "
            f"{with_error(here['delta_nats'], here['delta_nats_error'])} | "
            f"{100 * here['same_top']:.1f} % | "
            f"{with_error(there['kl_nats'], there['kl_nats_error'])} |"
        )
    return "\n".join(lines)


def trust_table(recorded: dict) -> str:
    """How each proxy ranks the layers and rules of a sample, and how far the prediction is off."""
    lines = [
        "| sample | settings | rank correlation of SQNR | of the prediction | predicted / "
        "measured: median | least | greatest |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, sample in recorded.items():
        alone = sample["alone"]
        kl = [row["kl_nats"] for row in alone]
        ratio = [row["predicted_nats"] / row["kl_nats"] for row in alone]
        lines.append(
            f"| `{name}` | {len(alone)} | {spearman([-row['sqnr_db'] for row in alone], kl):.3f} | "
            f"{spearman([row['predicted_nats'] for row in alone], kl):.3f} | "
            f"{np.median(ratio):.2f} | {min(ratio):.2f} | {max(ratio):.2f} |"
        )
    return "\n".join(lines)


def published_table(recorded: dict) -> str:
    """The choices that are made, each against α 0.9995, on the sample's own text, paired."""
    labels = [
        "α 0.99999",
        "MinMax",
        "best α a slice, by SQNR",
        "best α a slice, by predicted loss",
        "asymmetric MinMax",
    ]
    lines = [
        f"| sample | α 0.9995 | {' | '.join(labels)} |",
        "|---|---" + "|---" * len(labels) + "|",
    ]
    for name, sample in recorded.items():
        rows = {label: row[sample["text"]] for label, row in sample["rules"].items()}
        base = rows["α 0.9995"]
        cells = [paired(rows[label], base) for label in labels]
        cells = [c if c == "noise" or c.startswith("−") else f"+{c}" for c in cells]
        lines.append(
            f"| `{name}` | {with_error(base['kl_nats'], base['kl_nats_error'])} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join(lines)


def write_document(recorded: dict) -> None:
    """Put each table between its markers."""
    document = DOCUMENT.read_text(encoding="utf-8")
    for name, table in tables(recorded).items():
        pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)"
        document = re.sub(
            pattern, lambda m, t=table: f"{m[1]}\n{t}\n\n{m[2]}", document, flags=re.S
        )
    DOCUMENT.write_text(document, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", nargs="*", default=[], help=", ".join(SAMPLES))
    parser.add_argument("--all", action="store_true", help="every sample anew")
    arguments = parser.parse_args()
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for name in SAMPLES if arguments.all else arguments.samples:
        begun = time.perf_counter()
        recorded[name] = examine(name, lambda line: print(line, flush=True))
        recorded[name]["seconds"] = time.perf_counter() - begun
        recorded = {known: recorded[known] for known in SAMPLES if known in recorded}
        RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if DOCUMENT.exists():
        write_document(recorded)


if __name__ == "__main__":
    main()
