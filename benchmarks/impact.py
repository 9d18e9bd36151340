"""How long it takes to know what a scale costs the model: predicted, and measured.

    python -m benchmarks.impact [--samples mamba2-small mamba-small] [--runs 5]

For each sample, on 16 windows of 512 bytes: the bare forward; the forward with every layer's output
quantized, float logits at hand; calibrating with gradients against calibrating without, and what
that is in forwards; the predicted cost of 400 scales, and of every α (the landscape). Processor
time stands beside the clock's, for it hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from dashboard.analysis.impact import float_run, measure
from dashboard.analysis.prediction import plan_layers
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import backbone_of, load_checkpoint, load_language_model
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule

WINDOWS, SEQ_LEN, SCALES = 16, 512, 400


class Times(NamedTuple):
    """Seconds of several runs."""

    best: float
    median: float
    processor: float  # the least, of all threads together

    def __str__(self) -> str:
        return ", ".join(f"{name} {_seconds(value)}" for name, value in self._asdict().items())


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{1e3 * value:.1f} ms"


def timed(call: Callable[[], object], runs: int, times: int = 1) -> Times:
    """``call`` in each of some runs, ``times`` in a row; once before, to warm up."""
    call()
    clock, processor = [], []
    for _ in range(runs):
        started, used = time.perf_counter(), time.process_time()
        for _ in range(times):
            call()
        clock.append((time.perf_counter() - started) / times)
        processor.append((time.process_time() - used) / times)
    return Times(min(clock), statistics.median(clock), min(processor))


def report(name: str, runs: int) -> None:
    checkpoint = load_checkpoint(name)
    model = load_language_model(checkpoint, "cpu")
    text = read_text(checkpoint, batches=WINDOWS, seq_len=SEQ_LEN)
    held_out = read_text(checkpoint, batches=WINDOWS, seq_len=SEQ_LEN, first=WINDOWS)
    calibration = calibrate(checkpoint, model, text, gradients=True)
    planned = plan_layers(checkpoint, calibration, ScaleRule())
    layers = [entry.quantization for entry in planned.values()]
    run = float_run(checkpoint, model, held_out)

    def forward() -> None:
        with torch.no_grad():
            for ids in text.tokens:
                model(ids[None], use_cache=False)

    calls: dict[str, Callable[[], object]] = {
        "forward": forward,
        "calibration": lambda: calibrate(checkpoint, backbone_of(model), text),
        "calibration with gradients": lambda: calibrate(checkpoint, model, text, gradients=True),
        **{
            f"one setting, {mode}": lambda mode=mode: measure(checkpoint, model, run, layers, mode)
            for mode in ("output", "input", "both")
        },
    }
    times = {}
    for label, call in calls.items():
        times[label] = timed(call, runs)
        print(f"{name}, {label}: {times[label]}", flush=True)
    bare, plain, whole = (times[label] for label in list(calls)[:3])
    forwards = [(w - p + b) / b for w, p, b in zip(whole, plain, bare, strict=True)]
    print(
        f"{name}, forward and backward with counting gradients, in forwards: best "
        f"{forwards[0]:.1f}, median {forwards[1]:.1f}, processor {forwards[2]:.1f}"
    )
    own = max((s for layer in calibration.layers for s in layer.slices),
              key=lambda s: len(s.silu_output.values))  # fmt: skip
    gradients = own.gradients
    assert gradients is not None
    scales = np.geomspace(1e-3, 1.0, SCALES)
    predicting = timed(lambda: gradients.predicted_nats(scales), runs, times=20)
    print(f"{name}, {SCALES} predicted scales of {len(own.silu_output.values):,} values: "
          f"{predicting}")  # fmt: skip
    every_alpha = timed(lambda: Landscape.of(own.silu_output, gradients=gradients), runs)
    print(f"{name}, every α with predicted loss: {every_alpha}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", nargs="*", default=["mamba2-small", "mamba-small"])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("load before:", *(f"{load:.1f}" for load in os.getloadavg()))
    for name in arguments.samples:
        report(name, arguments.runs)
        print("load after:", *(f"{load:.1f}" for load in os.getloadavg()), flush=True)


if __name__ == "__main__":
    main()
