"""Number formats: what codes of so many bits stand for, and what each makes of a layer.

A scale is one choice among many; where to put the codes is another. A layer's counts say everything
about any quantizer that looks at one value alone, so all of these are compared exactly, in
milliseconds, without another pass over the model.
"""

# ruff: noqa: E402 - the order of registration comes first

import pkgutil
from importlib import import_module

import dashboard.formats.catalogue as _catalogue

# As boxes and tables list them; files that are not named come after, by name.
_FIRST = ("integers", "integers_asymmetric", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1", "log2")
_files = sorted(module.name for module in pkgutil.iter_modules(_catalogue.__path__))
for _name in (*_FIRST, *(name for name in _files if name not in _FIRST)):
    import_module(f"{_catalogue.__name__}.{_name}")

from dashboard.formats.choice import FormatReport, best_format, format_under_rule, report_of
from dashboard.formats.codebook import Codebook, Coded, UnitGrid
from dashboard.formats.registry import (
    DEFAULT_FORMAT,
    FAMILIES,
    REGISTERED,
    NumberFormat,
    format_named,
    names,
    register,
)

__all__ = [
    "DEFAULT_FORMAT",
    "FAMILIES",
    "REGISTERED",
    "Codebook",
    "Coded",
    "FormatReport",
    "NumberFormat",
    "UnitGrid",
    "best_format",
    "format_named",
    "format_under_rule",
    "names",
    "register",
    "report_of",
]
