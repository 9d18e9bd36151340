"""How the compiled kernel is launched: straight through Triton's launcher, or by kernel[grid].

On a GPU these are real launches. Elsewhere Triton is a stand-in whose launcher takes the arguments
of Triton 3.9's, reads and writes memory by their pointers, and computes by the formulas.
"""

import ctypes
import logging
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kernels import available_backends, reference

DEVICE = "cuda" if "triton" in available_backends() else "cpu"

compiled = pytest.importorskip("kernels.compiled", reason="triton is not installed")

SCALES = {"scale_x": 0.04, "scale_w": 0.005, "scale_b": 0.006, "scale_out": 0.02}
HAS_BIAS = 13  # among a plan's numbers
TABLE = 13  # the launcher's arguments before those numbers, a look-up's table the last of them


def codes_at(address: int, *shape: int) -> torch.Tensor:
    """INT8 memory as a tensor that shares it."""
    memory = (ctypes.c_int8 * int(np.prod(shape))).from_address(address)
    return torch.from_numpy(np.frombuffer(memory, np.int8).reshape(shape))


class Program:
    """What Triton compiles, for contiguous (B, D, L); ``run`` takes what its launcher takes."""

    function, packed_metadata = "function", "metadata"

    def run(self, channels, _grid_1, _grid_2, stream, function, metadata, *rest):
        assert (stream, function, metadata) == ("stream", "function", "metadata")
        assert rest[:3] == (None, None, None)
        x, weight, bias, out, scale_x, scale_w, scale_b, scale_out, zero = rest[3:12]
        batch, length, has_bias = *rest[TABLE:][:2], rest[TABLE:][HAS_BIAS]
        if isinstance(scale_out, int):  # a pointer
            memory = (ctypes.c_float * channels).from_address(scale_out)
            scale_out = torch.from_numpy(np.frombuffer(memory, np.float32).copy())
        codes_at(out, batch, channels, length)[:] = reference.quant_causal_conv1d(
            codes_at(x, batch, channels, length),
            codes_at(weight, channels, 4),
            codes_at(bias, channels) if has_bias else None,
            scale_x=scale_x,
            scale_w=scale_w,
            scale_b=scale_b,
            scale_out=scale_out,
            zero_point=zero,
        )


class Source:
    """What Triton compiles from: ``kernel.warmup(...)``, and ``kernel[grid](...)`` with tensors."""

    def warmup(self, *_arguments, grid, num_warps, enable_fp_fusion):
        assert len(grid) == 3 and num_warps > 0 and not enable_fp_fusion
        return Program()

    def __getitem__(self, grid):
        def launch(x, weight, bias, out, *rest, num_warps, enable_fp_fusion):
            assert len(grid) == 3 and num_warps > 0 and not enable_fp_fusion
            scales = dict(zip(SCALES, rest[:4], strict=True))
            zero, given = rest[4], bias if rest[TABLE - 7 :][HAS_BIAS] else None
            out.copy_(reference.quant_causal_conv1d(x, weight, given, **scales, zero_point=zero))

        return launch


@pytest.fixture(autouse=True)
def untried(monkeypatch):
    """No device has been tried yet; afterwards what was found here is forgotten."""
    monkeypatch.setattr(compiled, "_DIRECT", {})
    compiled._plan.cache_clear()
    if DEVICE == "cpu":
        driver = SimpleNamespace(active=SimpleNamespace(get_current_stream=lambda _: "stream"))
        stand_in = SimpleNamespace(__version__="0", runtime=SimpleNamespace(driver=driver))
        monkeypatch.setattr(compiled, "triton", stand_in)
        monkeypatch.setattr(compiled, "_along_l_kernel", Source())
        monkeypatch.setattr(compiled, "_along_d_kernel", Source())
        monkeypatch.setattr(compiled, "_device", lambda _: torch.device("cpu"))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: -1)
        monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=4)
        )
    yield
    compiled._plan.cache_clear()


def launched(layout: str = "sequence-last", bias: bool = True, **changed) -> compiled.Plan:
    """Launch once, compare the codes with the reference's, and return the plan that was used."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 8, 48) if layout == "sequence-last" else (2, 48, 8)
    x, weight, biases = (
        torch.randint(-128, 128, size, dtype=torch.int8, generator=generator)
        for size in (shape, (8, 4), (8,))
    )
    if layout == "channel-last":
        x = x.transpose(1, 2)
    scales = SCALES | changed
    given = biases if bias else None
    expected = reference.quant_causal_conv1d(x, weight, given, **scales)
    there = [
        value.to(DEVICE) if isinstance(value, torch.Tensor) else value
        for value in (x, weight, given, ~expected, *scales.values())
    ]
    compiled.launch(*there[:4], there[4:], silu=True, exact=True)
    assert torch.equal(there[3].cpu(), expected)
    vectors = tuple(isinstance(value, torch.Tensor) for value in there[4:])
    return compiled.plan_for(there[0], there[1], bias, there[3], vectors, silu=True, exact=True)


def test_a_launcher_that_gives_the_references_codes_is_used_directly():
    assert launched().run is not None
    assert launched(scale_out=torch.linspace(0.01, 0.04, 8)).run is not None
    assert list(compiled._DIRECT.values()) == [True]


def raising(*_arguments):
    raise TypeError("function takes exactly 42 arguments")


def idle(*_arguments):
    """A launcher that takes its arguments and writes nothing."""


@pytest.mark.parametrize("layout", ["sequence-last", "channel-last"])
@pytest.mark.parametrize(
    ("launcher", "fault"),
    [
        (raising, "raises TypeError: function takes exactly 42 arguments"),
        (idle, "gives 256 of 256 other codes"),
    ],
)
def test_a_launcher_that_fails_is_left_alone_and_told_once(
    launcher, fault, layout, monkeypatch, caplog
):
    monkeypatch.setattr(compiled, "run_plan", launcher)
    with caplog.at_level(logging.WARNING, logger="kernels.compiled"):
        assert launched(layout).run is None
        assert launched(layout).run is None
        assert launched(layout, bias=False).run is None
        assert launched(layout, scale_out=torch.linspace(0.01, 0.04, 8)).run is None
    # The input that was tried has a plan of its own, which must not be the direct one any more.
    assert compiled._fault_of_direct_launch(torch.cuda.current_device()) is None
    assert len(caplog.records) == 1 and fault in caplog.text


@pytest.mark.skipif(DEVICE == "cuda", reason="kernel[grid] would miss it too")
@pytest.mark.parametrize("name", ["run", "function", "packed_metadata"])
def test_what_a_version_of_triton_lacks_is_not_needed(name, monkeypatch, caplog):
    monkeypatch.delattr(Program, name)
    with caplog.at_level(logging.WARNING, logger="kernels.compiled"):
        assert launched().run is None
    assert "raises AttributeError" in caplog.text


def test_a_device_is_tried_once_for_each_version_of_triton(monkeypatch):
    tried = []

    def count(device: int) -> None:
        tried.append(device)

    monkeypatch.setattr(compiled, "_fault_of_direct_launch", count)
    launched()
    launched(bias=False)
    launched(scale_out=torch.linspace(0.01, 0.04, 8))
    assert len(tried) == 1
    monkeypatch.setattr(compiled.triton, "__version__", "another")
    compiled._plan.cache_clear()
    launched()
    assert len(tried) == 2


def test_nothing_is_tried_while_a_graph_is_captured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert launched().run is None and not compiled._DIRECT
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert launched(bias=False).run is not None
