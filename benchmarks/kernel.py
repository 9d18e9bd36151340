"""How fast the quantized conv1d runs, and whether it gives the reference's codes.

    python -m benchmarks.kernel

On a GPU the compiled kernel, beside a copy of the same bytes on the same device; on a CPU Triton's
interpreter and the reference. Inputs are uniform, Gaussian and heavy-tailed codes in turn.
"""

import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from kernels import available_backends, quant_causal_conv1d
from kernels.int8 import scale_from_amax

GPU_SHAPES = ((1, 1536, 1024), (16, 5120, 2048), (64, 5120, 2048))
CPU_SHAPES = ((16, 256, 512), (16, 384, 512), (16, 256, 511))
DRAWS = ("uniform", "gaussian", "heavy-tailed")
ROTATED_BYTES = 2**28  # inputs together larger than any cache


def draw(kind: str, shape: tuple[int, ...], device: str) -> Tensor:
    """INT8 codes of one distribution."""
    if kind == "uniform":
        return torch.randint(-128, 128, shape, dtype=torch.int8, device=device)
    values = 32 * torch.randn(shape, device=device)
    if kind == "heavy-tailed":  # Student's t with two degrees of freedom
        spread = torch.randn((2, *shape), device=device).square_().mean(0).sqrt_()
        values = values.div_(5.0).div_(spread)
    return values.round_().clamp_(-128, 127).to(torch.int8)


def operands(channels: int, device: str, vectors: bool) -> dict:
    """Weights, bias and realistic scales; per channel where ``vectors``."""
    scales = {
        "scale_x": scale_from_amax(5.0),
        "scale_w": scale_from_amax(0.9),
        "scale_b": scale_from_amax(0.6),
        "scale_out": scale_from_amax(3.1),
    }
    if vectors:
        scales = {
            name: torch.full((channels,), scale, device=device) for name, scale in scales.items()
        }
    return {
        "weight": draw("uniform", (channels, 4), device),
        "bias": draw("uniform", (channels,), device),
        **scales,
    }


def median_ms(call: Callable[[int], object], device: str, repeats: int) -> float:
    """Median time of call(i), i = 0, 1, ..., after three calls to warm up."""
    for i in range(3):
        call(i)
    times = []
    for i in range(repeats):
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call(i)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            begun = time.perf_counter()
            call(i)
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def measure(shape: tuple[int, int, int], layout: str, vectors: bool, backend: str) -> dict:
    """Time one case, and count its codes that differ from the reference, on all three draws."""
    device = "cuda" if backend == "triton" else "cpu"
    batch, channels, length = shape
    arguments = operands(channels, device, vectors)
    elements = batch * channels * length
    copies = max(1, min(16, ROTATED_BYTES // elements)) if device == "cuda" else 1

    def layed_out(x: Tensor) -> Tensor:
        if layout == "sequence-last":
            return x
        return x.transpose(1, 2).contiguous().transpose(1, 2)

    inputs = [layed_out(draw("gaussian", shape, device)) for _ in range(copies)]
    repeats = 60 if device == "cuda" else 7
    kernel_ms = median_ms(
        lambda i: quant_causal_conv1d(inputs[i % copies], backend=backend, **arguments),
        device,
        repeats,
    )
    copy_ms = median_ms(lambda i: inputs[i % copies].clone(), device, repeats)
    differing = {}
    for kind in DRAWS:
        x = layed_out(draw(kind, shape, device))
        found = quant_causal_conv1d(x, backend=backend, **arguments)
        # The reference needs 20 bytes a value on the way: one batch at a time.
        differing[kind] = sum(
            int((found[i : i + 1] != _reference(x[i : i + 1], arguments)).sum())
            for i in range(batch)
        )
    return {
        "kernel_ms": kernel_ms,
        "copy_ms": copy_ms,
        "elements": elements,
        "differing": differing,
    }


def _reference(x: Tensor, arguments: dict) -> Tensor:
    return quant_causal_conv1d(x, backend="torch", **arguments)


def main() -> None:
    backend = available_backends()[0]
    shapes = GPU_SHAPES if backend == "triton" else CPU_SHAPES
    machine = torch.cuda.get_device_name() if backend == "triton" else platform.processor()
    print(f"{machine or platform.machine()}, torch {torch.__version__}, backend {backend}")
    print(f"{'shape':>16} {'layout':>14} {'scales':>8} {'ms':>9} {'TB/s':>7} {'of copy':>8}  "
          f"codes that differ, of {' / '.join(DRAWS)}")  # fmt: skip
    torch.manual_seed(0)
    for shape in shapes:
        for layout in ("sequence-last", "channel-last"):
            for vectors in (False, True):
                found = measure(shape, layout, vectors, backend)
                rate = 2 * found["elements"] / found["kernel_ms"] / 1e9
                share = found["copy_ms"] / found["kernel_ms"]
                print(
                    f"{'×'.join(map(str, shape)):>16} {layout:>14} "
                    f"{'vector' if vectors else 'scalar':>8} {found['kernel_ms']:9.3f} "
                    f"{rate:7.3f} {share:8.3f}  "
                    f"{' / '.join(str(n) for n in found['differing'].values())} "
                    f"of {found['elements']:,}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
