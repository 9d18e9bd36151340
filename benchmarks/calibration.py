"""What calibrating costs over the bare forward, and how its memory grows with the batches.

python -m benchmarks.calibration [--model mamba-130m mamba2-130m] [--batches 16] [--pairs 3]
                                 [--batch-size 1 8] [--dtype bfloat16] [--memory]

Time: the model has the sizes of a published checkpoint and random weights, which time does not
depend on; forward and calibration of the same batches in turns, and the median of their ratios. On
a GPU also the tokens a second and the most memory that either took. Memory of the host:
``--memory``, anonymous pages after calibrating a sample on more and more batches.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from dashboard.calibration import DEFAULT_BATCHES, CalibrationText, calibrate
from dashboard.calibration.forward import SeparateProducts, forward_of
from dashboard.checkpoints import DTYPES, Checkpoint, default_device, load_backbone, load_checkpoint
from dashboard.checkpoints.in_memory import read_model

SEQ_LEN = 512
VOCABULARY = 256
MAMBA2 = {"state_size": 128, "head_dim": 64, "n_groups": 1}
SIZES = {
    "mamba-130m": ("mamba", {"hidden_size": 768, "num_hidden_layers": 24}),
    "mamba2-130m": ("mamba2", {"hidden_size": 768, "num_hidden_layers": 24, **MAMBA2}),
    "mamba-1.4b": ("mamba", {"hidden_size": 2048, "num_hidden_layers": 48}),
    "mamba2-1.3b": ("mamba2", {"hidden_size": 2048, "num_hidden_layers": 48, **MAMBA2}),
    "mamba-2.8b": ("mamba", {"hidden_size": 2560, "num_hidden_layers": 64}),
    "mamba2-2.7b": ("mamba2", {"hidden_size": 2560, "num_hidden_layers": 64, **MAMBA2}),
}
MEMORY_SAMPLE, MEMORY_BATCHES = "mamba2-tiny", (16, 64, 256)


def configuration(name: str, **options: int) -> object:
    """transformers' configuration of a size, with a small vocabulary: the head is not run."""
    from transformers import AutoConfig

    family, sizes = SIZES[name]
    if family == "mamba2":
        options["num_heads"] = 2 * sizes["hidden_size"] // sizes["head_dim"]
    return AutoConfig.for_model(family, vocab_size=VOCABULARY, **sizes, **options)


def build(name: str, dtype: torch.dtype) -> tuple[Checkpoint, nn.Module]:
    """A model of a published size with random weights, where models run here."""
    from transformers import AutoModel

    torch.manual_seed(0)
    with torch.device(default_device()):
        model = AutoModel.from_config(configuration(name), dtype=dtype)
    model = model.eval().requires_grad_(False)
    return read_model(model), model


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes, in seconds."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_gb(call: Callable[[], object]) -> float:
    """The most memory that a call had of the GPU, in GB; 0 where there is none."""
    if not torch.cuda.is_available():
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() / 1e9


def compare(
    checkpoint: Checkpoint, backbone: nn.Module, batches: int, pairs: int, batch_size: int
) -> str:
    """Medians of the forward's and the calibration's time, and of their ratio."""
    text = random_text(batches)
    device = next(backbone.parameters()).device

    def forward() -> None:
        with torch.no_grad():
            for ids in text.tokens.split(batch_size):
                backbone(ids.to(device), use_cache=False)

    def separate() -> None:
        with SeparateProducts(batch_size):
            forward()

    def calibration() -> None:
        calibrate(checkpoint, backbone, text, batch_size=batch_size)

    forward(), calibration()
    calls = [forward, calibration] + ([separate] if batch_size > 1 else [])
    times = [tuple(seconds(call) for call in calls) for _ in range(pairs)]
    bare, whole, *apart = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(own[1] / own[0] for own in times)
    tokens = text.tokens.numel()
    line = (
        f"forward {1e3 * bare / text.batches:.1f} ms a batch, {tokens / bare:,.0f} tokens/s; "
        f"calibration {1e3 * whole / text.batches:.1f} ms, {tokens / whole:,.0f} tokens/s, "
        f"{100 * (ratio - 1):+.1f} %"
    )
    if apart:
        line += f" ({100 * (whole / apart[0] - 1):+.1f} % over products of each sequence alone)"
    if torch.cuda.is_available():
        line += f"; at most {peak_gb(forward):.2f} and {peak_gb(calibration):.2f} GB"
    return line


def random_text(batches: int) -> CalibrationText:
    """Batches of tokens drawn at random, (batches, SEQ_LEN)."""
    generator = torch.Generator().manual_seed(0)
    return CalibrationText(
        "random", "", torch.randint(VOCABULARY, (batches, SEQ_LEN), generator=generator)
    )


def anonymous_mb() -> float:
    """Memory of this process that no file stands behind (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024


def print_memory() -> None:
    """What the host has in memory after more and more batches."""
    checkpoint = load_checkpoint(MEMORY_SAMPLE)
    backbone = load_backbone(checkpoint)
    for batches in MEMORY_BATCHES:
        calibration = calibrate(checkpoint, backbone, random_text(batches))
        print(f"{MEMORY_SAMPLE}, {batches} × {SEQ_LEN}: {anonymous_mb():.0f} MB", flush=True)
        del calibration


def main() -> None:
    import transformers

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=SIZES, nargs="*", default=["mamba-130m", "mamba2-130m"])
    parser.add_argument("--batches", type=int, default=DEFAULT_BATCHES)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, nargs="*", default=[1])
    parser.add_argument("--dtype", choices=DTYPES, nargs="*")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    on_cpu = default_device() == "cpu"
    machine = platform.machine() if on_cpu else torch.cuda.get_device_name()
    print(
        f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, Python {platform.python_version()}"
    )
    if arguments.memory:
        print_memory()
    for name in arguments.model:
        for dtype in arguments.dtype or ["float32" if on_cpu else "bfloat16"]:
            checkpoint, backbone = build(name, DTYPES[dtype])
            print(f"{name}, {forward_of(backbone)}")
            for batch_size in arguments.batch_size:
                line = compare(checkpoint, backbone, arguments.batches, arguments.pairs, batch_size)
                print(f"  {batch_size} × {SEQ_LEN} a forward: {line}", flush=True)
            del backbone
            if not on_cpu:
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
