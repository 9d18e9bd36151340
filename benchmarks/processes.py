"""How a calibration grows over processes, and what would limit it at a thousand GPUs.

python -m benchmarks.processes --make DIRECTORY [--model mamba2-130m]
torchrun --nproc-per-node N -m benchmarks.processes --calibrate DIRECTORY --out FILE [--batches 256]
torchrun --nproc-per-node 2 -m benchmarks.processes --rates
python -m benchmarks.processes --simulate [--batches 65536]

``--calibrate`` is what ``python -m dashboard calibrate`` does, with the time of each stage and the
file's SHA-256, which is that of one process. ``--rates`` is how fast rank 0 takes in batches of
another process, with nothing else to do. ``--simulate`` draws each batch's time, and computes the
rest from bytes and from rates that were measured with the others.
"""

from __future__ import annotations

import argparse
import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.calibration import SIZES, configuration
from dashboard.calibration import read_text
from dashboard.calibration.archive import save_calibration
from dashboard.calibration.counting import Tally
from dashboard.calibration.gathering import TOGETHER
from dashboard.calibration.histogram import ASCENDING_VALUES
from dashboard.calibration.processes import launched_processes
from dashboard.calibration.unfinished import Segments, calibrate_to_the_end
from dashboard.checkpoints import load_backbone, load_checkpoint

SEQ_LEN = 512
BATCH_MS = 115.0  # a batch of mamba2-130m on an H200
BATCH_SPREAD = 0.05  # standard deviation of its logarithm
TOTALS_BYTES = 2 * 72 * 63488 * 8  # of v and y, 24 layers of three slices
SENT_BYTES = 6.0e6  # histograms of one batch, float16 values and uint32 counts
BATCH_BYTES = 4.0e6  # in the file
LINK_BYTES_S = 40e9  # between GPUs
REDUCE_LATENCY_S = 20e-6  # a step of a tree
TAKEN_IN_BYTES_S = 1.36e9  # by rank 0: received at 2.1 GB/s, set aside at 3.8
WRITTEN_BYTES_S = 1.0e9
RATE_ROWS, RATE_DISTINCT, RATE_GROUPS = 72, 14_000, 32


def make(directory: Path, name: str) -> None:
    """A checkpoint of a published size with random weights."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(configuration(name), dtype=torch.bfloat16)
    model.save_pretrained(directory)


def run(directory: str, out: Path, batches: int, batch_size: int) -> None:
    """Calibrate in all processes, and say what took how long."""
    checkpoint = load_checkpoint(directory)
    text = read_text(checkpoint, batches=batches, seq_len=SEQ_LEN)
    with launched_processes() as processes:
        backbone = load_backbone(checkpoint, processes.device)
        warm = read_text(checkpoint, batches=2 * processes.size, seq_len=SEQ_LEN)
        calibrate_to_the_end(checkpoint, backbone, warm, Segments(None), processes)
        processes.wait()
        begun = time.perf_counter()
        counted: list[float] = []

        def note(_: object) -> None:
            counted[:] = [time.perf_counter()]

        calibration = calibrate_to_the_end(
            checkpoint,
            backbone,
            text,
            Segments(None),
            processes,
            batch_size=batch_size,
            on_progress=note,
        )
        assembled = time.perf_counter()
        if calibration is not None:
            save_calibration(out, calibration)
            written = time.perf_counter()
            stages = (counted[0] - begun, assembled - counted[0], written - assembled)
            print(
                f"{processes.size} processes, {batches} batches of {SEQ_LEN}, {batch_size} a "
                f"forward: {written - begun:.2f} s (rank 0 counted {stages[0]:.2f}, waited and "
                f"gathered {stages[1]:.2f}, wrote {stages[2]:.2f}); "
                f"{out.stat().st_size / 1e6:.0f} MB, sha256 "
                f"{hashlib.sha256(out.read_bytes()).hexdigest()[:16]}",
                flush=True,
            )
        processes.wait()


def rates() -> None:
    """How fast rank 0 takes in groups of batches as mamba2-130m's are: received, and set aside."""
    with launched_processes() as processes:
        if processes.size != 2:
            raise SystemExit(f"{processes.size} processes were started; --rates takes two")
        tally = Tally(RATE_ROWS)
        values = np.tile(ASCENDING_VALUES[:RATE_DISTINCT].astype(np.float16), RATE_ROWS)
        for batch in range(TOGETHER):
            lengths = [RATE_DISTINCT] * RATE_ROWS
            tally.add_outputs(batch, range(RATE_ROWS), values, np.ones_like(values, "u4"), lengths)
        stopped = threading.Event()
        took = {"pack": 0.0, "receive": 0.0, "set aside": 0.0}
        processes.wait()
        for _ in range(RATE_GROUPS):
            begun = time.perf_counter()
            if processes.rank == 1:
                packed = tally.pack_batches(range(TOGETHER))
                took["pack"] += time.perf_counter() - begun
                processes.send(packed, stopped)
            elif processes.is_first:
                while (packed := processes.receive(1)) is None:
                    begun = time.perf_counter()
                received = time.perf_counter()
                tally.unpack_batches(packed)
                took["receive"] += received - begun
                took["set aside"] += time.perf_counter() - received
        sent = RATE_GROUPS * sum(array.nbytes for array in packed.values())
        stages = [f"{name} {sent / 1e9 / own:.2f} GB/s" for name, own in took.items() if own]
        print(f"rank {processes.rank}: {', '.join(stages)} of {sent / 1e6:.0f} MB", flush=True)
        processes.wait()


def simulate(batches: int, batch_ms: float) -> None:
    """Speed-up over one process for more and more of them."""
    draw = np.random.default_rng(0)
    times = 1e-3 * batch_ms * draw.lognormal(0.0, BATCH_SPREAD, batches)

    def parts(size: int) -> tuple[float, float, float, float]:
        slowest = max(times[rank::size].sum() for rank in range(size))
        steps = int(np.ceil(np.log2(size))) if size > 1 else 0
        reduced = 2 * TOTALS_BYTES / LINK_BYTES_S * (steps > 0) + 2 * steps * REDUCE_LATENCY_S
        taken_in = batches * SENT_BYTES * (size - 1) / size / TAKEN_IN_BYTES_S
        return (
            slowest,
            max(0.0, taken_in - slowest),
            reduced,
            batches * BATCH_BYTES / WRITTEN_BYTES_S,
        )

    alone = sum(parts(1))
    print(f"{batches:,} batches of {batch_ms:g} ms; one process: {alone:,.0f} s")
    for size in (1, 2, 4, 8, 64, 256, 1000):
        if size <= batches:
            own = parts(size)
            counted, waited, reduced, written = own
            print(
                f"  {size:5} processes: {sum(own):9,.1f} s, {alone / sum(own):6.1f} times "
                f"(counting {counted:,.1f}, then taking in {waited:,.1f}, adding {reduced:.3f}, "
                f"writing {written:,.1f} s); without the batches' own histograms "
                f"{times.sum() / (counted + reduced):6.1f} times"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--make", type=Path)
    parser.add_argument("--model", choices=SIZES, default="mamba2-130m")
    parser.add_argument("--calibrate")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batches", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--batch-ms", type=float, default=BATCH_MS)
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--simulate", action="store_true")
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.model)
    if arguments.calibrate:
        run(arguments.calibrate, arguments.out, arguments.batches, arguments.batch_size)
    if arguments.rates:
        rates()
    if arguments.simulate:
        simulate(arguments.batches, arguments.batch_ms)


if __name__ == "__main__":
    main()
