"""Shared by all tests: kernels first, so that Triton is interpreted wherever there is no GPU."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two torch processes share the cores

import kernels  # noqa: F401
