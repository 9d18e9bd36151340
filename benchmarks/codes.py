"""What a zero point and a look-up cost the kernel, beside symmetric INT8, and whether codes differ.

    python -m benchmarks.codes [--json FILE]

Times are those of ``benchmarks.kernel.median_ms``; shares are of a copy of the codes. Without a GPU
nothing is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.kernel import (
    DRAWS,
    LAYOUTS,
    ROTATED_BYTES,
    draw,
    laid_out,
    machine,
    median_ms,
    operands,
)
from kernels import available_backends, quant_causal_conv1d, quant_causal_conv1d_lookup

SHAPES = ((16, 5120, 2048), (64, 5120, 2048))


def ways(channels: int) -> dict[str, tuple[Callable[..., Tensor], dict, tuple[str, ...]]]:
    """By name: the function, its arguments beside x, and the modes that it has."""
    plain = operands(channels, "cuda", vectors=False)
    zeros = torch.randint(-128, 128, (channels,), dtype=torch.int32, device="cuda")
    looked_up = {name: value for name, value in plain.items() if name != "scale_out"}
    # INT8's own edges, to within float32's rounding: as many and as dense as a format can have.
    edges = (torch.arange(-127, 128, device="cuda") - 0.5) * plain["scale_out"]
    floats = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    floats = torch.cat([-floats, floats]).unique() * (127 * plain["scale_out"] / 448)
    middles = ((floats[1:] + floats[:-1]) / 2).to("cuda")
    both = ("exact", "fast")
    return {
        "symmetric": (quant_causal_conv1d, plain, both),
        "one zero point": (quant_causal_conv1d, plain | {"zero_point": -105}, both),
        "zero points": (quant_causal_conv1d, plain | {"zero_point": zeros}, both),
        "255 thresholds": (
            quant_causal_conv1d_lookup,
            looked_up | {"thresholds": edges},
            ("exact",),
        ),
        "FP8 E4M3": (quant_causal_conv1d_lookup, looked_up | {"thresholds": middles}, ("exact",)),
        "15 thresholds": (
            quant_causal_conv1d_lookup,
            looked_up | {"thresholds": edges[::17].contiguous()},
            ("exact",),
        ),
    }


def differing(function: Callable[..., Tensor], arguments: dict, x: Tensor) -> int:
    """How many codes of x are not the specification's, a batch at a time."""
    codes = function(x, **arguments)
    return sum(
        int((codes[i] != function(x[i : i + 1], backend="torch", **arguments)[0]).sum())
        for i in range(len(x))
    )


def measure(shape: tuple[int, int, int]) -> list[dict]:
    """Every way in every layout and mode: microseconds, share of the copy, codes that differ."""
    elements = shape[0] * shape[1] * shape[2]
    copies = max(2, ROTATED_BYTES // elements)
    inputs = [draw("gaussian", shape, "cuda") for _ in range(copies)]
    copy_ms = median_ms(lambda i: inputs[i % copies].clone(), "cuda", 100)
    rows = []
    for layout in LAYOUTS:
        placed = [laid_out(x, layout) for x in inputs]
        for name, (function, arguments, modes) in ways(shape[1]).items():
            for mode in modes:
                given = arguments if mode == "exact" else arguments | {"mode": mode}

                def call(i: int, function=function, given=given, placed=placed) -> Tensor:
                    return function(placed[i % copies], **given)

                ms = median_ms(call, "cuda", 100)
                wrong = None
                if mode == "exact":
                    wrong = {
                        kind: differing(
                            function, arguments, laid_out(draw(kind, shape, "cuda"), layout)
                        )
                        for kind in DRAWS
                    }
                rows.append(
                    {
                        "shape": list(shape),
                        "layout": layout,
                        "way": name,
                        "mode": mode,
                        "us": round(ms * 1e3, 1),
                        "share_of_copy": round(copy_ms / ms, 4),
                        "values": elements,
                        "differing": wrong,
                    }
                )
                print(*rows[-1].values(), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if "triton" not in available_backends():
        raise SystemExit("no GPU: the interpreter's times say nothing about a kernel")
    rows = [row for shape in SHAPES for row in measure(shape)]
    if arguments.json:
        arguments.json.write_text(json.dumps({**machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
