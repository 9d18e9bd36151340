"""A Checkpoint and a text -> each layer's conv input, and its exact histograms.

Calibration batch i is the tokens [i·L, (i+1)·L) of the text, one sequence, whether it runs alone or
with others. The model runs forward (``forward``), and of the input of each causal conv1d the
convolution and SiLU are computed again in float32, rounded to float16 and counted (``counting``);
the activations themselves are dropped at once, or on a GPU when the forward is over, unless a
layer's input is asked for (the live kernel needs it).
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashboard.calibration.counting import Counter, Tally, slices_of
from dashboard.calibration.faults import CalibrationError, first_line
from dashboard.calibration.forward import forward_of, run_forwards
from dashboard.calibration.gradients import GradientSums, visit_gradients
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import (
    SAMPLES_DIR,
    Checkpoint,
    CheckpointError,
)
from dashboard.checkpoints.hub import STATE_SPACES_TOKENIZER, TOKENIZER_FILES, FetchError, fetch
from dashboard.checkpoints.weights import out_of_memory, ran_out_of_memory
from dashboard.importing import collector_paused, hide_kernels_distribution
from dashboard.refusals import quoted
from kernels.arguments import sums_fit
from kernels.int8 import scale_from_amax

logger = logging.getLogger(__name__)

DEFAULT_BATCHES = 16
DEFAULT_SEQ_LEN = 512
DEFAULT_TEXT = "calibration.txt"
LARGEST_TEXT = 2**28  # bytes
LONGEST_NAME = 200


Tokenizer = Callable[[str], Mapping]  # as transformers' are: a text -> {"input_ids": [...]}


@dataclass(frozen=True, eq=False)
class CalibrationText:
    """The tokens of the calibration batches, and where they came from."""

    name: str
    sha256: str  # of the whole text, in hexadecimal digits
    tokens: Tensor  # (N, L) int64

    @property
    def batches(self) -> int:
        """N, how many batches of tokens there are."""
        return self.tokens.shape[0]

    @property
    def seq_len(self) -> int:
        """L, how many tokens a batch has."""
        return self.tokens.shape[1]


@dataclass(frozen=True, eq=False)
class ConvCapture:
    """What one layer's causal conv1d saw on the calibration batches (float32)."""

    layer: int
    x: Tensor  # (N, D, L), before the conv
    weight: Tensor  # (D, W)
    bias: Tensor  # (D,)
    gradient: Tensor | None = None  # (N, D, L), d loss / d y, where it was asked for


@dataclass(frozen=True)
class SliceScales:
    """The scales of one slice's inputs: real units per code, per tensor."""

    x_scale: float
    w_scale: float
    b_scale: float

    @property
    def scale_wx(self) -> float:
        """x_scale · w_scale, in float32 as the kernel multiplies them."""
        return float(np.float32(self.x_scale) * np.float32(self.w_scale))


@dataclass(frozen=True)
class SliceCalibration:
    """All that a scale rule may know of one slice (x, B or C) of a layer's convolution."""

    name: str
    x_amax: float  # max |conv input|, float32
    w_amax: float  # max |weight|
    b_amax: float  # max |bias|
    silu_input: Histogram  # v, the float convolution's output
    silu_output: Histogram  # y
    batches: tuple[Histogram, ...]  # of y, one for each calibration batch, in order
    gradients: GradientSums | None = None  # at the values of y, where they were counted

    def __post_init__(self) -> None:
        scales = self.scales
        if not sums_fit(scales.x_scale, scales.w_scale, scales.b_scale):
            raise CalibrationError(
                "slice {slice} has maxima of {x} before the convolution, {w} in its weights and "
                "{b} in its bias; the sums of INT8 codes with their scales must stay within "
                "float32",
                slice=self.name,
                x=f"{self.x_amax:g}",
                w=f"{self.w_amax:g}",
                b=f"{self.b_amax:g}",
            )

    @property
    def scales(self) -> SliceScales:
        """The INT8 scales of x, weights and bias: real units per code."""
        return SliceScales(*map(scale_from_amax, (self.x_amax, self.w_amax, self.b_amax)))

    @property
    def scale_wx(self) -> float:
        """x_scale · w_scale, the scale of the integer accumulator."""
        return self.scales.scale_wx


@dataclass(frozen=True)
class LayerCalibration:
    """The counts of one layer, slice by slice; ``layer`` is the model's own number."""

    layer: int
    slices: tuple[SliceCalibration, ...]


@dataclass(frozen=True)
class Origin:
    """Which checkpoint was calibrated, on which text, in how many batches of how many tokens."""

    checkpoint: str
    family: str
    text: str
    text_sha256: str
    batches: int
    seq_len: int
    fingerprint: str = ""  # of the checkpoint's files; known where the calibration was saved
    dtype: str = ""  # of the forward: "float32", "bfloat16" or "float16"
    device: str = ""  # that the forward ran on: "cpu" or "cuda"
    kernels: str = ""  # that its convolution and scan were computed by: "torch", or whose


@dataclass(frozen=True)
class Calibration:
    """Every calibrated layer of a checkpoint on one text."""

    origin: Origin
    layers: tuple[LayerCalibration, ...]
    captures: tuple[ConvCapture, ...] = ()  # of the layers whose input was kept

    def layer(self, index: int) -> LayerCalibration:
        """A layer by the model's own number; StopIteration where it was not counted."""
        return next(entry for entry in self.layers if entry.layer == index)

    def capture(self, index: int) -> ConvCapture:
        """The conv input of a layer; StopIteration where it was not kept."""
        return next(entry for entry in self.captures if entry.layer == index)


@dataclass(frozen=True)
class Progress:
    """How far a calibration is: layer ``layer`` of batch ``batch`` is done.

    ``layer`` is the model's own number; ``done`` of its ``layers`` Mamba layers are.
    """

    batch: int
    batches: int
    layer: int
    done: int
    layers: int
    together: int = 1  # batches from ``batch`` on that run in one forward

    @property
    def share(self) -> float:
        """How much of the calibration is done, in [0, 1]."""
        done = self.batch * self.layers + self.together * self.done
        return done / (self.batches * self.layers)

    def __str__(self) -> str:
        if self.together > 1:
            last = self.batch + self.together
            return f"batches {self.batch + 1} to {last} of {self.batches}, layer {self.layer}"
        return f"batch {self.batch + 1} of {self.batches}, layer {self.layer}"


def text_names() -> list[str]:
    """The calibration texts that come with the project."""
    return [
        DEFAULT_TEXT,
        *sorted(p.name for p in SAMPLES_DIR.glob("*.txt") if p.name != DEFAULT_TEXT),
    ]


def read_text(
    checkpoint: Checkpoint,
    source: str = DEFAULT_TEXT,
    batches: int = DEFAULT_BATCHES,
    seq_len: int = DEFAULT_SEQ_LEN,
    tokenizer: Tokenizer | None = None,
    first: int = 0,
) -> CalibrationText:
    """Cut a text into calibration batches.

    Args:
        checkpoint: gives the tokenizer; without one and with a vocabulary of 256, UTF-8 bytes.
        source: the name of a text that comes with the project, or a file.
        batches, seq_len: N and L, both >= 1.
        tokenizer: in place of the checkpoint's own, as in ``cut_text``.
        first: the batch to begin with: those before it are left out, as they were read before.

    Raises CalibrationError for a text that cannot be read or is too short.
    """
    _check_size(batches, seq_len)
    path, content = _read_file(source)
    text = cut_text(checkpoint, source, content, batches, seq_len, tokenizer, first)
    return replace(text, name=path.name)


def cut_text(
    checkpoint: Checkpoint,
    name: str,
    content: bytes,
    batches: int = DEFAULT_BATCHES,
    seq_len: int = DEFAULT_SEQ_LEN,
    tokenizer: Tokenizer | None = None,
    first: int = 0,
) -> CalibrationText:
    """Cut a text that is at hand into calibration batches.

    Args:
        checkpoint: gives the tokenizer, as in ``read_text``, where none is given.
        name: what the text is called, in the calibration and in errors.
        content: UTF-8.
        batches, seq_len: N and L, both >= 1.
        tokenizer: of transformers, or anything that is called with a text and gives a mapping with
            "input_ids".
        first: the batch to begin with, as in ``read_text``.

    Raises CalibrationError for a text that cannot be read or is too short.
    """
    _check_size(batches, seq_len)
    tokens = _tokenize(checkpoint, content, name, tokenizer)
    begin, wanted = first * seq_len, (first + batches) * seq_len
    if first and len(tokens) < wanted:
        raise CalibrationError(
            "{name} has {tokens} tokens; {batches} batches of {seq_len} after the first {first} "
            "need {wanted}: ask for fewer, or give another text",
            name=name,
            tokens=f"{len(tokens):,}",
            batches=batches,
            seq_len=seq_len,
            first=first,
            wanted=f"{wanted:,}",
        )
    if len(tokens) < wanted:
        raise CalibrationError(
            "{text} has {tokens} tokens; {batches} batches of {seq_len} need {wanted}: ask for "
            "fewer batches, or give a longer text",
            text=name,
            tokens=f"{len(tokens):,}",
            batches=batches,
            seq_len=seq_len,
            wanted=f"{wanted:,}",
        )
    digest = hashlib.sha256(content).hexdigest()
    return CalibrationText(name, digest, tokens[begin:wanted].view(batches, seq_len))


def _check_size(batches: int, seq_len: int) -> None:
    if batches < 1 or seq_len < 1:
        raise CalibrationError(
            "{batches} batches of {seq_len} tokens were asked for; both must be at least 1",
            batches=batches,
            seq_len=seq_len,
        )


def whole_text(
    checkpoint: Checkpoint, content: str, most: int, tokenizer: Tokenizer | None = None
) -> CalibrationText:
    """A text that was typed, as one batch of all its tokens, or of the first ``most``.

    Raises CalibrationError for less than two tokens, of which none has a next one.
    """
    tokens = _tokenize(checkpoint, content.encode("utf-8", "replace"), "the text", tokenizer)[:most]
    if len(tokens) < 2:
        raise CalibrationError(
            "the text has {tokens} tokens; give 2 at least, so that one has a next one",
            tokens=len(tokens),
        )
    digest = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()
    return CalibrationText("the text", digest, tokens[None])


def given_tokens(checkpoint: Checkpoint, tokens: Tensor) -> CalibrationText:
    """Token ids as calibration batches; their hash is that of their bytes as int64.

    Args:
        checkpoint: gives the vocabulary.
        tokens: (N, L), of any integer dtype, on any device.

    Raises CalibrationError for another shape or dtype, or an id beyond the vocabulary.
    """
    if tokens.dim() != 2 or not tokens.numel():
        raise CalibrationError(
            "the token ids have shape {shape}; they must be (N, L): N batches of L tokens, both at "
            "least 1",
            shape=tuple(tokens.shape),
        )
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise CalibrationError(
            "the token ids are {dtype}; they must be whole numbers", dtype=tokens.dtype
        )
    ids = tokens.detach().to("cpu", torch.int64, copy=True).contiguous()
    least, most = int(ids.min()), int(ids.max())
    if not 0 <= least <= most < checkpoint.vocab_size:
        raise CalibrationError(
            "the token ids go from {least} to {most}; the model's vocabulary has {vocabulary}, "
            "from 0",
            least=least,
            most=most,
            vocabulary=checkpoint.vocab_size,
        )
    digest = hashlib.sha256(ids.numpy().astype("<i8").tobytes()).hexdigest()
    return CalibrationText("token ids", digest, ids)


def text_sha256(source: str) -> str:
    """The SHA-256 of a text as ``read_text`` names it, in hexadecimal digits, without its tokens.

    Raises CalibrationError for a text that cannot be read.
    """
    return hashlib.sha256(_read_file(source)[1]).hexdigest()


def _read_file(source: str) -> tuple[Path, bytes]:
    name = source if len(source) <= LONGEST_NAME else quoted(source)
    try:
        path = SAMPLES_DIR / source if source in text_names() else Path(source).expanduser()
        is_file, exists = path.is_file(), path.exists()
        size = path.stat().st_size if is_file else 0
        content = path.read_bytes() if is_file and size <= LARGEST_TEXT else b""
    except (OSError, RuntimeError, ValueError) as error:  # a home directory of no user, a NUL
        reason = getattr(error, "strerror", None) or error
        raise CalibrationError(
            "{path} cannot be read: {reason}", path=name, reason=reason
        ) from None
    if not exists:
        raise CalibrationError("{path} cannot be read: No such file or directory", path=name)
    if not is_file:  # to read a pipe would be to wait for its writer
        raise CalibrationError("{path} cannot be read: it is not a file", path=name)
    if size > LARGEST_TEXT:
        raise CalibrationError(
            "{path} has {size} bytes; a text has at most {largest}",
            path=name,
            size=f"{size:,}",
            largest=f"{LARGEST_TEXT:,}",
        )
    return path, content


def _tokenize(
    checkpoint: Checkpoint, content: bytes, source: str, tokenizer: Tokenizer | None
) -> Tensor:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CalibrationError(
            "{path} is not UTF-8 text: {reason}", path=source, reason=error.reason
        ) from None
    if tokenizer is None and checkpoint.reads_bytes:
        return torch.tensor(list(content), dtype=torch.int64)
    if tokenizer is None and not (checkpoint.has_tokenizer or is_of_state_spaces(checkpoint)):
        raise CheckpointError(
            "{path} has a vocabulary of {vocabulary} and no tokenizer.json; put the model's "
            "tokenizer beside its weights, or name one (--tokenizer)",
            path=checkpoint.path,
            vocabulary=checkpoint.vocab_size,
        )
    try:
        if tokenizer is None:
            tokenizer = _own_tokenizer(checkpoint)
        tokens = torch.tensor(tokenizer(text)["input_ids"], dtype=torch.int64)
    except FetchError:
        raise
    except BaseException as error:  # each kind of tokenizer has faults of its own
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        if ran_out_of_memory(error):
            raise out_of_memory(checkpoint.path, error) from error
        logger.info("tokenizer of %s", checkpoint.path, exc_info=error)
        raise CheckpointError(
            "{path} has a tokenizer that cannot be used: {reason}",
            path=checkpoint.path,
            reason=first_line(error),
        ) from error
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < checkpoint.vocab_size:
        raise CheckpointError(
            "{path} has a tokenizer that gives token {token}; the model's vocabulary has "
            "{vocabulary}",
            path=checkpoint.path,
            token=int(tokens.max()),
            vocabulary=checkpoint.vocab_size,
        )
    return tokens


def _own_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The one beside the weights, or what state-spaces' models are evaluated with."""
    if checkpoint.has_tokenizer:
        return open_tokenizer(checkpoint.path)
    return open_tokenizer(fetch(STATE_SPACES_TOKENIZER, TOKENIZER_FILES))


def open_tokenizer(directory: Path) -> Tokenizer:
    """A tokenizer of transformers from a directory's files; no code of theirs is run."""
    hide_kernels_distribution()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)


def is_of_state_spaces(checkpoint: Checkpoint) -> bool:
    """Whether it is stored as state-spaces' own models are, with their vocabulary: GPT-NeoX's
    50,277 tokens, or those padded to a multiple of 8 or 16."""
    return checkpoint.layout == "state-spaces" and checkpoint.vocab_size in (50277, 50280, 50288)


def decoder(
    checkpoint: Checkpoint, chosen: Tokenizer | None = None
) -> Callable[[Sequence[int]], str]:
    """What makes text of token ids; U+FFFD stands for what is no whole character.

    ``chosen`` is a tokenizer of transformers in place of the checkpoint's own.

    Raises CheckpointError where there is no tokenizer, or none that can be used.
    """
    if checkpoint.reads_bytes and chosen is None:
        return lambda tokens: bytes(tokens).decode("utf-8", errors="replace")
    try:
        tokenizer: Any = chosen or _own_tokenizer(checkpoint)
    except Exception as error:  # each kind of tokenizer has faults of its own
        logger.info("tokenizer of %s", checkpoint.path, exc_info=error)
        raise CheckpointError(
            "{path} has a tokenizer that cannot be used: {reason}",
            path=checkpoint.path,
            reason=first_line(error),
        ) from error
    return lambda tokens: str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust gave up: its exception is no ``Exception``, and has no
    name that could be imported."""
    return type(error).__name__ == "PanicException"


def calibrate(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    text: CalibrationText,
    *,
    layers: Collection[int] | None = None,
    keep: Collection[int] = (),
    gradients: bool = False,
    batch_size: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> Calibration:
    """Run the calibration batches through the model and count what its convolutions make.

    Args:
        checkpoint, backbone: from ``load_checkpoint`` and ``load_backbone``.
        text: from ``read_text``.
        layers: which layers to count; None means all.
        keep: the layers whose conv input is kept (4·N·D·L bytes each), and with it the gradient
            where gradients are counted (as many again).
        gradients: count those of the loss, too, by one backward pass a batch; ``backbone`` is then
            the whole model, from ``load_language_model``, and a batch has two tokens at least.
        batch_size: how many sequences run together in a forward on a GPU (on a CPU each runs
            alone); what is counted of each does not depend on it. More take more memory, and 1
            alone goes with gradients.
        on_progress: called after each layer of each forward; what it raises ends the calibration.

    Raises CalibrationError where activations are not finite or leave float16's range, naming the
    layer and the batch.
    """
    check_batch_size(batch_size, gradients)
    wanted = sorted(checkpoint.layers if layers is None else set(layers))
    tally = Tally(len(wanted) * len(checkpoint.slices))
    captures = count_batches(
        checkpoint,
        backbone,
        text,
        range(text.batches),
        wanted,
        tally,
        keep=keep,
        gradients=gradients,
        batch_size=batch_size,
        on_progress=on_progress,
    )
    return assemble(checkpoint, backbone, text, wanted, tally, captures)


def check_batch_size(batch_size: int, gradients: bool) -> None:
    """Raises CalibrationError for less than one sequence a forward, or several with gradients."""
    if batch_size < 1:
        raise CalibrationError(
            "{count} sequences a forward were asked for; it must be at least 1", count=batch_size
        )
    if gradients and batch_size > 1:
        raise CalibrationError(
            "{count} sequences a forward were asked for; gradients are counted one at a time",
            count=batch_size,
        )


def count_batches(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    text: CalibrationText,
    numbers: Sequence[int],
    layers: Sequence[int],
    tally: Tally,
    *,
    keep: Collection[int] = (),
    gradients: bool = False,
    batch_size: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
    on_counted: Callable[[Counter], None] | None = None,
) -> tuple[ConvCapture, ...]:
    """Count some of the batches into a tally; ``calibrate`` counts all of them.

    Args:
        numbers: which of the text's batches, ascending.
        layers: which layers, ascending.
        tally: of these layers and the checkpoint's slices.
        on_counted: called after each forward; its batches are in the tally once the counter is
            asked to collect.
    """
    counter = Counter(checkpoint, layers, tally, min(batch_size, max(1, len(numbers))))
    kept: dict[int, list[Tensor]] = {layer: [] for layer in sorted(set(keep))}
    kept_gradients: dict[int, list[Tensor]] = {layer: [] for layer in kept}

    def visit(places: Sequence[int], layer: int, x: Tensor, gradient: Tensor | None = None) -> None:
        if layer in kept:
            kept[layer].append(x.to(torch.float32).contiguous().cpu())
            if gradient is not None:
                kept_gradients[layer].append(gradient.cpu())
        if layer in counted:
            counter.add([numbers[place] for place in places], layer, x, gradient)
        if on_progress:
            done = checkpoint.layers.index(layer) + 1
            on_progress(
                Progress(places[0], len(numbers), layer, done, checkpoint.n_layers, len(places))
            )

    def finish(places: Sequence[int]) -> None:
        counter.finish([numbers[place] for place in places])
        if on_counted:
            on_counted(counter)

    def prepare(weights: Mapping[int, Tensor]) -> None:
        counter.prepare({layer: own for layer, own in weights.items() if layer in counted})

    def visit_one(place: int, layer: int, x: Tensor, gradient: Tensor) -> None:
        visit([place], layer, x, gradient)
        if on_counted and layer == last:
            on_counted(counter)

    counted, visited = set(layers), {*layers, *kept}
    last, tokens = max(visited, default=None), text.tokens[list(numbers)]
    extent = f"{len(numbers)} batches of {text.seq_len} tokens of {text.name}"
    logger.info("calibrating %d layers of %s on %s", len(visited), checkpoint.name, extent)
    begun = time.perf_counter()
    if gradients:
        visit_gradients(checkpoint, backbone, tokens, visited, visit_one)
    else:
        run_forwards(checkpoint, backbone, tokens, visited, visit, batch_size, finish, prepare)
    counter.collect()
    took = time.perf_counter() - begun
    logger.info("calibrated %s in %.1f s (%s)", checkpoint.name, took, forward_of(backbone))
    return tuple(
        ConvCapture(
            layer,
            torch.cat(inputs),
            checkpoint.conv(layer).weight,
            checkpoint.conv(layer).bias,
            torch.cat(kept_gradients[layer]) if gradients else None,
        )
        for layer, inputs in kept.items()
    )


def assemble(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    text: CalibrationText,
    layers: Sequence[int],
    tally: Tally,
    captures: tuple[ConvCapture, ...] = (),
) -> Calibration:
    """The calibration of a tally that has all batches of the text; RuntimeError if one lacks."""
    lacking = [number for number in range(text.batches) if layers and not tally.has_whole(number)]
    if lacking:
        raise RuntimeError(f"batches {lacking} were not counted")
    with collector_paused():  # thousands of histograms, for which it would walk through libraries
        batches = [tally.outputs(number) for number in tally.numbers]
    rows = slices_of(checkpoint, layers)
    inputs, outputs = tally.total_histograms()
    counted: dict[int, list[SliceCalibration]] = {layer: [] for layer in layers}
    for row, (layer, conv_slice) in enumerate(rows):
        conv = checkpoint.conv(layer)
        try:
            counted[layer].append(
                SliceCalibration(
                    name=conv_slice.name,
                    x_amax=float(tally.x_amax[row]),
                    w_amax=float(conv.weight[conv_slice.channels].abs().amax()),
                    b_amax=float(conv.bias[conv_slice.channels].abs().amax()),
                    silu_input=inputs[row],
                    silu_output=outputs[row],
                    batches=tuple(batch[row] for batch in batches),
                    gradients=tally.gradients(row, outputs[row]),
                )
            )
        except CalibrationError as error:
            raise CalibrationError("layer {layer}, {reason}", layer=layer, reason=error) from None
    forward = forward_of(backbone)
    return Calibration(
        origin=Origin(
            checkpoint=checkpoint.name,
            family=checkpoint.family,
            text=text.name,
            text_sha256=text.sha256,
            batches=text.batches,
            seq_len=text.seq_len,
            dtype=forward.dtype,
            device=forward.device,
            kernels=forward.kernels,
        ),
        layers=tuple(LayerCalibration(layer, tuple(own)) for layer, own in counted.items()),
        captures=captures,
    )


CAPTURE_BYTES = 2**30  # of conv inputs in memory; a larger model is calibrated in several passes


def calibrate_in_passes(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    text: CalibrationText,
    layers: Sequence[int],
    most_bytes: int = CAPTURE_BYTES,
    on_progress: Callable[[Progress], None] | None = None,
    gradients: bool = False,
) -> Iterator[Calibration]:
    """``calibrate`` with the conv inputs of every layer, as many layers a pass as fit.

    Args:
        most_bytes: of the conv inputs, and the gradients, that one pass keeps, one layer's at
            least.
        gradients: as ``calibrate`` has it.
    """
    one_layer = 4 * text.tokens.numel() * checkpoint.conv_dim * (2 if gradients else 1)
    size = max(1, most_bytes // one_layer)
    for first in range(0, len(layers), size):
        group = layers[first : first + size]
        yield calibrate(
            checkpoint,
            backbone,
            text,
            layers=group,
            keep=group,
            gradients=gradients,
            on_progress=on_progress,
        )
