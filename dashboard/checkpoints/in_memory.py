"""A model of transformers in memory -> a Checkpoint, and the model itself, ready for a forward.

What ``loading`` reads from config.json and the files of weights, a model has at hand: its
configuration in the words in which transformers would save it, and its tensors by name. So both
are read by the same functions, and nothing is written to a disk. ``backbone`` builds a model of its
own; this one belongs to the caller, and is given back as it was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

from dashboard.checkpoints.families import FAMILIES
from dashboard.checkpoints.loading import read_checkpoint
from dashboard.checkpoints.records import Checkpoint, CheckpointError
from dashboard.checkpoints.weights import Weights, out_of_memory, ran_out_of_memory
from dashboard.refusals import quoted

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def is_model(source: object) -> TypeGuard[PreTrainedModel]:
    """Whether it is a model of transformers, with a head or without."""
    transformers = sys.modules.get("transformers")  # not imported: no model was made with it
    return transformers is not None and isinstance(source, transformers.PreTrainedModel)


def name_of(model: PreTrainedModel) -> str:
    """What a model is called where a checkpoint would have its name."""
    return f"{type(model).__name__} in memory"


def read_model(model: PreTrainedModel) -> Checkpoint:
    """A model's sizes and convolutions, as ``load_checkpoint`` gives them once it is saved.

    Convolutions are copies, float32 on the CPU. The ``path`` of the record is the model's name and
    leads nowhere.

    Raises CheckpointError for a family without Mamba layers, for weights that are quantized, not
    float, not finite or not there, and for sizes that do not fit the configuration.
    """
    name = name_of(model)
    config = json.loads(model.config.to_json_string())  # what save_pretrained writes
    family = config.get("model_type")
    if family not in FAMILIES:
        raise CheckpointError(
            "{model}: model_type is {value}; allowed are {families}",
            model=name,
            value=quoted(family),
            families=tuple(FAMILIES),
        )
    if config.get("quantization_config"):
        raise CheckpointError(
            "{model}: quantization_config says that its weights are quantized; float weights are "
            "needed to calibrate",
            model=name,
        )
    state = model.base_model.state_dict()
    elsewhere = [tensor for tensor, value in state.items() if value.is_meta]
    if elsewhere:
        raise CheckpointError(
            "{model}: {count} of its tensors are on the meta device, as {tensor}; load the weights "
            "first",
            model=name,
            count=len(elsewhere),
            tensor=elsewhere[0],
        )

    def read(tensor: str) -> Tensor:
        return state[tensor].detach().to("cpu", copy=True)

    place = Path(name)
    return read_checkpoint(name, place, place, config, Weights(dict.fromkeys(state, place), read))


@contextmanager
def lent_language_model(model: PreTrainedModel) -> Iterator[nn.Module]:
    """The model with its head, as ``lent_backbone`` lends what is without.

    Raises CheckpointError for a model without a head, too.
    """
    if model.get_output_embeddings() is None:
        raise CheckpointError(
            "{name} has no LM head, so it has no loss; give the model with its head, as "
            "MambaForCausalLM",
            name=name_of(model),
        )
    with _lent(model, model) as lent:
        yield lent


@contextmanager
def lent_backbone(model: PreTrainedModel) -> Iterator[nn.Module]:
    """The model without its head, ready for a forward as ``load_backbone`` has it.

    Within, it is in evaluation mode, and on a CPU its weights are widened to float32 (4 bytes a
    parameter more, for weights of another dtype). Afterwards, whatever happened, each module is in
    its own mode again and each parameter and buffer has the memory that it had.

    Raises CheckpointError where memory does not suffice.
    """
    with _lent(model, model.base_model) as lent:
        yield lent


@contextmanager
def _lent(model: PreTrainedModel, module: nn.Module) -> Iterator[nn.Module]:
    modes = {module: module.training for module in module.modules()}
    before: list[tuple[Tensor, Tensor]] = []
    try:
        try:
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.device.type == "cpu" and tensor.is_floating_point():
                    widened = tensor.data.to(torch.float32)
                    before.append((tensor, tensor.data))
                    tensor.data = widened
        except (MemoryError, RuntimeError) as error:
            if ran_out_of_memory(error):
                raise out_of_memory(Path(name_of(model)), error) from error
            raise
        yield module.eval()
    finally:
        for tensor, data in before:
            tensor.data = data
        for module, training in modes.items():
            module.training = training
