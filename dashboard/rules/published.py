"""What the published analysis printed, as records, and what is true beside it.

The figures are from an analysis of Quamba2's checkpoints (Quamba2: arXiv 2503.22879; the method of
the percentile: Quamba, arXiv 2410.13229). They are kept here as printed, digit by digit, and
nowhere else: whatever the project says about them is computed from these records. Two readings
of the same table are offered by name. ``ratio_weight`` is the published one, an activation's scale
over the scale of the *weights*, which is what the checkpoint calls ``wx_scale``; ``ratio_wx`` is
like for like, over the scale at which the integer accumulator arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

QUAMBA = "arXiv 2410.13229"
QUAMBA2 = "arXiv 2503.22879"


@dataclass(frozen=True)
class PublishedScales:
    """One layer of Quamba2-130m as printed, and the ratio of the same layer of Quamba2-2.7b.

    Scales are real units per code, of the x slice. ``x_scale``, ``wx_scale`` and ``x_out_scale``
    are the w8a8 run's; ``pa_0_5`` and ``pa_1_0`` are the x_out_scale of two w4a8 runs, "pa-0.5"
    (α = 0.9995) and "pa-1.0" (α = 0.99999).
    """

    layer: int
    x_scale: float
    wx_scale: float  # the scale of the weights of the x slice; the kernel multiplies it by x_scale
    x_out_scale: float
    ratio: float  # as printed
    ratio_2_7b: float  # as printed
    pa_0_5: float
    pa_1_0: float

    @property
    def w_scale(self) -> float:
        """What ``wx_scale`` is."""
        return self.wx_scale

    @property
    def scale_wx(self) -> float:
        """What its name says: x_scale times the scale of the weights."""
        return self.x_scale * self.w_scale

    @property
    def ratio_weight(self) -> float:
        """The published ratio, computed: x_out_scale over the scale of the weights."""
        return self.x_out_scale / self.w_scale

    @property
    def ratio_wx(self) -> float:
        """Like for like: x_out_scale over the accumulator's scale."""
        return self.x_out_scale / self.scale_wx

    @property
    def pa_difference(self) -> float:
        """pa-1.0 over pa-0.5, less 1."""
        return self.pa_1_0 / self.pa_0_5 - 1


QUAMBA2_130M = (
    PublishedScales(0, 0.03795522, 0.00918891, 0.01578744, 1.7181, 4.89, 0.01578744, 0.01578744),
    PublishedScales(1, 0.03491019, 0.00804318, 0.06717040, 8.3512, 10.50, 0.06717040, 0.06717424),
    PublishedScales(2, 0.05035064, 0.00715890, 0.07035671, 9.8279, 9.22, 0.07035671, 0.07035863),
    PublishedScales(3, 0.03946235, 0.00817391, 0.07583546, 9.2778, 10.30, 0.07583546, 0.07583161),
    PublishedScales(4, 0.05570251, 0.00752799, 0.06240292, 8.2895, 12.68, 0.06240292, 0.06240004),
)
QUAMBA2_130M_NAME = "Quamba2-130m-w8a8"
QUAMBA2_2_7B_NAME = "Quamba2-2.7b"
ANALYSIS_NAMES = (QUAMBA2_130M_NAME, QUAMBA2_2_7B_NAME)
QUAMBA2_2_7B_PA_1_LAYER_0 = 0.01849  # x_out_scale, as printed


@dataclass(frozen=True)
class GroupedScales:
    """The shape of the published x_out_scales, and which observer made each of their entries."""

    shape: tuple[int, ...]
    observer: str

    @property
    def scales(self) -> int:
        """How many scales there are."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def alpha_used(self) -> bool:
        """Whether a percentile α had any part in them."""
        return self.observer.startswith("percentile")


X_OUT_SCALES = GroupedScales((1, 4, 4), "minmax")  # SSD groups, head groups, channel groups


@dataclass(frozen=True)
class PublishedUse:
    """How the toy example says that one scale uses INT8."""

    scale: float
    lowest_code: int
    highest_code: int
    utilization: float  # the top code alone, over 127
    mean_error: float


@dataclass(frozen=True)
class ToyExample:
    """Conv outputs on an even grid, quantized after SiLU with two scales."""

    low: float
    high: float
    step: float
    # Six conv outputs that the example also writes out: of the whole numbers from low to high, the
    # only six whose mean errors are 0.0294 and 0.0138 at its two scales.
    listed: tuple[float, ...]
    straightforward: PublishedUse
    percentile: PublishedUse
    times_better: float


TOY = ToyExample(
    low=-5.0,
    high=5.0,
    step=0.1,
    listed=(-1.0, 0.0, 1.0, 2.0, 3.0, 5.0),
    straightforward=PublishedUse(0.1, -3, 50, 0.394, 0.027),
    percentile=PublishedUse(0.0387, -7, 127, 1.0, 0.011),
    times_better=2.51,
)


@dataclass(frozen=True)
class OutlierExample:
    """Nearly all values in [0, bulk], the rest at one outlier: MinMax against a percentile."""

    bulk: float
    outlier: float
    outlier_share: float
    minmax_scale: float
    percentile_scale: float
    value: float  # whose codes are printed
    minmax_code: int
    percentile_code: int


OUTLIERS = OutlierExample(
    bulk=3.0,
    outlier=10.0,
    outlier_share=0.0005,
    minmax_scale=0.0787,
    percentile_scale=0.0236,
    value=1.0,
    minmax_code=13,
    percentile_code=42,
)


@dataclass(frozen=True)
class OutlierGuideExample:
    """A synthetic example of a guide: outliers share the highest codes."""

    values: int
    minmax_scale: float
    minmax_mse: float
    alpha: float
    overflow: int  # values beyond the range of that α's scale, as printed
    normal: float  # the end of the normal values, and its code
    normal_code: int
    outlier: float  # one that is written out, and the code that it is squeezed into
    outlier_code: int


OUTLIER_GUIDE = OutlierGuideExample(
    values=10_100,
    minmax_scale=0.077025,
    minmax_mse=0.023456,
    alpha=0.9995,
    overflow=50,
    normal=5.0,
    normal_code=120,
    outlier=8.0,
    outlier_code=124,
)


# What the printed digits themselves give away
#
# Calibration runs in float16, so the greatest magnitude that MinMax saw is a float16 number, and a
# scale is that over 127. A mean of several such numbers need not be one.

PRINTED = Fraction(1, 10**8)  # one unit of the last printed decimal of a scale
FLOAT32 = Fraction(1, 2**24)  # relative rounding of the scale, stored as float32
MEAN_UNIT = Fraction(1, 1024)  # the spacing of float16 numbers from 1 to 2


def amax_of(scale: float) -> Fraction:
    """127 times a printed scale, exactly as its digits stand."""
    return 127 * Fraction(str(scale))


def is_float16(scale: float) -> bool:
    """Whether a printed scale can be a float16 number over 127, given how it was rounded."""
    amax = amax_of(scale)
    nearest = Fraction(float(np.float16(float(amax))))
    return abs(amax - nearest) <= 127 * (PRINTED / 2) + amax * FLOAT32


def units_of_the_sum(scale: float) -> Fraction:
    """What the group maxima would add up to, in 1/1024, if the printed scale were their mean.

    Float16 numbers from 1 on are whole multiples of 1/1024, so this is then a whole number.
    """
    return amax_of(scale) * X_OUT_SCALES.scales / MEAN_UNIT


@dataclass(frozen=True)
class MeanEvidence:
    """Why the published x_out_scale is read as the mean of its group scales, from its digits alone.

    Of layer 0 a further note prints the group scales, and they bear it out: ``GROUPS_130M``.

    ``chance`` is the probability that as many numbers, had they fallen anywhere, would all lie
    as near to whole ones as the one that lies ``furthest`` off.
    """

    single: int  # how many of x_scale and wx_scale are float16 numbers over 127
    singles: int  # of how many
    grouped: int  # how many of the distinct x_out_scales are
    units: tuple[int, ...]  # the distinct x_out_scales, as sums of maxima in 1/1024
    furthest: float
    chance: float
    steps: tuple[int, ...]  # pa-1.0 less pa-0.5, layer by layer, in the same unit


def mean_evidence() -> MeanEvidence:
    """Computed from the printed digits alone."""
    inputs = [scale for row in QUAMBA2_130M for scale in (row.x_scale, row.wx_scale)]
    outputs = sorted(
        {scale for row in QUAMBA2_130M for scale in (row.x_out_scale, row.pa_0_5, row.pa_1_0)}
    )
    sums = [units_of_the_sum(scale) for scale in outputs]
    furthest = max(abs(total - round(total)) for total in sums)
    return MeanEvidence(
        single=sum(map(is_float16, inputs)),
        singles=len(inputs),
        grouped=sum(map(is_float16, outputs)),
        units=tuple(map(round, sums)),
        furthest=float(furthest),
        chance=float((2 * furthest) ** len(sums)),
        steps=tuple(
            round(units_of_the_sum(row.pa_1_0)) - round(units_of_the_sum(row.pa_0_5))
            for row in QUAMBA2_130M
        ),
    )


# The column of relative differences as printed, in per cent, and the bound that is drawn from it.
PA_DIFFERENCES_PRINTED = (0.0, 0.06, 0.03, -0.05, -0.05)
PA_BOUND_PRINTED = 0.1
PA_RUN = "Quamba2-130m-w4a8"


@dataclass(frozen=True)
class PrintedGroups:
    """The sixteen x_out_scales of one layer, as a further note of the analysis prints them."""

    layer: int
    scales: tuple[tuple[float, ...], ...]  # (head group, channel group), four decimals

    @property
    def least(self) -> float:
        """The smallest printed scale."""
        return min(map(min, self.scales))

    @property
    def most(self) -> float:
        """The greatest printed scale."""
        return max(map(max, self.scales))

    @property
    def mean(self) -> float:
        """The mean of the printed scales."""
        every = [scale for row in self.scales for scale in row]
        return sum(every) / len(every)


GROUPS_130M = PrintedGroups(
    0,
    (
        (0.0078, 0.0112, 0.0316, 0.0518),
        (0.0065, 0.0063, 0.0208, 0.0166),
        (0.0066, 0.0111, 0.0214, 0.0093),
        (0.0057, 0.0191, 0.0131, 0.0137),
    ),
)
GROUPS_2_7B = PrintedGroups(
    0,
    (
        (0.0055, 0.0041, 0.0049, 0.0528),
        (0.0082, 0.0143, 0.0216, 0.0134),
        (0.0029, 0.0053, 0.0043, 0.0816),
        (0.0089, 0.0096, 0.0188, 0.0396),
    ),
)
