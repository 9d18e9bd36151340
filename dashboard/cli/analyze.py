"""``analyze``: report every layer's scales."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch

from dashboard.analysis.formats import format_layers
from dashboard.analysis.report import (
    LayerReport,
    QuantizedConv,
    format_alpha,
    per_channel,
    quantize_conv,
    report_bests,
    report_slices,
    run_kernel,
)
from dashboard.analysis.stored import run_all, stored_document
from dashboard.calibration import Calibration, ConvCapture, LayerCalibration, Origin, read_text
from dashboard.calibration.archive import is_calibration_file, load_calibration
from dashboard.checkpoints import Checkpoint, default_device, load_checkpoint
from dashboard.cli.counts import calibrated_in_passes
from dashboard.cli.options import is_other, number_format_of, parse_layers, rule_of, tokenizer_of
from dashboard.cli.output import UsageError, check_place, write_result
from dashboard.export import documents, tables
from dashboard.formats import NumberFormat
from dashboard.rules.channels import CHANNEL_RULES, channel_outputs, even_groups, group_scales
from dashboard.rules.landscape import Landscape, Recommendation, landscapes, recommend
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import ENGLISH


def run_analyze(arguments: argparse.Namespace) -> int:
    """The command: writes what ``analyze`` reports."""
    check_place(arguments.out)
    write_result(tables.FORMATS[arguments.format](analyze(arguments)), arguments.out)
    return 0


def analyze(arguments: argparse.Namespace) -> dict:
    """Report on the layers of a checkpoint or a calibration file: what ``--format json`` writes."""
    number_format = number_format_of(arguments)
    rule = rule_of(arguments, number_format)
    if arguments.group_size is not None:
        check_groups(arguments.group_size, rule)
    if is_other(number_format):
        return _analyze_format(arguments, rule, number_format)
    if is_calibration_file(arguments.checkpoint):
        origin, reports, every_alpha = _analyze_file(arguments, rule)
    else:
        checkpoint = load_checkpoint(arguments.checkpoint)
        if checkpoint.is_quantized:
            return _analyze_stored(checkpoint, arguments)
        origin, reports, every_alpha = _analyze_checkpoint(checkpoint, arguments, rule)
    document = documents.document(origin, rule, reports)
    if arguments.recommend:
        document["recommended"] = _recommended(recommend(every_alpha))
    return document


def check_groups(size: int, rule: ScaleRule) -> None:
    """Refuse groups of channels that a rule cannot have."""
    if size < 1:
        raise UsageError(f"--group-size is {size}; a group has at least one channel")
    if rule.observer not in CHANNEL_RULES or not rule.symmetric:
        raise UsageError(
            f"--group-size is for symmetric scales by {', '.join(CHANNEL_RULES)}, not for "
            f"{rule.observer}{'' if rule.symmetric else ', asymmetric'}"
        )


def _analyze_format(
    arguments: argparse.Namespace, rule: ScaleRule, number_format: NumberFormat
) -> dict:
    """From counts, which say all about a format, and a live run of the kernel where it can."""
    for name, given in {
        "--group-size": arguments.group_size is not None,
        "--recommend": arguments.recommend,
    }.items():
        if given:
            raise UsageError(f"{name} is for INT8, not for --number-format {number_format.name}")
    if is_calibration_file(arguments.checkpoint):
        calibration = load_calibration(arguments.checkpoint)
        wanted = parse_layers(arguments.layers, [layer.layer for layer in calibration.layers])
        layers = [calibration.layer(layer) for layer in wanted]
        reports = format_layers(layers, number_format, rule)
        return documents.document(calibration.origin, rule, reports, number_format.name)
    checkpoint = load_checkpoint(arguments.checkpoint)
    if checkpoint.is_quantized:
        raise UsageError(
            f"{checkpoint.path} is quantized already; --number-format needs a checkpoint with "
            "float weights"
        )
    wanted = parse_layers(arguments.layers, checkpoint.layers)
    text = read_text(
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, tokenizer_of(arguments)
    )
    reports = []
    for calibration in calibrated_in_passes(checkpoint, text, wanted):

        def conv_of(layer: int, calibration: Calibration = calibration) -> QuantizedConv:
            scales = [own.scales for own in calibration.layer(layer).slices]
            capture = calibration.capture(layer)
            return quantize_conv(capture, checkpoint.slices, scales, default_device())

        reports += format_layers(calibration.layers, number_format, rule, conv_of)
    return documents.document(calibration.origin, rule, reports, number_format.name)


Analysis = tuple[Origin, list[LayerReport], dict[tuple[int, str], Landscape]]


def _analyze_file(arguments: argparse.Namespace, rule: ScaleRule) -> Analysis:
    """From the file's counts; there is no conv input, so no kernel runs."""
    if arguments.group_size:
        raise UsageError("--group-size needs a checkpoint; a calibration file holds no channels")
    saved = load_calibration(arguments.checkpoint)
    layers = parse_layers(arguments.layers, [layer.layer for layer in saved.layers])
    chosen = replace(saved, layers=tuple(saved.layer(layer) for layer in layers))
    every_alpha = landscapes(chosen, rule.symmetric)
    reports = [
        LayerReport(
            layer.layer, report_slices(layer, rule), None, bests=report_bests(layer, every_alpha)
        )
        for layer in chosen.layers
    ]
    return saved.origin, reports, every_alpha


def _analyze_stored(checkpoint: Checkpoint, arguments: argparse.Namespace) -> dict:
    """What a quantized checkpoint stores, whatever the rule."""
    if arguments.group_size or arguments.recommend:
        raise UsageError(
            f"{checkpoint.path} is quantized already; --group-size and --recommend need a "
            "checkpoint with float weights"
        )
    layers = parse_layers(arguments.layers, checkpoint.layers)
    return stored_document(checkpoint, layers, run_all(checkpoint, layers, default_device()))


def _analyze_checkpoint(
    checkpoint: Checkpoint, arguments: argparse.Namespace, rule: ScaleRule
) -> Analysis:
    layers = parse_layers(arguments.layers, checkpoint.layers)
    text = read_text(
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, tokenizer_of(arguments)
    )
    reports: list[LayerReport] = []
    every_alpha: dict[tuple[int, str], Landscape] = {}
    for calibration in calibrated_in_passes(checkpoint, text, layers):
        origin = calibration.origin
        every_alpha |= landscapes(calibration, rule.symmetric)
        for layer in calibration.layers:
            capture = calibration.capture(layer.layer)
            report = _report_layer(checkpoint, layer, capture, rule, arguments.group_size)
            reports.append(replace(report, bests=report_bests(layer, every_alpha)))
    return origin, reports, every_alpha


def _recommended(recommendation: Recommendation) -> dict:
    """One α for the model, and each slice's best, as JSON."""
    return {
        "alpha": recommendation.alpha,
        "mean_loss_db": recommendation.mean_loss_db(recommendation.alpha),
        "reason": captions.recommendation(recommendation, ENGLISH).replace("**", ""),
        "layers": [
            {
                "layer": choice.layer,
                "slice": choice.slice,
                "alpha": choice.alpha,
                "x_out_scale": choice.x_out_scale,
                "sqnr_db": choice.sqnr_db,
                "loss_db": {format_alpha(alpha): loss for alpha, loss in choice.loss_db.items()},
            }
            for choice in recommendation.layers
        ],
    }


def _report_layer(
    checkpoint: Checkpoint,
    calibration: LayerCalibration,
    capture: ConvCapture,
    rule: ScaleRule,
    group_size: int | None,
) -> LayerReport:
    """Scales, measures, and a live run of the kernel."""
    slices = report_slices(calibration, rule)
    finer = None
    if group_size:
        outputs = [channel_outputs(capture, conv_slice) for conv_slice in checkpoint.slices]
        finer = tuple(group_scales(o, even_groups(len(o), group_size), rule) for o in outputs)
    conv = quantize_conv(
        capture, checkpoint.slices, [report.scales for report in slices], default_device()
    )
    if finer:
        scale_out = torch.from_numpy(np.concatenate([groups.per_channel for groups in finer]))
    else:
        scale_out = per_channel(
            checkpoint.slices, [report.chosen.x_out_scale for report in slices], "cpu"
        )
    zero_points = [report.chosen.zero_point for report in slices]
    ran = run_kernel(conv, scale_out, zero_points=zero_points)
    return LayerReport(calibration.layer, slices, ran, finer)
