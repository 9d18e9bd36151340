"""How fast the quantized conv1d runs, and whether it gives the reference's codes.

    python -m benchmarks.kernel [--json FILE] [--ptx DIRECTORY]

On a GPU the compiled kernel, in both modes, beside a copy of the same bytes and torch's own ways to
compute a conv and SiLU; on a CPU Triton's interpreter and the same ways. Codes are compared with
the reference on uniform, Gaussian and heavy-tailed input. ``--ptx`` writes the compiled kernels'
PTX: kernels/recorded holds it. ``--json`` writes what was measured; benchmarks/recorded holds such
files. Their keys:

    date, device, python, torch, cuda, triton, backend   the machine and the versions
    rows         shape [B, D, L]; kind: "copy", "kernel" or "peer"; layout: "sequence-last",
                 "channel-last" or, of a copy, "any"; scales: "scalar", "vector" or, of a copy, "";
                 mode: "exact", "fast", or a copy's or peer's name; us: microseconds; tb_per_s: of
                 bytes read and written; share_of_copy: the copy's time over it; values: B · D · L;
                 and of kernels, differing: how many codes are not the reference's, by draw
    statistics   shape, what, us: counting, beside torch's way to count
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import available_backends, code_histogram, quant_causal_conv1d, silu_histograms
from kernels.arguments import MODES
from kernels.int8 import scale_from_amax
from kernels.listing import LAYOUTS, generated_ptx

GPU_SHAPES = ((1, 1536, 1024), (16, 5120, 2048), (64, 5120, 2048), (16, 8192, 4096))
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
    """Median time of call(i), i = 0, 1, ..., after a tenth as many to warm up.

    On a GPU nothing is waited for between calls, as in a model: a launch counts where it takes
    longer than the work of the one before.
    """
    for i in range(1 + repeats // 10):
        call(i)
    if device == "cuda":
        torch.cuda.synchronize()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        for i, (start, end) in enumerate(events):
            start.record()
            call(i)
            end.record()
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in events)
    times = []
    for i in range(repeats):
        begun = time.perf_counter()
        call(i)
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def laid_out(x: Tensor, layout: str) -> Tensor:
    """x with L contiguous, or with D."""
    return x if layout == "sequence-last" else x.transpose(1, 2).contiguous().transpose(1, 2)


def float_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The unquantized layer, as torch has it: float in, float out."""
    length = x.shape[-1]
    conv = F.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=len(weight))
    return F.silu(conv[..., :length])


def int8_conv(
    x: Tensor, weight: Tensor, bias: Tensor, scale_wx: float, scale_b: float, scale_out: float
) -> Tensor:
    """The quantized layer in plain torch operations, for torch.compile to fuse: INT8 to INT8."""
    width, length = weight.shape[1], x.shape[-1]
    padded = F.pad(x, (width - 1, 0))
    acc = sum(
        weight[:, k, None].float() * padded[..., k : k + length].float() for k in range(width)
    )
    s = F.silu(scale_wx * acc + scale_b * bias[:, None].float())
    return torch.round(s / scale_out).clamp(-128, 127).to(torch.int8)


def count_differing(x: Tensor, arguments: dict, mode: str, backend: str) -> int:
    """How many codes of x are not the reference's."""
    codes = quant_causal_conv1d(x, mode=mode, backend=backend, **arguments)
    # The reference needs 20 bytes a value on the way: one batch at a time.
    return sum(
        int((codes[i] != quant_causal_conv1d(x[i : i + 1], backend="torch", **arguments)[0]).sum())
        for i in range(len(x))
    )


def measure(shape: tuple[int, int, int], backend: str) -> list[dict]:
    """The rows of one shape: every layout, mode and kind of scales, then the peers."""
    device = "cuda" if backend == "triton" else "cpu"
    elements = shape[0] * shape[1] * shape[2]
    copies = max(2, min(96, ROTATED_BYTES // elements)) if device == "cuda" else 1
    repeats = (1000 if elements < 2**24 else 100) if device == "cuda" else 7
    modes = ("exact", "fast") if device == "cuda" else ("exact",)
    gaussian = [draw("gaussian", shape, device) for _ in range(copies)]
    copy_ms = median_ms(lambda i: gaussian[i % copies].clone(), device, repeats)

    def row(kind: str, layout: str, scales: str, mode: str, ms: float, moved: float, **more):
        return {
            "shape": list(shape),
            "kind": kind,
            "layout": layout,
            "scales": scales,
            "mode": mode,
            "us": round(ms * 1e3, 2),
            "tb_per_s": round(moved / ms / 1e9, 4),
            "share_of_copy": round(copy_ms / ms, 4),
            "values": elements,
            **more,
        }

    rows = [row("copy", "any", "", "copy of the codes", copy_ms, 2 * elements)]
    for layout in LAYOUTS:
        inputs = [laid_out(x, layout) for x in gaussian]
        for scales in ("scalar", "vector"):
            arguments = operands(shape[1], device, scales == "vector")
            for mode in modes:

                def call(i, inputs=inputs, mode=mode, arguments=arguments):
                    x = inputs[i % copies]
                    return quant_causal_conv1d(x, mode=mode, backend=backend, **arguments)

                ms = median_ms(call, device, repeats)
                differing = {
                    kind: count_differing(
                        laid_out(draw(kind, shape, device), layout), arguments, mode, backend
                    )
                    for kind in DRAWS
                }
                rows.append(
                    row("kernel", layout, scales, mode, ms, 2 * elements, differing=differing)
                )
    return rows + peers(shape, gaussian, row, device, repeats)


def peers(shape: tuple, inputs: list[Tensor], row: Callable, device: str, repeats: int) -> list:
    """torch's own ways: the float layer, and the quantized one, eager and compiled."""
    elements, copies = shape[0] * shape[1] * shape[2], len(inputs)
    arguments = operands(shape[1], device, vectors=False)
    dtype = torch.float16 if device == "cuda" else torch.float32
    scale_wx = arguments["scale_x"] * arguments["scale_w"]
    weight, bias = arguments["weight"], arguments["bias"]
    codes = (weight, bias, scale_wx, arguments["scale_b"], arguments["scale_out"])
    floats = ((weight * arguments["scale_w"]).to(dtype), (bias * arguments["scale_b"]).to(dtype))
    float_inputs = [(x * arguments["scale_x"]).to(dtype) for x in inputs[:2]]
    name = str(dtype).removeprefix("torch.")
    ways = [
        (f"torch {name}", float_conv, float_inputs, floats, 2 * dtype.itemsize),
        (f"torch.compile {name}", torch.compile(float_conv, dynamic=False), float_inputs, floats,
         2 * dtype.itemsize),
        ("torch int8", int8_conv, inputs, codes, 2),
        ("torch.compile int8", torch.compile(int8_conv, dynamic=False), inputs, codes, 2),
    ]  # fmt: skip
    if device == "cpu":

        def by_reference(x: Tensor) -> Tensor:
            return quant_causal_conv1d(x, backend="torch", **arguments)

        ways.append(("kernels.reference", by_reference, inputs, (), 2))
    rows = []
    for mode, way, given, others, bytes_per_value in ways:
        count = min(copies, len(given))
        ms = median_ms(
            lambda i, way=way, given=given, others=others, count=count: way(
                given[i % count], *others
            ),
            device,
            max(5, repeats // 5),
        )
        rows.append(row("peer", "sequence-last", "scalar", mode, ms, bytes_per_value * elements))
    return rows


def statistics_rows(shape: tuple[int, int, int], device: str) -> list[dict]:
    """Counting where the values are made, beside counting the stored output."""
    x = torch.randn(shape, device=device).to(torch.float16)
    weight = torch.randn(shape[1], 4, device=device) / 2
    bias = torch.randn(shape[1], device=device) / 3
    codes = draw("gaussian", shape, device)
    stored = F.silu(F.conv1d(x, weight[:, None].half(), bias.half(), padding=3, groups=shape[1]))
    stored = stored[..., : shape[2]].contiguous()
    ways = {
        "torch.bincount of a stored SiLU output": lambda i: torch.bincount(
            stored.view(torch.int16).flatten().to(torch.int32) + 32768, minlength=65536
        ),
        "silu_histograms": lambda i: silu_histograms(x, weight, bias),
        "torch.bincount of stored codes": lambda i: torch.bincount(
            codes.flatten().to(torch.int32) + 128, minlength=256
        ),
        "code_histogram": lambda i: code_histogram(codes),
    }
    return [
        {
            "shape": list(shape),
            "what": what,
            "us": round(median_ms(way, device, 10 if device == "cuda" else 3) * 1e3, 1),
        }
        for what, way in ways.items()
    ]


def machine() -> dict:
    """What ran it: names and versions, for the record."""
    facts = {
        "date": datetime.date.today().isoformat(),
        "device": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        facts["device"] = torch.cuda.get_device_name()
        facts["cuda"] = torch.version.cuda
    if available_backends()[0] != "torch":
        import triton

        facts["triton"] = triton.__version__
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--ptx", type=Path, help="also write the kernels' PTX to this directory")
    options = parser.parse_args()
    backend = available_backends()[0]
    record = machine() | {"backend": backend, "rows": []}
    print(", ".join(f"{name} {value}" for name, value in record.items() if name != "rows"))
    print(
        f"{'shape':>12} {'layout':>14} {'scales':>7} {'mode':>22} {'µs':>10} {'TB/s':>7} "
        f"{'of copy':>8}  codes that differ, of {' / '.join(DRAWS)}"
    )
    torch.manual_seed(0)
    for shape in GPU_SHAPES if backend == "triton" else CPU_SHAPES:
        for row in measure(shape, backend):
            record["rows"].append(row)
            differing = " / ".join(str(n) for n in row.get("differing", {}).values())
            print(
                f"{'×'.join(map(str, shape)):>12} {row['layout']:>14} {row['scales']:>7} "
                f"{row['mode']:>22} {row['us']:10.1f} {row['tb_per_s']:7.4f} "
                f"{row['share_of_copy']:8.3f}  {differing}",
                flush=True,
            )
    record["statistics"] = statistics_rows(
        GPU_SHAPES[1] if backend == "triton" else CPU_SHAPES[0],
        "cuda" if backend == "triton" else "cpu",
    )
    for row in record["statistics"]:
        print(f"{'×'.join(map(str, row['shape'])):>12} {row['what']:>45} {row['us']:10.1f} µs")
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.ptx:
        for layout, mode in itertools.product(LAYOUTS, MODES):
            listing = generated_ptx(layout, mode)
            (options.ptx / f"{layout}_{mode}.ptx").write_text(listing.text)


if __name__ == "__main__":
    main()
