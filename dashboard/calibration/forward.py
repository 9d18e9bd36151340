"""Tokens -> the conv input of every Mamba layer, while transformers' own forward runs.

A hook on every mixer's ``in_proj`` sees the input of the causal conv1d: the fast and the plain
forward of transformers both pass through ``in_proj`` as a module, whereas the convolution and its
activation are called as functions, so that hooks on them never fire.

Several sequences may run together on a GPU, where a forward is bound by its launches. What a
sequence gets must not depend on its company. All that a Mamba forward computes is elementwise or a
sum within one sequence, but for matrix products, whose libraries choose their kernels by the size
of the whole: torch multiplies one matrix by another routine than several, which changes last bits.
So each sequence's products are computed by themselves, with the shapes that they have alone. On a
CPU sequences run one after the other: its forward is bound by arithmetic and gains nothing, and
there even an exponential's last bit depends on where in memory a value lies among others.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dashboard.calibration.faults import model_fault
from dashboard.checkpoints import Checkpoint, conv_input, find_mixer, mixer_multiplier

PRODUCTS = (
    torch.matmul,
    torch.bmm,
    torch.einsum,
    Tensor.matmul,
    Tensor.bmm,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
    F.linear,
    F.scaled_dot_product_attention,
)


class SeparateProducts(TorchFunctionMode):
    """Within, each of N sequences has its matrix products computed by themselves.

    A tensor of three dimensions or more whose first is N is taken for N sequences; parameters are
    not.
    """

    def __init__(self, sequences: int) -> None:
        super().__init__()
        self._sequences = sequences

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in PRODUCTS and any(map(self._is_batched, (*args, *kwargs.values()))):
            products = []
            for i in range(self._sequences):
                own = [a[i : i + 1] if self._is_batched(a) else a for a in args]
                named = {k: a[i : i + 1] if self._is_batched(a) else a for k, a in kwargs.items()}
                products.append(func(*own, **named))
            return torch.cat(products)
        return func(*args, **kwargs)

    def _is_batched(self, argument: object) -> bool:
        return (
            isinstance(argument, Tensor)
            and not isinstance(argument, nn.Parameter)
            and argument.dim() > 2
            and argument.shape[0] == self._sequences
        )


def visit_conv_inputs(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    tokens: Tensor,
    layers: Collection[int],
    visit: Callable[[int, int, Tensor], None],
) -> None:
    """Run batch after batch; call visit(batch, layer, x) while the model runs, layer by layer.

    x is (1, D, L) float32, sequence-last. What ``visit`` raises ends the run.

    Raises CalibrationError where the model itself cannot be run.
    """

    def widened(batches: Sequence[int], layer: int, x: Tensor) -> None:
        visit(batches[0], layer, x.to(torch.float32).contiguous())

    run_forwards(checkpoint, backbone, tokens, layers, widened)


def run_forwards(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    tokens: Tensor,
    layers: Collection[int],
    visit: Callable[[Sequence[int], int, Tensor], None],
    batch_size: int = 1,
    finish: Callable[[Sequence[int]], None] = lambda batches: None,
    prepare: Callable[[Mapping[int, Tensor]], None] = lambda weights: None,
) -> None:
    """Run N batches, some together; call visit(batches, layer, x), layer by layer, then finish.

    Args:
        tokens: (N, L).
        visit: called while the model runs, with the numbers of the batches that run together and
            their conv input, x (n, D, L): a view, in the dtype and on the device of the forward.
        batch_size: how many sequences run together on a GPU, the last few fewer; on a CPU each
            runs alone.
        finish: called with the batches' numbers once their forward has been launched.
        prepare: called before all forwards with the weights of each layer's in_proj.

    What either raises ends the run. Raises CalibrationError where the model itself cannot be run.
    """
    device = _device_of(backbone)
    if device.type == "cpu":
        batch_size = 1
    batches: Sequence[int] = range(0)
    visiting = False  # while it is, a fault is not the model's

    def hook_for(layer: int, mixer: nn.Module) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            nonlocal visiting
            x = conv_input(checkpoint, mixer_multiplier(mixer), output)
            visiting = True
            visit(batches, layer, x)
            visiting = False

        return hook

    hooks, weights = [], {}
    try:
        for layer in sorted(layers):
            mixer = find_mixer(backbone, layer)
            in_proj = mixer.get_submodule("in_proj")
            hooks.append(in_proj.register_forward_hook(hook_for(layer, mixer)))
            weights[layer] = in_proj.get_parameter("weight")
        prepare(weights)
        with torch.no_grad():
            for first in range(0, len(tokens), batch_size):
                together = tokens[first : first + batch_size]
                batches = range(first, first + len(together))
                if device.type == "cuda":  # from other memory a copy waits for all that runs there
                    together = together.pin_memory()
                ids = together.to(device, non_blocking=True)
                if len(ids) == 1:
                    backbone(ids, use_cache=False)
                else:
                    with SeparateProducts(len(ids)):
                        backbone(ids, use_cache=False)
                visiting = True
                finish(batches)
                visiting = False
    except Exception as error:  # whatever a strange configuration makes transformers raise
        if visiting:
            raise
        raise model_fault(error, checkpoint, tokens.shape[1]) from error
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Forward:
    """How a model's forward runs, as a calibration's ``Origin`` says it."""

    dtype: str
    device: str
    kernels: str

    def __str__(self) -> str:
        by = "plain torch" if self.kernels == "torch" else self.kernels
        return f"{self.dtype} on {self.device}, convolution and scan by {by}"


def forward_of(backbone: nn.Module) -> Forward:
    """The dtype, the device and the kernels of a model's forward."""
    mixer = next(m for m in backbone.modules() if hasattr(m, "in_proj") and hasattr(m, "conv1d"))
    dtype = mixer.get_submodule("in_proj").weight.dtype
    return Forward(
        str(dtype).removeprefix("torch."), _device_of(backbone).type, _kernels_of(backbone, mixer)
    )


def _device_of(backbone: nn.Module) -> torch.device:
    """Where token ids go: of a model spread by accelerate, to the first of its devices."""
    spread = getattr(backbone, "hf_device_map", None)
    if spread:
        places = [place for place in spread.values() if place not in ("cpu", "disk")]
        return torch.device(places[0] if places else "cpu")
    return next(backbone.parameters()).device


def _kernels_of(backbone: nn.Module, mixer: nn.Module) -> str:
    """The packages whose functions transformers calls in a mixer, or "torch" for its own.

    It takes those of mamba-ssm and causal-conv1d where they can be imported, one by one, and keeps
    each in the closure of the function that it calls.
    """
    if getattr(backbone, "_use_kernels", False):
        return "the Hub's kernels"
    module = sys.modules[type(mixer).__module__]
    packages = set()
    for function in vars(module).values():
        if isinstance(function, FunctionType) and function.__closure__:
            taken = inspect.getclosurevars(function).nonlocals.get("implementation")
            packages.add((getattr(taken, "__module__", None) or "torch").partition(".")[0])
    if getattr(module, "is_fast_path_available", False):  # of families that ask for all at once
        packages |= {"causal_conv1d", "mamba_ssm"}
    return ", ".join(sorted(packages - {"torch", "transformers"})) or "torch"
