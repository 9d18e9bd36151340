"""The PTX that is shown: the kernel's own, and free of this machine's directories."""

import pytest

from kernels import available_backends
from kernels.listing import LAYOUTS, RECORDED, generated_ptx


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_the_listing_is_the_kernel(layout, mode):
    generated = generated_ptx(layout, mode)
    assert generated.recorded == ("triton" not in available_backends())
    assert "Triton" in generated.where
    assert ".visible .entry _along_" + ("l" if layout == "sequence-last" else "d") in generated.text
    assert generated.text.count("dp4a") >= 16 and generated.text.count("ex2.approx") == 16
    assert ("fma.rn.f64" in generated.text) == (mode == "exact")
    assert ".loc" not in generated.text and "/" not in generated.text.replace("//", "")


def test_all_recorded_listings_are_there():
    names = {f"{layout}_{mode}.ptx" for layout in LAYOUTS for mode in ("exact", "fast")}
    assert {path.name for path in RECORDED.glob("*.ptx")} == names


def test_another_layout_is_refused():
    with pytest.raises(ValueError, match="layout is 'batch-last'; allowed are"):
        generated_ptx("batch-last")
    with pytest.raises(ValueError, match="mode is 'quick'; allowed are"):
        generated_ptx("sequence-last", "quick")
