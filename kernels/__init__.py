"""INT8 causal conv1d + SiLU: the specification in plain torch, and the Triton kernel beside it.

    from kernels import quant_causal_conv1d

Triton compiles the kernel on a CUDA device and interprets the same source on a CPU. Which of the
two is decided by the environment when triton is first imported, and transformers imports it too:
so this package has to be imported before either, and settles the matter here.
"""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from kernels.backends import available_backends, default_backend
from kernels.causal_conv1d import quant_causal_conv1d, quant_causal_conv1d_lookup
from kernels.decode import quant_causal_conv1d_lookup_update, quant_causal_conv1d_update
from kernels.statistics import add_layer_counts, code_histogram, silu_histograms

__all__ = [
    "add_layer_counts",
    "available_backends",
    "code_histogram",
    "default_backend",
    "quant_causal_conv1d",
    "quant_causal_conv1d_lookup",
    "quant_causal_conv1d_lookup_update",
    "quant_causal_conv1d_update",
    "silu_histograms",
]
