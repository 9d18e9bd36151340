"""The compiled kernel's PTX, to be read: compiled here where possible, recorded elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from kernels.arguments import MODES, check_choice
from kernels.backends import HAS_PTX, available_backends

LAYOUTS = ("sequence-last", "channel-last")
RECORDED = Path(__file__).parent / "recorded"
RECORDED_ON = "NVIDIA H200, Triton 3.6.0"


@dataclass(frozen=True)
class Listing:
    """A kernel's PTX."""

    text: str
    recorded: bool  # read from the repository, not compiled in this process
    where: str  # the GPU and the Triton that made it


def generated_ptx(layout: str, mode: str = "exact") -> Listing:
    """The PTX of ``quant_causal_conv1d`` for four taps, a bias, SiLU and scalar scales.

    Args:
        layout: "sequence-last" or "channel-last".
        mode: "exact" or "fast".

    Raises ValueError for any other layout or mode.
    """
    check_choice("layout", layout, LAYOUTS)
    check_choice("mode", mode, MODES)
    if HAS_PTX and "triton" in available_backends():
        import triton

        where = f"{torch.cuda.get_device_name()}, Triton {triton.__version__}"
        return Listing(_compiled(layout, mode), recorded=False, where=where)
    text = (RECORDED / f"{layout}_{mode}.ptx").read_text()
    return Listing(text, recorded=True, where=RECORDED_ON)


def _compiled(layout: str, mode: str) -> str:
    from kernels.compiled import plan_for

    x = torch.empty(2, 512, 2048, dtype=torch.int8, device="cuda")
    if layout == "channel-last":
        x = torch.empty(2, 2048, 512, dtype=torch.int8, device="cuda").transpose(1, 2)
    plan = plan_for(x, x[0, :, :4], True, x, (False,) * 4, silu=True, exact=mode == "exact")
    return _without_debug_lines(plan.kernel.asm["ptx"])


def _without_debug_lines(text: str) -> str:
    """Without the places in the Python source, which name this machine's directories."""
    code, _, _ = text.partition("\t.file\t")
    lines = (line for line in code.splitlines() if not line.lstrip().startswith(".loc"))
    return "\n".join(line for line in lines if not line.startswith("$L__tmp")) + "\n"
