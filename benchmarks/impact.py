"""How long it takes to know what a scale costs the model: predicted, and measured.

    python -m benchmarks.impact [--samples mamba2-small mamba-small] [--runs 3]

For each sample, on 16 windows of 512 bytes: the bare forward; the forward with every layer's output
quantized, float logits at hand; calibrating with gradients against calibrating without, and what
that is in forwards; the predicted cost of 400 scales, and of every α (the landscape). Processor
time stands beside the clock's, for it hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from dashboard.analysis.impact import float_run, measure
from dashboard.analysis.prediction import plan_layers
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import backbone_of, load_checkpoint, load_language_model
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule

WINDOWS, SEQ_LEN, SCALES = 16, 512, 400


def timed(call: Callable[[], object], runs: int) -> tuple[float, float]:
    """Medians of the seconds on the clock and of the processors' seconds."""
    call()
    clock, processor = [], []
    for _ in range(runs):
        started, used = time.perf_counter(), time.process_time()
        call()
        clock.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return statistics.median(clock), statistics.median(processor)


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
    times = {label: timed(call, runs) for label, call in calls.items()}
    for label, (clock, processor) in times.items():
        print(f"{name}, {label}: {clock:.2f} s, processors {processor:.2f} s")
    bare, plain, whole = (times[label] for label in list(calls)[:3])
    ratios = [(w - p + b) / b for w, p, b in zip(whole, plain, bare, strict=True)]
    print(
        f"{name}, forward and backward with counting gradients, in forwards: {ratios[0]:.1f}, by "
        f"processor time {ratios[1]:.1f}"
    )
    own = max((s for layer in calibration.layers for s in layer.slices),
              key=lambda s: len(s.silu_output.values))  # fmt: skip
    scales = np.geomspace(1e-3, 1.0, SCALES)
    own.gradients.predicted_nats(scales)  # prefix sums are made once

    def predict() -> None:
        for _ in range(20):
            own.gradients.predicted_nats(scales)

    clock, processor = timed(predict, runs)
    print(
        f"{name}, {SCALES} predicted scales of {len(own.silu_output.values):,} values: "
        f"{1e3 * clock / 20:.1f} ms, processors {1e3 * processor / 20:.1f} ms"
    )
    clock, processor = timed(lambda: Landscape.of(own.silu_output, gradients=own.gradients), runs)
    print(f"{name}, every α with predicted loss: {1e3 * clock:.0f} ms, processors "
          f"{1e3 * processor:.0f} ms")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", nargs="*", default=["mamba2-small", "mamba-small"])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in arguments.samples:
        report(name, arguments.runs)


if __name__ == "__main__":
    main()
