"""A model that ran on a text: its layers, and what rules make of all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from dashboard import calibration as counting
from dashboard.analysis.budget import KINDS, WHOLE_SLICE, LayerOption, choose, options_of
from dashboard.analysis.compare import Column, chosen_column, compared_rows
from dashboard.analysis.formats import format_layers
from dashboard.analysis.impact import ImpactProgress, alone, float_run, study_rule
from dashboard.analysis.prediction import (
    PlannedLayer,
    plan_layers,
    predict_layer,
    stored_quantizations,
)
from dashboard.analysis.quantized_forward import LayerQuantization
from dashboard.analysis.report import LayerReport, report_slices
from dashboard.analysis.result_store import default_store
from dashboard.analysis.scale_choices import choice_label, choose_scales
from dashboard.api.costs import Impact, Plan
from dashboard.api.layers import Layer
from dashboard.api.scales import Recommendation
from dashboard.api.settings import rule_in
from dashboard.api.shown import table
from dashboard.api.texts import given_text, read
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    CalibrationError,
    CalibrationText,
    Origin,
    Progress,
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
from dashboard.formats import DEFAULT_FORMAT
from dashboard.refusals import Refusal
from dashboard.rules import landscape as alphas
from dashboard.rules.observers import DEFAULT_ALPHA, DEFAULT_RULE, DEFAULT_SIGMA

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def compare(*columns: Column) -> list[dict]:
    """Columns side by side, each held against the first: what pandas.DataFrame takes.

    A row a layer, quantity and column, of the x slice. Scales of different number formats are in
    different units: theirs have no ``relative_difference``.

    Args:
        columns: of ``Calibration.column``, of any models and texts.
    """
    return compared_rows(columns)


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
            calibration_text = read(checkpoint, text, batches, seq_len, tokenizer, in_memory=True)
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
            given = given_text(text, batches, seq_len)
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
        calibration_text = read(checkpoint, text, batches, seq_len, tokenizer, in_memory=False)
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
        rule, other = rule_in(number_format, observer, alpha, sigma, order, asymmetric)
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
        rule, other = rule_in(number_format, observer, alpha, sigma, order, asymmetric)
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
        rule, other = rule_in(number_format, observer, alpha, sigma, order, asymmetric)
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
            again = read(
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
            return read(checkpoint, on, batches, seq_len, self.tokenizer, in_memory)
        if self.text is None or isinstance(self.text, Tensor):
            raise CalibrationError(
                "the calibration knows no text to go on in: give on=…, the text to judge on"
            )
        return read(
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
        return f"<p>{escape(repr(self)[1:-1])}</p>{table(rows)}"
