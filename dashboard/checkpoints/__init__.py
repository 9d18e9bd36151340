"""A directory, a file, a Hub id or the name of a sample -> a Checkpoint.

A checkpoint is read in four steps, one a module: ``weights`` opens its files and says where each
tensor lies; ``families`` reads its configuration, in the words of whichever family wrote it, into
one ``Architecture``; ``loading`` finds the convolutions and checks each against it; ``backbone``
builds the model, by transformers, where a forward is needed. ``records`` has what they give, and
``output_seam`` lets such a forward go on with another output of its convolutions.

Nothing in a checkpoint is executed: weights are read from safetensors, or from a pickle with
``weights_only``, and no code that a repository brings along is ever loaded.
"""

from dashboard.checkpoints.backbone import (
    DTYPES,
    backbone_of,
    conv_input,
    default_device,
    find_mixer,
    forward_dtype,
    load_backbone,
    load_language_model,
    mixer_multiplier,
)
from dashboard.checkpoints.hub import is_hub_id
from dashboard.checkpoints.loading import (
    SAMPLES_DIR,
    load_checkpoint,
    quantized_sample_names,
    sample_names,
)
from dashboard.checkpoints.output_seam import replaced_outputs
from dashboard.checkpoints.records import (
    CONV_WIDTHS,
    Checkpoint,
    CheckpointError,
    ConvSlice,
    ConvWeights,
    StoredCopy,
    StoredLayer,
    StoredSlice,
)
from dashboard.checkpoints.weights import open_weights

__all__ = [
    "CONV_WIDTHS",
    "DTYPES",
    "SAMPLES_DIR",
    "Checkpoint",
    "CheckpointError",
    "ConvSlice",
    "ConvWeights",
    "StoredCopy",
    "StoredLayer",
    "StoredSlice",
    "backbone_of",
    "conv_input",
    "default_device",
    "find_mixer",
    "forward_dtype",
    "is_hub_id",
    "load_backbone",
    "load_checkpoint",
    "load_language_model",
    "mixer_multiplier",
    "open_weights",
    "quantized_sample_names",
    "replaced_outputs",
    "sample_names",
]
