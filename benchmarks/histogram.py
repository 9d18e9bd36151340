"""How long the exact histogram takes: counting 10^8 values, and every question put to it.

python -m benchmarks.histogram
"""

import platform
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from dashboard.analysis.report import SILU_MIN
from dashboard.calibration.histogram import Histogram, count_patterns
from dashboard.rules.channels import CHANNEL_RULES
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule, amax, least_error_range

COUNTED = 10**8


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def peak_mb() -> float:
    """The most memory that the process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def silu_like(count: int, dtype: torch.dtype) -> torch.Tensor:
    """Float values as SiLU makes them, drawn piece by piece so that the peak stays the input's."""
    generator = torch.Generator().manual_seed(0)
    values = torch.empty(count, dtype=dtype)
    for piece in values.split(10**6):
        piece.copy_(torch.nn.functional.silu(torch.randn(len(piece), generator=generator) * 1.5))
    return values


def main() -> None:
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )
    for dtype in (torch.float16, torch.float32):
        values = silu_like(COUNTED, dtype)
        count_patterns(values[: 2**21])
        before = peak_mb()
        spent = median_ms(lambda values=values: count_patterns(values), 5)
        print(
            f"{COUNTED:,} {dtype} values counted: {spent:.0f} ms, {peak_mb() - before:.0f} MB more"
        )
        del values
    histogram = Histogram.of(silu_like(4_194_304, torch.float32))
    print(
        f"a histogram of {histogram.total:,} values, {len(histogram.values):,} distinct, "
        f"least {histogram.min:.4f} (SiLU {SILU_MIN:.4f}):"
    )
    alphas = np.random.default_rng(0).random(1000)
    _ = histogram.abs
    quantile_ms = median_ms(lambda: [histogram.abs.quantile(float(a)) for a in alphas], 5)
    print(f"  any α: {quantile_ms:.1f} µs")  # 1000 of them in as many ms

    def measures(scales: float | np.ndarray) -> tuple:
        quantized = histogram.quantize(scales)
        return (
            quantized.rounding_mse,
            quantized.clipping_mse,
            quantized.saturation_rate,
            quantized.code_counts,
            quantized.effective_bits,
            quantized.sqnr_db,
        )

    print("  mse, saturation, codes, bits and SQNR")
    print(f"    at one scale: {median_ms(lambda: measures(0.02), 50):.3f} ms")
    scales = np.geomspace(1e-3, 0.1, 400)
    print(f"    at 400 scales: {median_ms(lambda: measures(scales), 9):.1f} ms")
    print(f"  every α (the landscape): {median_ms(lambda: Landscape.of(histogram), 5):.1f} ms")
    for observer in (*CHANNEL_RULES, "entropy"):
        spent = median_ms(lambda observer=observer: amax(ScaleRule(observer), histogram), 5)
        print(f"  amax by {observer}: {spent:.2f} ms")
    print(f"  asymmetric mse: {median_ms(lambda: least_error_range(histogram), 3):.1f} ms")


if __name__ == "__main__":
    main()
