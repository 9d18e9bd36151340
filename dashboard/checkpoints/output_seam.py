"""A model whose convolutions give what somebody else computes, for as long as a block lasts.

To see what quantizing y (the causal conv1d with SiLU) costs a model, its forward has to go on with
another y. No family of transformers has a place for that: the convolution and its activation are
called as functions, so no hook fires between them and the scan. But ``in_proj`` is a module, and
its output is the convolution's input. So a hook there computes y, lets the caller change it, and
puts it where the conv input was; and for as long as that lasts, the convolution that follows is the
identity: weight 1 on the position itself and 0 on those before, no bias, no activation. Its sums
y · 1 + 0 + … are exact, so the scan receives the caller's y to the last bit, in every family and on
transformers' plain and fast paths alike, which both go through ``in_proj`` and take weight, bias
and activation from the mixer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dashboard.checkpoints.backbone import conv_input, find_mixer, mixer_multiplier
from dashboard.checkpoints.records import Checkpoint, CheckpointError

# (x, compute_y) -> y: x is the conv input (B, D, L) in the model's dtype, ``compute_y()`` the
# model's own SiLU(conv1d(x)); what is returned, of the same shape, is what the scan receives.
Replacement = Callable[[Tensor, Callable[[], Tensor]], Tensor]


@contextmanager
def replaced_outputs(
    checkpoint: Checkpoint, backbone: nn.Module, replacements: Mapping[int, Replacement]
) -> Iterator[None]:
    """Within, the forward of ``backbone`` goes on with what ``replacements`` make of y.

    Args:
        checkpoint: what ``backbone`` was loaded from.
        backbone: without its LM head, in evaluation mode. Nobody else may run it meanwhile.
        replacements: by the model's own number of the layer; other layers stay as they are.

    Afterwards, whatever happened, weights, biases and activations are the very objects that they
    were, and no hook is left. Raises CheckpointError for a layer without a Mamba mixer, and for a
    model in training mode, whose fused path may leave the convolution out.
    """
    for layer in replacements:
        if layer not in checkpoint.layers:
            raise CheckpointError(
                "layer {layer} has no convolution to replace; {name} has the Mamba layers {layers}",
                layer=layer,
                name=checkpoint.name,
                layers=", ".join(map(str, checkpoint.layers)),
            )
    if backbone.training:
        raise CheckpointError(
            "{name} is in training mode; call eval() before its outputs are replaced",
            name=checkpoint.name,
        )
    with ExitStack() as stack:
        for layer, replacement in replacements.items():
            mixer = find_mixer(backbone, layer)
            stack.enter_context(_replaced_output(checkpoint, mixer, replacement))
        yield


@contextmanager
def _replaced_output(
    checkpoint: Checkpoint, mixer: nn.Module, replacement: Replacement
) -> Iterator[None]:
    conv: Any = mixer.get_submodule("conv1d")
    weight, bias = conv.weight, conv.bias
    owner: Any = mixer  # the type of a module's attributes is Tensor or Module
    activation = owner.activation
    multiplier = mixer_multiplier(mixer)
    first = checkpoint.conv_offset
    channels = slice(first, first + checkpoint.conv_dim)
    convolve = sys.modules[type(mixer).__module__].causal_conv1d_fn

    def hook(_module: nn.Module, _inputs: tuple, projected: Tensor) -> Tensor:
        x = conv_input(checkpoint, multiplier, projected)

        def compute_y() -> Tensor:
            return convolve(x, weight.squeeze(1), bias, activation=activation)

        y = replacement(x, compute_y)
        changed = projected.clone()
        changed[..., channels] = y.transpose(1, 2).to(projected.dtype)
        return changed

    handle = mixer.get_submodule("in_proj").register_forward_hook(hook)
    try:
        identity = torch.zeros_like(weight)
        identity[..., -1] = 1
        conv.weight = nn.Parameter(identity, requires_grad=False)
        if bias is not None:
            conv.bias = nn.Parameter(torch.zeros_like(bias), requires_grad=False)
        owner.activation = None
        if multiplier is not None:  # Falcon-H1 multiplies after the hook, and y must stay y
            ones = multiplier.clone()
            ones[..., channels] = 1
            owner.mup_vector = ones
        yield
    finally:
        handle.remove()
        conv.weight, conv.bias, owner.activation = weight, bias, activation
        if multiplier is not None:
            owner.mup_vector = multiplier
