"""What calibrating costs over the bare forward, and how its memory grows with the batches.

python -m benchmarks.calibration [--family mamba mamba2] [--pairs 3]

Time: the model has the sizes of a 130M-parameter checkpoint (24 layers of 768) and random weights,
which time does not depend on; forward and calibration of four batches in turns, and the median of
their ratios. Memory: anonymous pages after calibrating a sample on more and more batches.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dashboard.calibration import CalibrationText, calibrate
from dashboard.checkpoints import load_backbone, load_checkpoint

SEQ_LEN = 512
VOCABULARY = 256
SIZES = {
    "mamba": {"hidden_size": 768, "num_hidden_layers": 24, "state_size": 16},
    "mamba2": {"hidden_size": 768, "num_hidden_layers": 24, "state_size": 128, "head_dim": 64,
               "num_heads": 24, "n_groups": 1},
}  # fmt: skip
BATCHES = 4  # timed together
MEMORY_SAMPLE, MEMORY_BATCHES = "mamba2-tiny", (16, 64, 256)


def build(family: str, directory: Path) -> None:
    """A checkpoint of 130M sizes, with a small vocabulary: the head is not run."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, **SIZES[family])
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes, in seconds."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(directory: Path, pairs: int) -> tuple[float, float, float]:
    """Medians of the forward's and the calibration's seconds, and of their ratio."""
    checkpoint = load_checkpoint(str(directory))
    backbone = load_backbone(checkpoint)
    text = random_text(BATCHES)
    device = next(backbone.parameters()).device

    def forward() -> None:
        with torch.no_grad():
            for ids in text.tokens:
                backbone(ids[None].to(device), use_cache=False)

    def calibration() -> None:
        calibrate(checkpoint, backbone, text)

    forward(), calibration()
    times = [(seconds(forward), seconds(calibration)) for _ in range(pairs)]
    bare, whole = (statistics.median(column) for column in zip(*times, strict=True))
    return bare, whole, statistics.median(b / a for a, b in times)


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", choices=SIZES, nargs="*", default=list(SIZES))
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    checkpoint = load_checkpoint(MEMORY_SAMPLE)
    backbone = load_backbone(checkpoint)
    for batches in MEMORY_BATCHES:
        calibration = calibrate(checkpoint, backbone, random_text(batches))
        print(f"{MEMORY_SAMPLE}, {batches} × {SEQ_LEN}: {anonymous_mb():.0f} MB")
        del calibration
    for family in arguments.family:
        with tempfile.TemporaryDirectory() as directory:
            build(family, Path(directory))
            bare, whole, ratio = compare(Path(directory), arguments.pairs)
        print(
            f"{family}, 24 layers, {BATCHES} × {SEQ_LEN}: forward {1e3 * bare:.0f} ms, calibration "
            f"{1e3 * whole:.0f} ms, {100 * (ratio - 1):+.1f} % (median of pairs)"
        )


if __name__ == "__main__":
    main()
