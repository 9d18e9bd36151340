"""A model or a path -> numbers and pictures, in a notebook. docs/python.md has it on one page.

    calibration = Calibration.of("mamba2-small")
    calibration.layer(4).scale("percentile", alpha=0.9995).sqnr_db

Nothing is computed here: these records hold those of the rooms below, under names that read well
one after the other, and show themselves in a notebook as tables and figures. What each room gives
can still be reached: ``calibration.record``, ``layer.counted``, and scales and landscapes are the
rules' and the analysis's own.
"""

from dashboard.api.calibration import Calibration, compare
from dashboard.api.costs import Impact, Plan
from dashboard.api.formats import Format, Formats
from dashboard.api.layers import Layer
from dashboard.api.scales import Landscape, Recommendation, Scale
from dashboard.calibration import CalibrationError
from dashboard.checkpoints import CheckpointError
from dashboard.importing import hide_kernels_distribution

__all__ = [
    "Calibration",
    "CalibrationError",
    "CheckpointError",
    "Format",
    "Formats",
    "Impact",
    "Landscape",
    "Layer",
    "Plan",
    "Recommendation",
    "Scale",
    "compare",
]

hide_kernels_distribution()  # whoever imports this imports transformers next
