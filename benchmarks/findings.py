"""What each way to choose a scale costs every sample, predicted and measured: docs/findings.md.

    python -m benchmarks.findings [--samples mamba-tiny … | --all] [--formats]

For each sample: scales and gradients from the first ``WINDOWS`` windows of 512 bytes of its own
text; the cost, with INT8 outputs in all layers, on the ``WINDOWS`` after those, and on as many of
out-of-domain.txt. Each layer is also quantized by itself, under several rules, on ``ALONE_WINDOWS``
windows: how well do SQNR and the prediction rank what is measured there? What was measured goes to
benchmarks/recorded/findings.json; a run that was stopped goes on where it was, from the results
that are kept on disk. The tables of the document are then written again from that file.

Number formats are measured in the same way, on the sample's own text, and with ``--formats`` they
alone: those of the soft edge at the published α, others at their best scale.

Where a prediction is furthest below what is measured, it is asked why: how few tokens the cost
falls on, and what it becomes when the one channel of which clipping cuts off most is spared.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dashboard.analysis.impact import (
    ERRORS,
    Estimate,
    FloatRun,
    Impact,
    float_run,
    kl_difference,
    measure,
    spearman,
)
from dashboard.analysis.prediction import PlannedLayer, plan_layers, predict_layer
from dashboard.analysis.quantized_forward import LayerQuantization, SliceQuantization
from dashboard.analysis.result_store import ResultStore, default_store
from dashboard.analysis.scale_choices import (
    FormatScales,
    ScaleChoice,
    choice_label,
    number_format_of,
    plan_choice,
)
from dashboard.calibration import (
    Calibration,
    ConvCapture,
    LayerCalibration,
    SliceCalibration,
    calibrate,
    read_text,
)
from dashboard.checkpoints import Checkpoint, load_checkpoint, load_language_model
from dashboard.rules.channels import channel_outputs
from dashboard.rules.landscape import Landscape, Measure
from dashboard.rules.observers import PUBLISHED_ALPHAS, ScaleRule
from dashboard.text.numbers import percent, small, with_error
from kernels.int8 import scale_from_amax

WINDOWS, ALONE_WINDOWS = 16, 8
OTHER_TEXT = "out-of-domain.txt"
OWN_TEXT = {"mamba2-dictionary": "dictionary.txt"}
SAMPLES = ("mamba-tiny", "mamba2-tiny", "mamba-small", "mamba2-small", "mamba2-dictionary")
RECORDED = Path(__file__).parent / "recorded" / "findings.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "findings.md"
GROUP = 32  # channels, a head of the Mamba-2 samples

SOFT_EDGES = ("half", "quarter", "double", "minmax", "quarter-log2", "three-segments")

Planned = dict[int, PlannedLayer]
Plan = Callable[[Checkpoint, Calibration], Planned]


def by_rule(rule: ScaleRule, group_size: int | None = None) -> Plan:
    """Every slice by one rule; with a group size, each group of channels by itself."""
    return lambda checkpoint, calibration: plan_layers(
        checkpoint, calibration, rule, group_size=group_size
    )


def by_best(measure: Measure) -> Plan:
    """Each slice its own best α, by one of the two meanings of "best"."""

    def plan(checkpoint: Checkpoint, calibration: Calibration) -> Planned:
        def scale(own: SliceCalibration) -> float:
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


LOW = ScaleRule("percentile", PUBLISHED_ALPHAS[0])
FORMATS: tuple[ScaleChoice, ...] = (
    *(FormatScales(f"soft-edge-{variant}", LOW) for variant in SOFT_EDGES),
    *(
        FormatScales(name, None)
        for name in (
            "int8-asymmetric",
            "fp8-e4m3",
            "optimal8",
            "int6-asymmetric",
            "int4-asymmetric",
        )
    ),
)


def layer_sqnr_db(counted: LayerCalibration, quantization: LayerQuantization) -> float:
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


@dataclass(frozen=True, eq=False)
class Subject:
    """A sample with its model, calibrated with gradients, and the float model on held-out text."""

    checkpoint: Checkpoint
    model: nn.Module
    calibration: Calibration
    runs: dict[str, FloatRun]  # by text, the sample's own first
    store: ResultStore | None

    @staticmethod
    def of(name: str, keep: bool) -> Subject:
        """Measured on a CPU; ``keep`` the conv inputs, which groups of channels need."""
        checkpoint = load_checkpoint(name)
        model: nn.Module = load_language_model(checkpoint, "cpu")
        store, own = default_store(), OWN_TEXT.get(name, "calibration.txt")
        text = read_text(checkpoint, own, WINDOWS)
        layers = checkpoint.layers if keep else ()
        calibration = calibrate(checkpoint, model, text, gradients=True, keep=layers)
        texts = {
            own: read_text(checkpoint, own, WINDOWS, first=WINDOWS),
            OTHER_TEXT: read_text(checkpoint, OTHER_TEXT, WINDOWS),
        }
        runs = {
            text: float_run(checkpoint, model, windows, store=store)
            for text, windows in texts.items()
        }
        return Subject(checkpoint, model, calibration, runs, store)

    @property
    def own(self) -> str:
        """The name of the sample's own text."""
        return next(iter(self.runs))

    def measured(self, run: FloatRun, layers: Sequence[LayerQuantization]) -> Impact:
        """What those layers cost; looked up where it was measured before."""
        return measure(self.checkpoint, self.model, run, layers, store=self.store)


def examine_formats(subject: Subject, on_line: Callable[[str], None]) -> dict:
    """Every number format of ``FORMATS`` in all layers, by its label, on the sample's own text."""
    formats: dict[str, dict] = {}
    for choice in FORMATS:
        planned = plan_choice(subject.checkpoint, subject.calibration, choice)
        layers = [entry.quantization for entry in planned.values()]
        impact = subject.measured(subject.runs[subject.own], layers)
        label = str(choice_label(choice))
        formats[label] = {
            "number_format": number_format_of(choice),
            "predicted_nats": sum(entry.predicted_nats or 0.0 for entry in planned.values()),
            subject.own: summary(impact),
        }
        on_line(f"{label}: {with_error(impact.kl_nats.mean, impact.kl_nats.error)}")
    return formats


def examine(name: str, on_line: Callable[[str], None]) -> dict:
    """Everything about one sample."""
    subject = Subject.of(name, keep=True)
    checkpoint, calibration = subject.checkpoint, subject.calibration
    runs, own, measured = subject.runs, subject.own, subject.measured
    rules: dict[str, dict] = {}
    for label, plan in PLANS.items():
        planned = plan(checkpoint, calibration)
        layers = [entry.quantization for entry in planned.values()]
        rules[label] = {
            "predicted_nats": sum(entry.predicted_nats or 0.0 for entry in planned.values()),
            **{text: summary(measured(run, layers)) for text, run in runs.items()},
        }
        kl = rules[label][own]
        on_line(f"{name}, {label}: {with_error(kl['kl_nats'], kl['kl_nats_error'])}")
    few = runs[own].first(ALONE_WINDOWS)
    alone: list[dict] = []
    for label, plan in ALONE.items():
        for layer, entry in plan(checkpoint, calibration).items():
            impact = measured(few, [entry.quantization])
            alone.append(
                {
                    "rule": label,
                    "layer": layer,
                    "sqnr_db": layer_sqnr_db(calibration.layer(layer), entry.quantization),
                    "predicted_nats": entry.predicted_nats,
                    "dearest_share": dearest_share(impact),
                    **impact.measures(),
                }
            )
        on_line(f"{name}, {label}, each layer alone")
    return {
        "text": own,
        "loss": {text: vars(run.loss_nats) for text, run in runs.items()},
        "rules": rules,
        "formats": examine_formats(subject, lambda line: on_line(f"{name}, {line}")),
        "alone": alone,
        "worst": ask_why(checkpoint, calibration, alone, lambda layer: measured(few, [layer])),
    }


def ask_why(
    checkpoint: Checkpoint,
    calibration: Calibration,
    alone: Sequence[dict],
    measured: Callable[[LayerQuantization], Impact],
) -> dict:
    """The setting whose prediction is furthest too low, and what sparing one channel saves."""
    chosen = [row for row in alone if row["rule"] in PLANS]  # nobody takes the others
    worst = max(chosen, key=lambda row: row["kl_nats"] / row["predicted_nats"])
    layer = ALONE[worst["rule"]](checkpoint, calibration)[worst["layer"]].quantization
    spared, slice_name, channel = without_clipping(
        checkpoint, calibration.capture(worst["layer"]), layer
    )
    saved = kl_difference(measured(layer), measured(spared))
    return {
        **worst,
        "slice": slice_name,
        "channel": channel,
        "spared_nats": measured(spared).kl_nats.mean,
        "saved_nats": saved.mean,
        "saved_nats_error": saved.error,
    }


DEAREST = 0.01  # of the tokens


def dearest_share(impact: Impact) -> float:
    """How much of the KL lies on the dearest hundredth of the tokens."""
    ranked = np.sort(impact.kl.ravel())[::-1]
    return float(ranked[: max(1, round(DEAREST * len(ranked)))].sum() / ranked.sum())


def without_clipping(
    checkpoint: Checkpoint, capture: ConvCapture, quantization: LayerQuantization
) -> tuple[LayerQuantization, str, int]:
    """The layer with one channel's scale wide enough for all of it, which slice's, and which.

    It is the channel of which most is cut off: the greatest squared error of clipping.
    """
    cut_off: list[tuple[float, int, int, float]] = []
    for i, entry in enumerate(quantization.slices):
        scale = float(entry.scale_out)
        for channel, output in enumerate(channel_outputs(capture, entry.conv_slice)):
            error = float(output.quantize(scale).clipping_sse)
            cut_off.append((error, i, channel, max(scale, scale_from_amax(output.absmax))))
    _error, i, channel, wide = max(cut_off)
    entry = quantization.slices[i]
    scales = np.full(entry.conv_slice.width, entry.scale_out, np.float32)
    scales[channel] = wide
    slices = list(quantization.slices)
    slices[i] = replace(entry, scale_out=scales)
    return replace(quantization, slices=tuple(slices)), entry.conv_slice.name, channel


def tables(recorded: dict) -> dict[str, str]:
    """The document's tables, by the name that stands in its markers."""
    return {
        **{f"cost {name}": cost_table(sample) for name, sample in recorded.items()},
        "trust": trust_table(recorded),
        "published": published_table(recorded),
        "pairs": pairs_table(recorded),
        "loss": loss_table(recorded),
        "formats": formats_table(recorded),
        "worst": worst_table(recorded),
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
        cells = [signed_difference(rows[label], base) for label in labels]
        lines.append(
            f"| `{name}` | {with_error(base['kl_nats'], base['kl_nats_error'])} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join(lines)


PAIRS = (
    ("moving average, α 0.9995", "α 0.9995"),
    ("best α a slice, by predicted loss", "best α a slice, by SQNR"),
    ("least squared error", "best α a slice, by SQNR"),
    ("entropy (TensorRT)", "MinMax"),
    ("asymmetric MinMax", "best α a slice, by predicted loss"),
    ("asymmetric, least squared error", "asymmetric MinMax"),
    (f"MinMax a group of {GROUP}", "asymmetric MinMax"),
    ("MinMax a channel", "asymmetric, least squared error"),
    ("MinMax a channel", "best α a slice, by predicted loss"),
)


def pairs_table(recorded: dict) -> str:
    """How much more the first of two costs than the second, paired by window, on the own text."""
    lines = [
        f"| the first, against the second | {' | '.join(f'`{name}`' for name in recorded)} |",
        "|---" * (len(recorded) + 1) + "|",
    ]
    for one, other in PAIRS:
        cells = []
        for sample in recorded.values():
            own, rules = sample["text"], sample["rules"]
            cells.append(signed_difference(rules[one][own], rules[other][own]))
        lines.append(f"| {one}, against {other} | {' | '.join(cells)} |")
    return "\n".join(lines)


def formats_table(recorded: dict) -> str:
    """What each number format costs every sample, against INT8 at α 0.9995, paired, own text."""
    lines = [
        f"| format | {' | '.join(f'`{name}`' for name in recorded)} |",
        "|---" * (len(recorded) + 1) + "|",
    ]
    base = {name: sample["rules"]["α 0.9995"] for name, sample in recorded.items()}
    for label in ("α 0.9995", *next(iter(recorded.values()))["formats"]):
        cells = []
        for name, sample in recorded.items():
            own = sample["text"]
            row = base[name] if label == "α 0.9995" else sample["formats"][label]
            kl, before = row[own], base[name][own]
            cell = f"{with_error(kl['kl_nats'], kl['kl_nats_error'])}"
            cell += f" (predicted {small(row['predicted_nats'])})"
            if paired(kl, before) == "noise" and row is not base[name]:
                cell += ", noise"
            cells.append(cell)
        named = "INT8, α 0.9995" if label == "α 0.9995" else label
        lines.append(f"| {named} | {' | '.join(cells)} |")
    return "\n".join(lines)


def signed_difference(one: dict, other: dict) -> str:
    """``paired``, with a sign."""
    cell = paired(one, other)
    return cell if cell == "noise" or cell.startswith("−") else f"+{cell}"


def loss_table(recorded: dict) -> str:
    """What the float model loses on both texts, and under which scales that moves at all."""
    lines = [
        f"| sample | float loss, own text | {OTHER_TEXT} | the loss moves by more than two errors, "
        "own text |",
        "|---|---|---|---|",
    ]
    for name, sample in recorded.items():
        own = sample["text"]
        rows = {label: row[own] for label, row in sample["rules"].items()}
        moved = [
            label
            for label, row in rows.items()
            if abs(row["delta_nats"]) > ERRORS * row["delta_nats_error"]
        ]
        losses = [with_error(**sample["loss"][text]) for text in (own, OTHER_TEXT)]
        lines.append(
            f"| `{name}` | {losses[0]} | {losses[1]} | {len(moved)} of {len(rows)}: "
            f"{'; '.join(moved)} |"
        )
    return "\n".join(lines)


def worst_table(recorded: dict) -> str:
    """Where the prediction is furthest too low, and what is left with one channel spared."""
    lines = [
        f"| sample | layer alone, rule | predicted | measured | share of the KL on {DEAREST:.0%} "
        "of the tokens | channel spared | that saves |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, sample in recorded.items():
        worst = sample["worst"]
        saved = Estimate(worst["saved_nats"], worst["saved_nats_error"])
        lines.append(
            f"| `{name}` | {worst['layer']}, {worst['rule']} | {small(worst['predicted_nats'])} | "
            f"{with_error(worst['kl_nats'], worst['kl_nats_error'])} | "
            f"{percent(worst['dearest_share'])} | {worst['channel']} of {worst['slice']} | "
            f"{'noise' if saved.is_noise else with_error(saved.mean, saved.error)} |"
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
    parser.add_argument("--all", action="store_true", help="every sample")
    parser.add_argument(
        "--formats", action="store_true", help="number formats alone, of samples that are recorded"
    )
    arguments = parser.parse_args()
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for name in SAMPLES if arguments.all else arguments.samples:
        begun = time.perf_counter()
        if arguments.formats:
            recorded[name]["formats"] = examine_formats(
                Subject.of(name, keep=False), lambda line: print(line, flush=True)
            )
        else:
            recorded[name] = examine(name, lambda line: print(line, flush=True))
            recorded[name]["seconds"] = time.perf_counter() - begun
        recorded = {known: recorded[known] for known in SAMPLES if known in recorded}
        RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if DOCUMENT.exists():
        write_document(recorded)


if __name__ == "__main__":
    main()
