"""Shared by all tests: kernels first, so that Triton is interpreted wherever there is no GPU."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two torch processes share the cores

import kernels  # noqa: F401
from dashboard.importing import hide_kernels_distribution

hide_kernels_distribution()  # tests import transformers, too
