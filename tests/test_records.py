"""Records can be compared and hashed: those over arrays by identity, the others by value."""

import dataclasses
import importlib
import pkgutil
import re

import numpy as np
import pytest
import torch

import dashboard
import kernels
from dashboard.calibration import ConvCapture, LayerCalibration, SliceCalibration
from dashboard.calibration.histogram import Histogram

RUN = ("dashboard.__main__", "kernels.compiled")  # when imported, or compiled for a GPU
# Their == gives no single answer, and a tensor is no value to hash.
ARRAYS = re.compile(r"\b(ndarray|Tensor)\b")


def records() -> dict[str, type]:
    classes = {}
    for package in (dashboard, kernels):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name in RUN:
                continue
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                if dataclasses.is_dataclass(value) and value.__module__ == info.name:
                    classes[f"{info.name}.{name}"] = value
    return classes


@pytest.mark.parametrize("name", sorted(records()))
def test_a_record_over_arrays_is_compared_by_identity(name):
    record = records()[name]
    arrays = [
        field.name
        for field in dataclasses.fields(record)
        if field.compare and ARRAYS.search(re.sub(r"Callable\[.*", "", str(field.type)))
    ]
    by_value = "__eq__" in vars(record)
    assert not (arrays and by_value), f"{name} compares {arrays} by value"


def test_histograms_and_what_holds_them_can_be_compared_and_hashed():
    one, other = (Histogram.of(torch.tensor([1.0, 2.0])) for _ in range(2))
    assert one == one and one != other and len({one, other, one}) == 2
    first, same, third = (
        LayerCalibration(0, (SliceCalibration("x", 1.0, 1.0, 1.0, output, output, (output,)),))
        for output in (one, one, other)
    )
    assert first == same and first != third and len({first, same, third}) == 2
    captures = [ConvCapture(0, *(torch.zeros(2) for _ in range(3))) for _ in range(2)]
    assert captures[0] != captures[1] and len(set(captures)) == 2
    assert np.array_equal(one.values, other.values)
