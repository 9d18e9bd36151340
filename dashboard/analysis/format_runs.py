"""The live kernel with its output in any number format: which codes it writes, and what they are
worth.

INT8 of either kind is what the kernel writes by a scale and a code of 0. Every other format is
looked up: a code is how many of the codebook's thresholds are not above the value, so that codes
ascend with the values that they stand for. A byte has 256 codes; a format of more values cannot be
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dashboard.analysis.report import KernelRun, QuantizedConv, energy, run_kernel, timed
from dashboard.calibration.histogram import signal_to_noise_db
from dashboard.checkpoints import ConvSlice
from dashboard.formats import Codebook, FormatReport
from dashboard.messages import Message
from kernels import default_backend, quant_causal_conv1d_lookup
from kernels.arguments import MOST_THRESHOLDS
from kernels.int8 import QMIN

WRITTEN = ("int8", "int8-asymmetric")  # by a scale and a zero point
NO_INPUT = Message("The kernel did not run: a calibration file holds no conv input.")


def run_refusal(reports: Sequence[FormatReport]) -> Message | None:
    """Why the kernel cannot write these slices' formats; None where it can."""
    sizes = [report.codebook.size for report in reports]
    if max(sizes) > MOST_THRESHOLDS + 1:
        return Message(
            "The kernel did not run: {format} has {points} values, and its look-up writes {most} "
            "at most.",
            format=reports[0].number_format.label,
            points=max(sizes),
            most=MOST_THRESHOLDS + 1,
        )
    if min(sizes) < 2:
        return Message("The kernel did not run: where all values are one there is no code to find.")
    return None


def run_formats(
    conv: QuantizedConv, reports: Sequence[FormatReport], backend: str | None = None
) -> KernelRun:
    """Run the kernel on every batch, live, one format in all slices, each with its own codebook.

    Arguments as of ``report.run_kernel``; ``run_refusal`` of the reports has to be None.
    """
    if reports[0].number_format.name in WRITTEN:
        scales = [report.scale for report in reports if report.scale is not None]
        return run_kernel(conv, scales, backend, [report.zero_point for report in reports])
    runs = [
        _run_lookup(slice_conv(conv, i), report.codebook, backend)
        for i, report in enumerate(reports)
    ]
    return KernelRun(
        runs[0].backend,
        sum(run.time_ms for run in runs),
        sum(run.codes for run in runs),
        sum(run.differing_codes for run in runs),
        tuple(run.sqnr_db[0] for run in runs),
    )


def slice_conv(conv: QuantizedConv, index: int) -> QuantizedConv:
    """One slice of a convolution, as a convolution of its own; views, no copies."""
    own = conv.slices[index]
    channels = own.channels
    return replace(
        conv,
        **{
            name: getattr(conv, name)[channels]
            for name in ("weight_q", "bias_q", "scale_x", "scale_w", "scale_b")
        },
        **{name: getattr(conv, name)[:, channels] for name in ("x_q", "silu_ref", "y")},
        signal=(conv.signal[index],),
        slices=(ConvSlice(own.name, 0, own.width),),
    )


def _run_lookup(conv: QuantizedConv, codebook: Codebook, backend: str | None) -> KernelRun:
    device = conv.x_q.device
    thresholds = torch.from_numpy(codebook.thresholds[1:-1].copy()).to(device)
    points = torch.from_numpy(codebook.points).to(torch.float32).to(device)
    backend = backend or default_backend(conv.x_q)

    def run() -> Tensor:
        return quant_causal_conv1d_lookup(
            conv.x_q,
            conv.weight_q,
            conv.bias_q,
            scale_x=conv.scale_x,
            scale_w=conv.scale_w,
            scale_b=conv.scale_b,
            thresholds=thresholds,
            backend=backend,
        )

    codes, time_ms = timed(run, backend)
    differing, error = 0, 0.0
    for i in range(len(codes)):  # one batch at a time, as ``run_kernel`` does
        index = codes[i].long() - QMIN
        expected = torch.bucketize(conv.silu_ref[i].contiguous(), thresholds, right=True)
        differing += int((index != expected).sum())
        error += energy(points[index] - conv.y[i])
    sqnr_db = float(signal_to_noise_db(conv.signal[0], error))
    return KernelRun(backend, time_ms, codes.numel(), differing, (sqnr_db,))
