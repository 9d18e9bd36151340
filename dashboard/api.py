"""A model or a path -> numbers and pictures, in a notebook. docs/python.md has it on one page.

    calibration = Calibration.of("mamba2-small")
    calibration.layer(4).scale("percentile", alpha=0.9995).sqnr_db

Nothing is computed here: these records hold those of the rooms below, under names that read well
one after the other, and show themselves in a notebook as tables and figures. What each room gives
can still be reached: ``calibration.record``, ``layer.counted``, and scales and landscapes are the
rules' and the analysis's own.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from html import escape
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from torch import Tensor

from dashboard import calibration as counting
from dashboard import figures
from dashboard.analysis.budget import (
    KINDS,
    WHOLE_SLICE,
    BudgetPlan,
    LayerOption,
    choose,
    options_of,
)
from dashboard.analysis.compare import Column, chosen_column, compared_rows
from dashboard.analysis.formats import (
    BASELINE,
    INT8,
    SliceFormats,
    format_layers,
    format_points,
    format_rows,
    slice_formats,
)
from dashboard.analysis.impact import (
    FloatRun,
    ImpactProgress,
    MeasuredSetting,
    alone,
    float_run,
    study_rule,
)
from dashboard.analysis.prediction import (
    PlannedLayer,
    plan_layers,
    predict_layer,
    stored_quantizations,
)
from dashboard.analysis.quantized_forward import LayerQuantization
from dashboard.analysis.report import (
    LayerReport,
    ScaleReport,
    format_alpha,
    report_scale,
    report_slice,
    report_slices,
)
from dashboard.analysis.result_store import default_store
from dashboard.analysis.scale_choices import choice_label, choose_scales
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    CalibrationError,
    CalibrationText,
    LayerCalibration,
    Origin,
    Progress,
    SliceCalibration,
    Tokenizer,
    calibration_store,
)
from dashboard.calibration.archive import (
    SUFFIX,
    fingerprint,
    is_calibration_file,
    load_calibration,
    save_calibration,
)
from dashboard.calibration.whole_files import write_whole
from dashboard.checkpoints import (
    DTYPES,
    Checkpoint,
    CheckpointError,
    default_device,
    forward_dtype,
    load_backbone,
    load_checkpoint,
    load_language_model,
)
from dashboard.checkpoints.in_memory import is_model, lent_backbone, lent_language_model, read_model
from dashboard.export import quamba_entries, tables
from dashboard.export.impact import budget_document
from dashboard.formats import (
    DEFAULT_FORMAT,
    REGISTERED,
    FormatReport,
    NumberFormat,
    best_format,
    format_named,
    format_under_rule,
)
from dashboard.importing import hide_kernels_distribution
from dashboard.refusals import Refusal
from dashboard.rules import landscape as alphas
from dashboard.rules.landscape import Measure
from dashboard.rules.observers import (
    DEFAULT_ALPHA,
    DEFAULT_RULE,
    DEFAULT_SIGMA,
    ScaleRule,
    alpha_grid,
)
from dashboard.text import captions, prose
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import decibels, percent, scale_text, small, spans, with_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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

LONGEST_SOURCE = 1024  # characters: a longer string is a text, not the name of one

hide_kernels_distribution()  # whoever imports this imports transformers next


@dataclass(frozen=True, repr=False)
class Scale(ScaleReport):
    """One output scale, and what it makes of the calibrated outputs.

    ``x_out_scale`` is in real units per code; ``output`` has the counts of all 256 codes. Shares
    lie between 0 and 1. ``predicted_nats`` is what this scale alone is predicted to cost the model,
    in nats of KL a token; None where no gradients were counted.
    """

    counted: SliceCalibration = field(kw_only=True)

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ y² / Σ (quantized − y)²): infinite without error, NaN where y is 0 alone."""
        return float(self.output.sqnr_db)

    @property
    def saturation_rate(self) -> float:
        """The share of the values beyond codes −128 … 127."""
        return float(self.output.saturation_rate)

    @property
    def code_utilization(self) -> float:
        """Distinct codes used / 256."""
        return float(self.output.code_utilization)

    @property
    def top_code_utilization(self) -> float | None:
        """The largest code's magnitude / 127, at most 1; None for an asymmetric scale."""
        return float(self.output.top_code_utilization) if self.rule.symmetric else None

    @property
    def effective_bits(self) -> float:
        """The entropy of the code histogram, in bits."""
        return float(self.output.effective_bits)

    @property
    def rounding_mse(self) -> float:
        """The squared error of the values inside the range, over all values."""
        return float(self.output.rounding_mse)

    @property
    def clipping_mse(self) -> float:
        """The squared error of the values beyond the range, over all values."""
        return float(self.output.clipping_mse)

    def figure(self) -> go.Figure:
        """From SiLU's input to the INT8 codes, MinMax and scale_wx beside the chosen cut."""
        beside = (ScaleRule(observer) for observer in ("minmax", "scale-wx"))
        others = [(report_scale(self.counted, rule), "baseline") for rule in beside]
        return figures.transfer(report_slice(self.counted, self), others, True, ENGLISH)

    def __repr__(self) -> str:
        return (
            f"<{self.label}: x_out_scale {scale_text(self.x_out_scale)}, sqnr_db "
            f"{decibels(self.sqnr_db)}, saturation_rate {percent(self.saturation_rate)}>"
        )

    def _repr_html_(self) -> str:
        row = {
            "rule": self.label,
            "x_out_scale": scale_text(self.x_out_scale),
            "zero_point": str(self.zero_point),
            "sqnr_db": decibels(self.sqnr_db),
            "saturation_rate": percent(self.saturation_rate),
            "code_utilization": percent(self.code_utilization),
            "effective_bits": f"{self.effective_bits:.2f}",
        }
        return _table([row])

    def _ipython_display_(self) -> None:
        _display(self)


def _display(record: Scale | Landscape | Format | Formats) -> None:
    """Show a record in a notebook: what it says in words, then its figure, as plotly shows one."""
    display = import_module("IPython.display")
    display.display(display.HTML(record._repr_html_()))
    display.display(record.figure())


@dataclass(frozen=True, eq=False, repr=False)
class Format(FormatReport):
    """A number format on one slice, with one scale, and what it makes of the calibrated outputs.

    ``scale`` is in real units per unit of the format's grid, None of one that is fitted to the
    slice; ``codebook`` has its values and the thresholds between them, ``output`` the counts of all
    codes. Shares lie between 0 and 1. ``predicted_nats`` is as of ``Scale``.
    """

    counted: SliceCalibration = field(kw_only=True)

    @property
    def name(self) -> str:
        """As the command line has it."""
        return self.number_format.name

    @property
    def points(self) -> int:
        """How many values its codes stand for, those of both signs counted."""
        return self.codebook.size

    @property
    def bits_needed(self) -> int:
        """The least whole number of bits that tells them apart."""
        return self.codebook.bits_needed

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ y² / Σ (quantized − y)²): infinite without error, NaN where y is 0 alone."""
        return self.output.sqnr_db

    @property
    def saturation_rate(self) -> float:
        """The share of the values beyond the range."""
        return self.output.saturation_rate

    @property
    def codes_used(self) -> int:
        """How many codes occur."""
        return self.output.codes_used

    @property
    def code_utilization(self) -> float:
        """Distinct codes used, of all that the format has."""
        return self.output.code_utilization

    @property
    def effective_bits(self) -> float:
        """The entropy of the code histogram, in bits."""
        return self.output.effective_bits

    def figure(self) -> go.Figure:
        """Where its codes lie under y, beside symmetric INT8's at α = 0.9995."""
        int8 = format_under_rule(REGISTERED["int8"], BASELINE, self.counted)
        return figures.format_ruler(self.counted.silu_output, self, int8, ENGLISH)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.points} values, sqnr_db {decibels(self.sqnr_db)}>"

    def _repr_html_(self) -> str:
        return _table([_format_row(self)])

    def _ipython_display_(self) -> None:
        _display(self)


def _format_row(report: Format) -> dict[str, str]:
    nats = report.predicted_nats
    return {
        "number_format": report.name,
        "points": str(report.points),
        "bits_needed": str(report.bits_needed),
        "scale": "–" if report.scale is None else scale_text(report.scale),
        "sqnr_db": decibels(report.sqnr_db),
        "predicted_nats": "–" if nats is None else small(nats),
        "saturation_rate": percent(report.saturation_rate),
        "codes_used": str(report.codes_used),
        "effective_bits": f"{report.effective_bits:.2f}",
    }


@dataclass(frozen=True, eq=False, repr=False)
class Formats:
    """Every number format on one slice, each with its best scale, or its best points.

    ``formats["fp8-e4m3"]`` is one of them; to go through them gives them all, in order.
    """

    record: SliceFormats
    layer: Layer

    def __getitem__(self, name: str) -> Format:
        """One by its name; raises Refusal, a ValueError, for a name that no format has."""
        report = self.record.reports[format_named(name).name]
        return Format(**vars(report), counted=self.layer.counted)

    def __iter__(self) -> Iterator[Format]:
        return (self[name] for name in self.record.reports)

    def __len__(self) -> int:
        return len(self.record.reports)

    def best_within(self, bits: int) -> Format | None:
        """The best that needs no more bits, of those that are not fitted as best; None of none."""
        point = format_points([self.record]).best_within(bits)
        return None if point is None else self[point.name]

    def table(self) -> list[dict]:
        """A row a format: what pandas.DataFrame takes."""
        return format_rows({self.layer.number: self.record})

    def figure(self) -> go.Figure:
        """Quality against bits, below the line that the best values there are draw."""
        points = format_points([self.record])
        best = points.best_within(8)
        assert best is not None  # INT8 is one
        return figures.formats_over_bits(points, 8, best.name, "int8", ENGLISH)

    def __repr__(self) -> str:
        return f"<{len(self)} number formats on {repr(self.layer)[1:-1]}>"

    def _repr_html_(self) -> str:
        return _table([_format_row(report) for report in self])

    def _ipython_display_(self) -> None:
        _display(self)


def compare(*columns: Column) -> list[dict]:
    """Columns side by side, each held against the first: what pandas.DataFrame takes.

    A row a layer, quantity and column, of the x slice. Scales of different number formats are in
    different units: theirs have no ``relative_difference``.

    Args:
        columns: of ``Calibration.column``, of any models and texts.
    """
    return compared_rows(columns)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Landscape(alphas.Landscape):
    """Every α of one slice at once: ``alphas``, ``scales`` and ``sqnr_db`` are (A,) arrays."""

    counted: SliceCalibration

    def figure(self) -> go.Figure:
        """SQNR over α, with what rounding alone and clipping alone would leave."""
        grid = alpha_grid(self.counted.silu_output.total, (self.best_alpha,))
        return figures.landscape_under_slider(self, grid, None, ENGLISH)

    def __repr__(self) -> str:
        return (
            f"<{len(self.alphas)} values of α, best {format_alpha(self.best_alpha)}: "
            f"{decibels(self.best_db)}>"
        )

    def _repr_html_(self) -> str:
        return prose.to_html(captions.landscape_caption(self, ENGLISH))

    def _ipython_display_(self) -> None:
        _display(self)


@dataclass(frozen=True, repr=False)
class Recommendation(alphas.Recommendation):
    """One α for the whole model, and each layer's and slice's own best in ``layers``."""

    def __repr__(self) -> str:
        return (
            f"<α {format_alpha(self.alpha)} for {len(self.layers)} layers and slices: "
            f"{decibels(self.mean_loss_db(self.alpha))} below each one's best on average>"
        )

    def _repr_html_(self) -> str:
        rows = [
            {
                "layer": str(choice.layer),
                "slice": choice.slice,
                "best α": format_alpha(choice.alpha),
                "x_out_scale": scale_text(choice.x_out_scale),
                "sqnr_db": decibels(choice.sqnr_db),
                f"lost at α {format_alpha(self.alpha)}": decibels(choice.loss_db[self.alpha]),
            }
            for choice in self.layers
        ]
        return f"<p>{escape(repr(self)[1:-1])}</p>{_table(rows)}"


@dataclass(frozen=True, eq=False, repr=False)
class Impact:
    """What quantized layers cost the model, against the float one, token by token.

    The first of ``settings`` is of all layers together; with ``each``, one of each layer alone
    follows. The measures here are the first one's, in nats a token.
    """

    settings: tuple[MeasuredSetting, ...]
    run: FloatRun

    @property
    def kl_nats(self) -> float:
        """Mean KL(float ‖ quantized) of the predictions of the next token."""
        return self.settings[0].impact.kl_nats.mean

    @property
    def kl_nats_error(self) -> float | None:
        """Its standard error over windows; None of a single window."""
        return self.settings[0].impact.kl_nats.error

    @property
    def delta_nats(self) -> float:
        """How much the loss rises."""
        return self.settings[0].impact.delta_nats.mean

    @property
    def delta_nats_error(self) -> float | None:
        """Its standard error over windows, paired."""
        return self.settings[0].impact.delta_nats.error

    @property
    def same_top(self) -> float:
        """The share of tokens whose most likely next token stays."""
        return self.settings[0].impact.same_top.mean

    @property
    def predicted_nats(self) -> float | None:
        """What was predicted for ``kl_nats``; None where no gradients were counted."""
        return self.settings[0].predicted_nats

    def table(self) -> list[dict]:
        """A row a setting, under the names of the measures: what pandas.DataFrame takes."""
        return [{"layers": entry.layers, **entry.measures()} for entry in self.settings]

    def __repr__(self) -> str:
        return f"<{captions.impact_verdict(self.settings[0], ENGLISH)}>"

    def _repr_html_(self) -> str:
        rows = [
            {
                "layers": spans(entry.layers),
                "kl_nats": with_error(entry.impact.kl_nats.mean, entry.impact.kl_nats.error),
                "delta_nats": with_error(
                    entry.impact.delta_nats.mean, entry.impact.delta_nats.error
                ),
                "same_top": percent(entry.impact.same_top.mean),
                "predicted_nats": "–"
                if entry.predicted_nats is None
                else small(entry.predicted_nats),
            }
            for entry in self.settings
        ]
        sentences = [captions.impact_verdict(self.settings[0], ENGLISH)]
        if len(self.settings) > 1:
            sentences.append(captions.impact_ranking(self.settings[1:], ENGLISH))
        return f"<p>{escape(ENGLISH.sentences(*sentences))}</p>{_table(rows)}"


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """The cheapest scales for a budget in nats, as predicted, and what they were measured to cost.

    ``plan.options`` has, for each layer, its kind, its rules and its scales.
    """

    plan: BudgetPlan
    impact: Impact
    n_groups: int | None  # SSD groups of the model; None of a Mamba-1

    @property
    def fits(self) -> bool:
        """Whether any scales are predicted to keep to the budget."""
        return self.plan.fits

    @property
    def is_kept(self) -> bool:
        """Whether these were measured to keep to it."""
        return self.impact.kl_nats <= self.plan.budget_nats

    @property
    def predicted_nats(self) -> float:
        """What the plan is predicted to cost a token, in nats."""
        return self.plan.predicted_nats

    def table(self) -> list[dict]:
        """A row for each layer and slice: what pandas.DataFrame takes."""
        return [
            {"layer": option["layer"], "kind": option["kind"], "slice": name, **own}
            for option in budget_document(self.plan)["layers"]
            for name, own in option["slices"].items()
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the scales: as JSON, or, to a file that ends in .bin, as Quamba stores them.

        Raises Refusal for another ending, and for scales that Quamba has no place for.
        """
        target = Path(path)
        if target.suffix == ".bin":
            content = quamba_entries.as_bytes(quamba_entries.plan_entries(self.plan, self.n_groups))
        elif target.suffix == ".json":
            measured = self.impact.settings[0].measures()
            document = {**budget_document(self.plan), "measured": measured}
            content = tables.as_json(document).encode("utf-8")
        else:
            raise Refusal("path is {path}; give a file that ends in .json or .bin", path=target)
        write_whole(target, content)

    def __repr__(self) -> str:
        return f"<{captions.budget_sentence(self.plan, self.impact.settings[0], ENGLISH)}>"

    def _repr_html_(self) -> str:
        rows = [
            {
                "layer": str(option.layer),
                "kind": option.kind,
                "predicted_nats": small(option.predicted_nats),
            }
            for option in self.plan.options
        ]
        return f"<p>{escape(repr(self)[1:-1])}</p>{_table(rows)}"


@dataclass(frozen=True, repr=False)
class Layer:
    """One slice of a calibrated layer: x, or in a Mamba-2 also B or C."""

    record: LayerCalibration
    name: str = "x"

    @property
    def number(self) -> int:
        """The model's own number of the layer."""
        return self.record.layer

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of the layer's slices."""
        return tuple(counted.name for counted in self.record.slices)

    @property
    def counted(self) -> SliceCalibration:
        """The slice's exact histograms, ``silu_input`` and ``silu_output``, and its maxima."""
        return self.record.slices[self.slices.index(self.name)]

    def slice(self, name: str) -> Layer:
        """Another slice of the same layer. Raises Refusal for one that it does not have."""
        if name not in self.slices:
            raise Refusal(
                "slice is {value}; layer {layer} has {slices}",
                value=repr(name),
                layer=self.number,
                slices=tuple(map(repr, self.slices)),
            )
        return replace(self, name=name)

    def scale(
        self,
        observer: str = DEFAULT_RULE,
        *,
        alpha: float = DEFAULT_ALPHA,
        sigma: float = DEFAULT_SIGMA,
        order: int | None = None,
        asymmetric: bool = False,
    ) -> Scale:
        """The output scale that a rule gives, with every measure of it.

        Args:
            observer: the rule: "percentile", "percentile-ema", "minmax", "mse", "entropy",
                "conv-absmax" or "scale-wx".
            alpha: in (0, 1], of both percentiles.
            sigma: in (0, 1], of the moving average.
            order: the seed that shuffles its batches; None takes them as read.
            asymmetric: whether 0 may have another code than 0.

        Raises Refusal, a ValueError, for a setting that is not allowed.
        """
        rule = _rule(observer, alpha, sigma, order, asymmetric)
        return Scale(**vars(report_scale(self.counted, rule)), counted=self.counted)

    def format(
        self,
        name: str,
        observer: str | None = None,
        *,
        alpha: float = DEFAULT_ALPHA,
        sigma: float = DEFAULT_SIGMA,
        order: int | None = None,
        by: Measure = "sqnr_db",
    ) -> Format:
        """The slice in a number format: with the best scale there is, or with a rule's.

        Args:
            name: of a format, as ``formats`` lists them: "fp8-e4m3", "int4-asymmetric", ….
            observer, alpha, sigma, order: as of ``scale``; amax is then the format's greatest
                value. None looks for the best.
            by: what the best has: the most "sqnr_db" or the least "predicted_nats".

        Raises Refusal, a ValueError, for a setting that is not allowed.
        """
        number_format = format_named(name)
        if observer is None:
            report = best_format(number_format, self.counted, self._measure(by))
        else:
            rule = _rule(observer, alpha, sigma, order, number_format.is_asymmetric)
            report = format_under_rule(number_format, rule, self.counted)
        return Format(**vars(report), counted=self.counted)

    def formats(self, by: Measure = "sqnr_db") -> Formats:
        """Every number format on the slice, each with its best scale; ``by`` as of ``format``."""
        return Formats(slice_formats(self.counted, self._measure(by)), self)

    def _measure(self, by: str) -> Measure:
        if by == "sqnr_db":
            return "sqnr_db"
        if by != "predicted_nats":
            raise Refusal(
                "by is {value}; allowed are {measures}",
                value=repr(by),
                measures=("sqnr_db", "predicted_nats"),
            )
        if self.counted.gradients is None:
            raise Refusal("predicted_nats needs gradients: calibrate with gradients=True")
        return "predicted_nats"

    def landscape(self, *, asymmetric: bool = False) -> Landscape:
        """What every α worth telling apart makes of the slice, and which is best.

        Best is the most SQNR, or the least predicted loss where gradients were counted.
        """
        landscape = alphas.Landscape.of(
            self.counted.silu_output, symmetric=not asymmetric, gradients=self.counted.gradients
        )
        return Landscape(**vars(landscape), counted=self.counted)

    def __repr__(self) -> str:
        return f"<layer {self.number}, slice {self.name}>"


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """Every layer of a model, calibrated on one text."""

    record: counting.Calibration
    # What was calibrated, where it lies on a disk: ``save`` notes the fingerprint of its files.
    checkpoint: Checkpoint | None = None
    text: str | os.PathLike[str] | Tensor | None = None  # as it was given
    tokenizer: Tokenizer | None = None

    @staticmethod
    def of(
        model: str | os.PathLike[str] | PreTrainedModel,
        text: str | os.PathLike[str] | Tensor = DEFAULT_TEXT,
        batches: int = DEFAULT_BATCHES,
        seq_len: int = DEFAULT_SEQ_LEN,
        *,
        tokenizer: Tokenizer | None = None,
        gradients: bool = False,
        batch_size: int = 1,
        dtype: str | None = None,
        keep: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Calibration:
        """Run a text through a model and count what its convolutions make.

        Args:
            model: a sample's name, a directory, a file of weights or a Hub id; or a model of
                transformers in memory, with a head or without, which is given back as it was. On a
                CPU its forward is in float32, on CUDA in its own dtype, as of one that is loaded.
            text: the name of one of the project's texts, or a file; or the text itself, which is
                any string with a line feed or of more than 1,024 characters; or token ids, a tensor
                of integers (N, L).
            batches, seq_len: N and L, at least 1; token ids have their own.
            tokenizer: called with the text, gives {"input_ids": [...]}, as transformers' do. None
                means the one beside the weights; without one, a vocabulary of 256 is UTF-8 bytes.
                A model in memory has none of its own.
            gradients: count those of the model's loss, too, by one backward pass a batch: scales
                then have ``predicted_nats``, and the best α is the one with the least. The model
                needs its head.
            batch_size: how many sequences run together in a forward on a GPU; the result is the
                same. Gradients are counted one at a time.
            dtype: of the forward on a GPU, "float32", "bfloat16" or "float16"; None means that of
                the weights, which a model in memory keeps.
            keep: look the counts up on the disk first, and keep them there, where the command line
                and the pages have theirs. Those of a model in memory, or by a tokenizer of one's
                own, are not kept.
            on_progress: called after each layer of each forward, as ``print``.

        Raises CheckpointError for a model that cannot be used, CalibrationError for such a text or
        activations; both are ValueErrors, in one sentence.
        """
        if dtype is not None and (is_model(model) or dtype not in DTYPES):
            raise CheckpointError(
                "dtype is {dtype}; allowed are {allowed}, and for a model in memory none",
                dtype=repr(dtype),
                allowed=tuple(DTYPES),
            )
        if is_model(model):
            checkpoint = read_model(model)
            calibration_text = _read(checkpoint, text, batches, seq_len, tokenizer, in_memory=True)
            lend = lent_language_model if gradients else lent_backbone
            with lend(model) as lent:
                record = counting.calibrate(
                    checkpoint,
                    lent,
                    calibration_text,
                    gradients=gradients,
                    batch_size=batch_size,
                    on_progress=on_progress,
                )
            return Calibration(record, text=text, tokenizer=tokenizer)
        if not isinstance(model, str | os.PathLike):
            raise CheckpointError(
                "model is a {kind}; allowed are a checkpoint's name or path, and a model of "
                "transformers (a PreTrainedModel)",
                kind=type(model).__name__,
            )
        source = os.fspath(model)
        if is_calibration_file(source):
            raise CheckpointError(
                "{path} is a calibration file; Calibration.load opens such files", path=source
            )
        checkpoint = load_checkpoint(source)
        counting.check_batch_size(batch_size, gradients)
        store, key = None, None
        if keep and tokenizer is None and not isinstance(text, Tensor):
            store = calibration_store.default_store()
            given = _given_text(text, batches, seq_len)
            device = default_device()
            key = calibration_store.counts_key(
                checkpoint.path,
                given.sha256,
                batches,
                seq_len,
                gradients,
                device,
                store,
                dtype=forward_dtype(checkpoint, device, dtype),
            )
            known = calibration_store.recalled(store, checkpoint, given.name, key)
            if known is not None:
                return Calibration(known, checkpoint, text)
        calibration_text = _read(checkpoint, text, batches, seq_len, tokenizer, in_memory=False)
        load = load_language_model if gradients else load_backbone
        record = counting.calibrate(
            checkpoint,
            load(checkpoint, dtype=None if dtype is None else DTYPES[dtype]),
            calibration_text,
            gradients=gradients,
            batch_size=batch_size,
            on_progress=on_progress,
        )
        if store is not None and key is not None:
            store.put(key, record)
        return Calibration(record, checkpoint, text, tokenizer)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Calibration:
        """A calibration that was saved, here or by ``python -m dashboard calibrate``.

        Raises CalibrationError for a file that is none.
        """
        return Calibration(load_calibration(os.fspath(path)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file that ends in .safetensors, whole or not at all.

        Raises CalibrationError for another ending, OSError where the file cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix != SUFFIX:
            raise CalibrationError(
                "path is {path}; a calibration file ends in {suffix}",
                path=repr(str(path)),
                suffix=SUFFIX,
            )
        record = self.record
        if self.checkpoint is not None:
            origin = replace(record.origin, fingerprint=fingerprint(self.checkpoint))
            record = replace(record, origin=origin)
        save_calibration(path, record)

    @property
    def origin(self) -> Origin:
        """What was calibrated on what."""
        return self.record.origin

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The x slice of every Mamba layer, in order."""
        return tuple(Layer(layer) for layer in self.record.layers)

    def layer(self, number: int) -> Layer:
        """The x slice of a layer, by the model's own number, which in a hybrid counts all layers.

        Raises Refusal, a ValueError, for a layer that was not calibrated.
        """
        numbers = [layer.number for layer in self.layers]
        if number not in numbers:
            raise Refusal(
                "layer is {value}; {checkpoint} has the Mamba layers {layers}",
                value=repr(number),
                checkpoint=self.origin.checkpoint,
                layers=tuple(map(str, numbers)),
            )
        return self.layers[numbers.index(number)]

    def table(
        self,
        observer: str = DEFAULT_RULE,
        *,
        alpha: float = DEFAULT_ALPHA,
        sigma: float = DEFAULT_SIGMA,
        order: int | None = None,
        asymmetric: bool = False,
        number_format: str = DEFAULT_FORMAT,
    ) -> list[dict]:
        """Every layer and slice under a rule, a row each: what pandas.DataFrame takes.

        Arguments as of ``Layer.scale``. Keys are the names of the measures.

        Args:
            number_format: of the output; "int8-asymmetric" is INT8 with ``asymmetric``. A format
                has beside the others the keys ``points``, ``bits_needed``, ``best_scale`` and
                ``best_sqnr_db``, and None where a kernel or a search over α would answer.
        """
        rule, other = _rule_in(number_format, observer, alpha, sigma, order, asymmetric)
        if other is not None:
            return [
                {"layer": report.layer, "slice": own.counted.name, **own.measures()}
                for report in format_layers(self.record.layers, other, rule)
                for own in report.slices
            ]
        reports = [
            LayerReport(layer.layer, report_slices(layer, rule), None)
            for layer in self.record.layers
        ]
        return [
            {"layer": report.layer, "slice": entry.name, **report.measures(entry.name)}
            for report in reports
            for entry in report.slices
        ]

    def column(
        self,
        observer: str = DEFAULT_RULE,
        *,
        alpha: float = DEFAULT_ALPHA,
        sigma: float = DEFAULT_SIGMA,
        order: int | None = None,
        asymmetric: bool = False,
        number_format: str = DEFAULT_FORMAT,
    ) -> Column:
        """The x slice of every layer under a rule, for ``compare``; arguments as of ``table``."""
        rule, other = _rule_in(number_format, observer, alpha, sigma, order, asymmetric)
        choice = rule if other is None else choose_scales(other.name, rule)
        label = f"{self.origin.checkpoint}, {choice_label(choice)}"
        return chosen_column(label, self.record.layers, choice)

    def recommend(self, *, asymmetric: bool = False) -> Recommendation:
        """The α that loses least over all layers and slices, against each one's best.

        In SQNR on average, or in predicted loss in all where gradients were counted.
        """
        landscapes = alphas.landscapes(self.record, symmetric=not asymmetric)
        return Recommendation(**vars(alphas.recommend(landscapes)))

    def impact(
        self,
        observer: str = DEFAULT_RULE,
        *,
        alpha: float = DEFAULT_ALPHA,
        sigma: float = DEFAULT_SIGMA,
        order: int | None = None,
        asymmetric: bool = False,
        number_format: str = DEFAULT_FORMAT,
        layers: Sequence[int] | None = None,
        slices: Sequence[str] | None = None,
        mode: str = "output",
        each: bool = False,
        on: str | os.PathLike[str] | Tensor | None = None,
        on_batches: int = DEFAULT_BATCHES,
        stored: str | os.PathLike[str] | None = None,
        model: PreTrainedModel | None = None,
        keep: bool = True,
        on_progress: Callable[[ImpactProgress], None] | None = None,
    ) -> Impact:
        """Run the model with a rule's scales on held-out text, against the float model.

        Args:
            observer, alpha, sigma, order, asymmetric: as of ``Layer.scale``.
            number_format: of the output, by its name; stored scales are INT8.
            layers: the model's own numbers; None means all that were calibrated.
            slices: of "x", "B" and "C"; None means all.
            mode: "output" rounds y alone, "input" x, weights and bias, "both" all of it.
            each: measure each layer alone, too.
            on: the text to judge on, as ``text`` of ``of``; None means the calibration's own text,
                after the batches that were calibrated on.
            on_batches: how many windows of the calibration's ``seq_len``; token ids have their own.
            stored: a quantized checkpoint of this model, whose scales stand in for a rule's.
            model: the model itself, where the calibration was of one in memory.
            keep: look results up on the disk first, and keep them there; not of one in memory.
            on_progress: called after each window.

        Raises CheckpointError for a model that cannot be used, CalibrationError for such a text,
        ValueError for any other setting.
        """
        rule, other = _rule_in(number_format, observer, alpha, sigma, order, asymmetric)
        if stored is not None and other is not None:
            raise Refusal(
                "number_format is {value}; scales that a checkpoint stores are int8",
                value=repr(number_format),
            )
        wanted = self._wanted_layers(layers)
        checkpoint = self._checkpoint_of(model)
        held_out = self._held_out(checkpoint, on, on_batches, in_memory=model is not None)
        if stored is None:
            planned = plan_layers(checkpoint, self.record, rule, slices, number_format=other)
        else:
            planned = self._stored(checkpoint, stored, slices)
            wanted = [layer for layer in wanted if layer in planned]
        subsets = [tuple(wanted), *(alone(wanted) if each and len(wanted) > 1 else [])]
        with ExitStack() as stack:
            if model is not None:
                running = stack.enter_context(lent_language_model(model))
            else:
                running = load_language_model(checkpoint)
            store = default_store() if keep and model is None else None
            run = float_run(checkpoint, running, held_out, store=store)
            settings = study_rule(
                checkpoint,
                running,
                run,
                planned,
                rule if stored is None else None,
                subsets,
                mode,
                store,
                on_progress,
                "calibrated" if stored is None else "stored",
                None if other is None else other.name,
            )
            return Impact(tuple(settings), run)

    def _stored(
        self, checkpoint: Checkpoint, stored: str | os.PathLike[str], slices: Sequence[str] | None
    ) -> dict[int, PlannedLayer]:
        """A quantized checkpoint's scales; predicted where they are one a slice."""
        quantized = load_checkpoint(os.fspath(stored))
        if not quantized.is_quantized:
            raise CheckpointError(
                "{name} stores no scales; stored is a quantized checkpoint", name=quantized.name
            )
        layers = stored_quantizations(quantized, checkpoint, slices)
        counted = {own.layer: own for own in self.record.layers}

        def cost(own: LayerQuantization) -> float | None:
            if any(entry.scale_out.shape != () for entry in own.slices):
                return None  # single channels' gradients were not kept
            return predict_layer(counted[own.layer], own)

        return {
            layer: PlannedLayer(own, cost(own)) for layer, own in layers.items() if layer in counted
        }

    def budget(
        self,
        nats: float,
        *,
        layers: Sequence[int] | None = None,
        slices: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        on: str | os.PathLike[str] | Tensor | None = None,
        on_batches: int = DEFAULT_BATCHES,
        model: PreTrainedModel | None = None,
        keep: bool = True,
        on_progress: Callable[[Progress | ImpactProgress], None] | None = None,
    ) -> Plan:
        """The cheapest scales that are predicted to keep to a budget, confirmed by one measurement.

        Args:
            nats: above 0; what all layers together may cost, in nats of KL a token.
            layers, slices, on, on_batches, model, keep: as of ``impact``.
            kinds: of "tensor", "asymmetric", "groups" and "channels"; None means all for which
                there is what it takes: for the last two the text is run through the model again,
                and its gradients are counted then.
            on_progress: called after each layer of each batch, and after each window.

        Raises CalibrationError where there are no gradients, and as ``impact``.
        """
        wanted = self._wanted_layers(layers)
        checkpoint = self._checkpoint_of(model)
        held_out = self._held_out(checkpoint, on, on_batches, in_memory=model is not None)
        again = None
        if self.text is not None:
            origin = self.origin
            again = _read(
                checkpoint,
                self.text,
                origin.batches,
                origin.seq_len,
                self.tokenizer,
                in_memory=model is not None,
            )
        if kinds is None:
            kinds = KINDS if again is not None else WHOLE_SLICE
        with ExitStack() as stack:
            if model is not None:
                running = stack.enter_context(lent_language_model(model))
            else:
                running = load_language_model(checkpoint)
            if set(kinds) <= set(WHOLE_SLICE):
                passes = iter([self.record])
            elif again is None:
                raise CalibrationError(
                    "the calibration knows no text to run again, which groups and channels need: "
                    "allowed kinds are {kinds}",
                    kinds=", ".join(WHOLE_SLICE),
                )
            else:
                passes = counting.calibrate_in_passes(
                    checkpoint, running, again, wanted, on_progress=on_progress, gradients=True
                )
            options: dict[int, Sequence[LayerOption]] = {}
            for record in passes:
                made = options_of(checkpoint, record, kinds, slices)
                options |= {layer: own for layer, own in made.items() if layer in wanted}
            plan = choose(options, nats)
            planned = {
                option.layer: PlannedLayer(option.quantization, option.predicted_nats)
                for option in plan.options
            }
            store = default_store() if keep and model is None else None
            run = float_run(checkpoint, running, held_out, store=store)
            (setting,) = study_rule(
                checkpoint,
                running,
                run,
                planned,
                None,
                [tuple(wanted)],
                store=store,
                on_progress=on_progress,
                source="planned",
            )
            return Plan(plan, Impact((setting,), run), checkpoint.architecture.n_groups)

    def _wanted_layers(self, layers: Sequence[int] | None) -> list[int]:
        known = [layer.layer for layer in self.record.layers]
        wanted = known if layers is None else sorted(set(layers))
        for number in wanted:
            self.layer(number)  # which refuses what was not calibrated
        return wanted

    def _checkpoint_of(self, model: PreTrainedModel | None) -> Checkpoint:
        if model is not None:
            return read_model(model)
        if self.checkpoint is None:
            raise CheckpointError(
                "{name} is not on a disk, or its calibration was read from a file: give model=…, "
                "the model itself, or calibrate it by its path",
                name=self.origin.checkpoint,
            )
        return self.checkpoint

    def _held_out(
        self, checkpoint: Checkpoint, on: object, on_batches: int, in_memory: bool
    ) -> CalibrationText:
        """The windows to judge on."""
        if on is not None:
            batches, seq_len = on_batches, self.origin.seq_len
            if isinstance(on, Tensor):
                batches, seq_len = DEFAULT_BATCHES, DEFAULT_SEQ_LEN
            return _read(checkpoint, on, batches, seq_len, self.tokenizer, in_memory)
        if self.text is None or isinstance(self.text, Tensor):
            raise CalibrationError(
                "the calibration knows no text to go on in: give on=…, the text to judge on"
            )
        return _read(
            checkpoint,
            self.text,
            on_batches,
            self.origin.seq_len,
            self.tokenizer,
            in_memory,
            first=self.origin.batches,
        )

    def __repr__(self) -> str:
        origin = self.origin
        return (
            f"<{origin.checkpoint} ({origin.family}), {len(self.layers)} layers calibrated on "
            f"{origin.text}, {origin.batches} × {origin.seq_len} tokens>"
        )

    def _repr_html_(self) -> str:
        rows = [
            {
                "layer": str(layer.layer),
                "slice": counted.name,
                "values": f"{counted.silu_output.total:,}",
                "max |conv input|": f"{counted.x_amax:.4g}",
                "SiLU input": f"{counted.silu_input.min:.4g} … {counted.silu_input.max:.4g}",
                "SiLU output": f"{counted.silu_output.min:.4g} … {counted.silu_output.max:.4g}",
            }
            for layer in self.record.layers
            for counted in layer.slices
        ]
        return f"<p>{escape(repr(self)[1:-1])}</p>{_table(rows)}"


def _read(
    checkpoint: Checkpoint,
    text: object,
    batches: int,
    seq_len: int,
    tokenizer: Tokenizer | None,
    in_memory: bool,
    first: int = 0,
) -> CalibrationText:
    """The calibration batches from ``first`` on, whichever way the text is given."""
    if isinstance(text, Tensor):
        asked = (batches, seq_len)
        if asked not in ((DEFAULT_BATCHES, DEFAULT_SEQ_LEN), tuple(text.shape)):
            raise CalibrationError(
                "{batches} batches of {seq_len} tokens were asked for; the token ids have shape "
                "{shape}: leave batches and seq_len out",
                batches=batches,
                seq_len=seq_len,
                shape=tuple(text.shape),
            )
        return counting.given_tokens(checkpoint, text)
    given = _given_text(text, batches, seq_len)
    if in_memory and tokenizer is None and not checkpoint.reads_bytes:
        raise CheckpointError(
            "{model} has a vocabulary of {vocabulary} and brings no tokenizer: give tokenizer=…, "
            "or token ids of shape (N, L) as the text",
            model=checkpoint.name,
            vocabulary=checkpoint.vocab_size,
        )
    if given.content is not None:
        return counting.cut_text(
            checkpoint, given.name, given.content, batches, seq_len, tokenizer, first
        )
    return counting.read_text(checkpoint, given.source, batches, seq_len, tokenizer, first)


@dataclass(frozen=True)
class _GivenText:
    """A text as it was given: the name of one or a file, or the text itself."""

    source: str  # empty of the text itself
    content: bytes | None  # UTF-8, of the text itself alone

    @property
    def name(self) -> str:
        return Path(self.source).name if self.content is None else "the text"

    @property
    def sha256(self) -> str:
        if self.content is None:
            return counting.text_sha256(self.source)
        return hashlib.sha256(self.content).hexdigest()


def _given_text(text: object, batches: int, seq_len: int) -> _GivenText:
    """Which way a text that is no token ids is given; raises CalibrationError for what is none."""
    if not isinstance(text, str | os.PathLike):
        raise CalibrationError(
            "text is a {kind}; allowed are the name of a text or a file, the text itself, and a "
            "tensor of token ids (N, L)",
            kind=type(text).__name__,
        )
    for name, count in (("batches", batches), ("seq_len", seq_len)):
        if isinstance(count, bool) or not isinstance(count, int):
            raise CalibrationError(
                "{field} is {value}; it must be a whole number, at least 1",
                field=name,
                value=repr(count),
            )
    if isinstance(text, str) and ("\n" in text or len(text) > LONGEST_SOURCE):
        # What is no UTF-8 is refused where it is decoded.
        return _GivenText("", text.encode("utf-8", "surrogatepass"))
    if not isinstance(text, str):  # a path means a file, even one named as the project's texts are
        text = str(Path(text).expanduser().absolute())
    return _GivenText(text, None)


def _rule(
    observer: str, alpha: float, sigma: float, order: int | None, asymmetric: bool
) -> ScaleRule:
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
            raise Refusal(
                "{field} is {value}; it must be a number above 0 and at most 1",
                field=name,
                value=repr(value),
            )
    return ScaleRule(observer, float(alpha), float(sigma), order, not asymmetric)


def _rule_in(
    name: str,
    observer: str,
    alpha: float,
    sigma: float,
    order: int | None,
    asymmetric: bool,
) -> tuple[ScaleRule, NumberFormat | None]:
    """A rule as the format needs it, and the format where it is another than INT8."""
    number_format = format_named(name)
    if asymmetric and name not in INT8:
        raise Refusal(
            "asymmetric is for number_format int8, not for {value}; formats with a zero point are "
            "{formats}",
            value=repr(name),
            formats=tuple(own.name for own in REGISTERED.values() if own.is_asymmetric),
        )
    rule = _rule(observer, alpha, sigma, order, asymmetric or number_format.is_asymmetric)
    return rule, None if name in INT8 else number_format


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{lines}</table>"
