"""The conv input of some layers -> counts of float16 patterns, where the values are made.

One sequence of the text is one calibration batch, whatever runs together. Of each layer and slice
(x, B, C) four things are kept: max |x|, how often each pattern of v occurred in all batches
together, how often each value of y occurred in each batch by itself, and, where asked for, the
gradients' sums of each batch. All of them merge to the same bits in any grouping of the batches:
counts and maxima in any order, gradients because they are added in the order of the batches.

``HostCounter`` works a sequence at a time in plain torch. ``DeviceCounter`` has counters on a GPU.
With fast kernels a forward there is bound by what the host does, so it does little: conv inputs
stay where they are until the forward is over, and one launch computes v and y of all layers and
counts them (``kernels.add_layer_counts``). What occurred in a few batches then comes to the host at
once, a few MB each: a thread and a stream of their own fetch it and put it on disk, while the next
forwards are launched and count into other counters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dashboard.calibration.batch_store import BatchStore, Place
from dashboard.calibration.faults import CalibrationError
from dashboard.calibration.gradients import GradientSums, GradientTally, batch_gradients
from dashboard.calibration.histogram import (
    ASCENDING_VALUES,
    FINITE,
    PATTERNS,
    PLUS_ZERO,
    Histogram,
    check_finite,
    merged_ascending,
)
from dashboard.checkpoints import Checkpoint, ConvSlice
from dashboard.refusals import Refusal
from kernels import add_layer_counts, default_backend, reference
from kernels.statistics import MOST_VALUES

MOST_COUNTERS = 2**26  # turned into histograms together: 256 MB of int32
FETCHED = 4  # sequences together, where a forward has fewer
FETCHED_COUNTERS = 2**25  # those have no more than this many: 128 MB, twice
MOST_HELD = 2**29  # bytes of a device's activations that wait for being counted
MOST_SEQUENCES = 2**16 - 1  # of all inputs of a launch


def slices_of(checkpoint: Checkpoint, layers: Sequence[int]) -> list[tuple[int, ConvSlice]]:
    """Each layer with each of its slices, in the order of all counters."""
    return [(layer, conv_slice) for layer in layers for conv_slice in checkpoint.slices]


Arrays = dict[str, np.ndarray]


class Tally:
    """What was counted so far: totals in memory, what each batch has by itself on disk.

    Args:
        width: S, how many layers and slices there are.
        separate: keep each batch's gradients by themselves, so that they can be packed; else they
            are added up as they come.
        store: where the batches are set aside, if others set theirs aside there, too.
    """

    def __init__(self, width: int, separate: bool = False, store: BatchStore | None = None) -> None:
        self.width = width
        self.x_amax = np.zeros(width, np.float32)
        self._totals: np.ndarray | None = None
        self._apart: list[tuple[list[int], tuple[Histogram, ...], tuple[Histogram, ...]]] = []
        self._gradients: list[GradientTally] = []
        self._separate: dict[int, list[GradientSums]] | None = {} if separate else None
        self._store = store or BatchStore()
        self._places: dict[int, list[Place | None]] = {}

    def add_amax(self, rows: Sequence[int], x_amax: np.ndarray) -> None:
        """max |x| of some layers and slices: finite float32."""
        own = np.asarray(rows)
        self.x_amax[own] = np.maximum(self.x_amax[own], x_amax)

    def add_totals(self, rows: Sequence[int], inputs: np.ndarray, outputs: np.ndarray) -> None:
        """Counts of v and of y: int64 (rows, 63488), of ``ASCENDING_VALUES``."""
        for own, of_v, of_y in zip(rows, inputs, outputs, strict=True):
            self.totals[0, own] += of_v
            self.totals[1, own] += of_y

    def add_total_histograms(
        self, rows: list[int], inputs: tuple[Histogram, ...], outputs: tuple[Histogram, ...]
    ) -> None:
        """The same as histograms: they are looked at only when more comes, or all at the end."""
        self._apart.append((rows, inputs, outputs))

    @property
    def totals(self) -> np.ndarray:
        """Counts of v and of y in all batches: int64 (2, S, 63488), of ``ASCENDING_VALUES``."""
        if self._totals is None:
            self._totals = np.zeros((2, self.width, len(ASCENDING_VALUES)), np.int64)
        for rows, *both in self._apart:
            for kind, histograms in enumerate(both):
                for row, histogram in zip(rows, histograms, strict=True):
                    places = ascending_places(histogram.values)
                    np.add.at(self._totals[kind, row], places, histogram.counts)
        self._apart = []
        return self._totals

    def total_histograms(self) -> tuple[tuple[Histogram, ...], tuple[Histogram, ...]]:
        """S histograms of v, and S of y, of all batches."""
        if self._totals is None and len(self._apart) == 1:  # as a device counted them
            rows, inputs, outputs = self._apart[0]
            if rows == list(range(self.width)):
                return inputs, outputs
        inputs, outputs = (tuple(map(histogram_of, counts)) for counts in self.totals)
        return inputs, outputs

    def add_outputs(
        self,
        batch: int,
        rows: Sequence[int],
        values: np.ndarray,
        counts: np.ndarray,
        lengths: Sequence[int],
    ) -> None:
        """A batch's histograms of y, end to end: float16 values and uint32 counts of each row."""
        own = self._places.setdefault(batch, [None] * self.width)
        for row, place in zip(rows, self._store.put(values, counts, lengths), strict=True):
            own[row] = place

    def add_gradients(self, batch: int, row: int, sums: GradientSums) -> None:
        """The sums of the next batch, in the order of the batches; row after row."""
        if self._separate is not None:
            self._separate.setdefault(batch, []).append(sums)
        else:
            self._add_up(row, sums)

    def _add_up(self, row: int, sums: GradientSums) -> None:
        if not self._gradients:
            self._gradients = [GradientTally() for _ in range(self.width)]
        self._gradients[row].add(sums)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The batches that are counted, ascending."""
        return tuple(sorted(self._places))

    def has_whole(self, batch: int) -> bool:
        """Whether all of a batch's histograms are here, which others may be on their way to."""
        return None not in self._places.get(batch, [None])

    def outputs(self, batch: int) -> tuple[Histogram, ...]:
        """A batch's S histograms of y."""
        return tuple(self._store.get(place) for place in self._places[batch] if place is not None)

    def gradients(self, row: int, output: Histogram) -> GradientSums | None:
        """All batches' sums, added in their order; None where none were counted."""
        if self._separate is not None:
            for batch in sorted(self._separate):
                for own, sums in enumerate(self._separate[batch]):
                    self._add_up(own, sums)
            self._separate = None
        return self._gradients[row].sums_of(output) if self._gradients else None

    def pack_batches(self, numbers: Sequence[int]) -> Arrays:
        """What some batches have by themselves, as arrays: values narrow, one after the other.

        ``numbers`` (B,) and ``lengths`` (B, S) int64; ``values`` float16 and ``counts`` uint32 of
        all their histograms; with gradients ``squares``, ``sums`` and ``tokens``, too.
        """
        places = [place for number in numbers for place in self._places[number] if place]
        runs = list(self._store.runs(places)) if places else []
        packed = {
            "numbers": np.array(numbers, np.int64),
            "lengths": np.array([place.distinct for place in places], np.int64).reshape(
                len(numbers), self.width
            ),
            "values": joined([values for values, _ in runs], np.float16),
            "counts": joined([counts for _, counts in runs], np.uint32),
        }
        if self._separate:
            gradients = [sums for number in numbers for sums in self._separate[number]]
            packed["squares"] = joined([sums.squares for sums in gradients], np.float64)
            packed["sums"] = joined([sums.sums for sums in gradients], np.float64)
            packed["tokens"] = np.array([sums.tokens for sums in gradients], np.int64)
        return packed

    def beside(self) -> Tally:
        """An empty tally for batches of others, in the same store, until ``take`` takes them."""
        return Tally(self.width, self._separate is not None, self._store)

    def take(self, other: Tally) -> None:
        """Have the batches of a tally ``beside``, too: other ones than here."""
        self._places |= other._places
        if self._separate is not None and other._separate is not None:
            self._separate |= other._separate

    def unpack_batches(self, packed: Mapping[str, np.ndarray]) -> None:
        """Add what ``pack_batches`` gave, here or elsewhere, of batches that are not here."""
        lengths = packed["lengths"].ravel().tolist()
        places = self._store.put(packed["values"], packed["counts"], lengths)
        for i, number in enumerate(packed["numbers"].tolist()):
            self._places[number] = list(places[i * self.width : (i + 1) * self.width])
        if "squares" in packed:
            ends = np.cumsum(lengths)[:-1]
            squares, sums = np.split(packed["squares"], ends), np.split(packed["sums"], ends)
            for i, own in enumerate(np.split(packed["values"].astype(np.float32), ends)):
                number, row = divmod(i, self.width)
                self.add_gradients(
                    int(packed["numbers"][number]),
                    row,
                    GradientSums(own, squares[i], sums[i], int(packed["tokens"][i])),
                )


def joined(arrays: Sequence[np.ndarray], dtype: type | np.dtype) -> np.ndarray:
    """End to end, in a dtype that holds their values."""
    whole: np.ndarray = np.empty(sum(map(len, arrays)), dtype)
    np.concatenate([np.empty(0, dtype), *arrays], out=whole, casting="unsafe")
    return whole


def ascending_places(values: np.ndarray) -> np.ndarray:
    """Where float32 values that are float16 lie in ``ASCENDING_VALUES``: -0 as +0."""
    patterns = torch.from_numpy(values + np.float32(0.0)).half().view(torch.int16).numpy()
    magnitudes = (patterns & np.int16(0x7FFF)).astype(np.int32)
    return np.where(patterns >= 0, FINITE + magnitudes, FINITE - 1 - magnitudes)


def histogram_of(ascending: np.ndarray) -> Histogram:
    """From counts of ``ASCENDING_VALUES``, -0 with +0."""
    present = np.flatnonzero(ascending)
    return Histogram(ASCENDING_VALUES[present], ascending[present])


def float_output(v: Tensor) -> Tensor:
    """y = SiLU(v) in float32.

    On a CPU torch's own, which takes a fifth of the time; on CUDA that of the kernels'
    specification, which ``kernels.add_layer_counts`` computes, too. They differ in the last bits of
    float32.
    """
    return F.silu(v) if v.device.type == "cpu" else reference.silu(v)


class HostCounter:
    """Counts a sequence at a time, by torch, on whichever device the conv input lies."""

    def __init__(self, checkpoint: Checkpoint, rows: Mapping[int, int], tally: Tally) -> None:
        self._checkpoint = checkpoint
        self._rows = rows
        self._tally = tally
        row_of = torch.empty(checkpoint.conv_dim, 1, dtype=torch.int32)
        for row, conv_slice in enumerate(checkpoint.slices):
            row_of[conv_slice.channels] = row * PATTERNS + PATTERNS // 2
        self._row_of = row_of

    def add(
        self, batches: Sequence[int], layer: int, x: Tensor, gradient: Tensor | None = None
    ) -> None:
        """Count a layer's conv input, and its gradient where there is one: (N, D, L), N batches.

        Raises CalibrationError for what is not finite.
        """
        for i, batch in enumerate(batches):
            own = None if gradient is None else gradient[i]
            self._add_sequence(batch, layer, x[i : i + 1], own)

    def _add_sequence(self, batch: int, layer: int, x: Tensor, gradient: Tensor | None) -> None:
        conv, slices = self._checkpoint.conv(layer), self._checkpoint.slices
        x = x.to(torch.float32).contiguous()
        v = reference.causal_conv1d(x, conv.weight.to(x.device), conv.bias.to(x.device))[0]
        y = float_output(v)
        extremes = [torch.stack(torch.aminmax(x[0, own.channels])) for own in slices]
        x_amax = torch.stack(extremes).abs().amax(1).cpu().numpy()
        of_v, of_y = self._count_both(v, y)
        for row, conv_slice in enumerate(slices):
            strange = _not_finite(of_y[row]) or _not_finite(of_v[row])
            total = conv_slice.width * x.shape[-1]
            _check(layer, str(batch), conv_slice, x_amax[row], strange, total)
        rows = range(self._rows[layer], self._rows[layer] + len(slices))
        inputs, outputs = merged_ascending(of_v), merged_ascending(of_y)
        self._tally.add_amax(rows, x_amax)
        self._tally.add_totals(rows, inputs, outputs)
        values, counts, lengths = _present(outputs)
        narrow = values.astype(np.float16), counts.astype(np.uint32)  # D·L of a batch are fewer
        self._tally.add_outputs(batch, rows, *narrow, lengths)
        if gradient is not None:
            ends = np.cumsum(lengths)[:-1]
            histograms = map(Histogram, np.split(values, ends), np.split(counts, ends))
            for row, conv_slice, output in zip(rows, slices, histograms, strict=True):
                channels = conv_slice.channels
                try:
                    sums = batch_gradients(y[channels], gradient[channels], output)
                except ValueError as error:
                    raise _fault(layer, str(batch), conv_slice, Refusal(str(error))) from None
                self._tally.add_gradients(batch, row, sums)

    def _count_both(self, v: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(slices, 65536) int64 of each; bincount keeps one core busy, so a thread for each."""
        row_of, width = self._row_of.to(v.device), len(self._checkpoint.slices) * PATTERNS

        def count(patterns: Tensor) -> np.ndarray:
            counts = torch.bincount(patterns, minlength=width)
            return counts.cpu().numpy().reshape(-1, PATTERNS)

        patterns = [
            own.to(torch.float16).view(torch.int16).to(torch.int32).add_(row_of).flatten()
            for own in (v, y)
        ]
        alone = v.is_cuda or torch.get_num_threads() == 1
        of_v, of_y = map(count, patterns) if alone else _THREADS.map(count, patterns)
        return of_v, of_y


_THREADS = ThreadPoolExecutor(2, thread_name_prefix="counting")


def _not_finite(by_pattern: np.ndarray) -> int:
    return int(by_pattern[FINITE:PLUS_ZERO].sum() + by_pattern[PLUS_ZERO + FINITE :].sum())


def _present(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """(S, 63488) counts -> the values and counts of those above 0, end to end; how many of each."""
    flat = ascending.ravel()
    present = np.flatnonzero(flat)
    rows = present // len(ASCENDING_VALUES)
    values = ASCENDING_VALUES[present - rows * len(ASCENDING_VALUES)]
    return values, flat[present], np.bincount(rows, minlength=len(ascending)).tolist()


def _check(
    layer: int, batch: str, conv_slice: ConvSlice, x_amax: float, strange: int, total: int
) -> None:
    """Raises CalibrationError where x, v or y is not finite."""
    try:
        if not x_amax < float("inf"):
            raise Refusal("the conv input contains NaN or infinite values")
        check_finite(strange, total)
    except Refusal as reason:
        raise _fault(layer, batch, conv_slice, reason) from None


def _fault(layer: int, batch: str, conv_slice: ConvSlice, reason: Refusal) -> CalibrationError:
    return CalibrationError(
        "layer {layer}, batch {batch}, slice {slice}: {reason}",
        layer=layer,
        batch=batch,
        slice=conv_slice.name,
        reason=reason,
    )


@dataclass(eq=False)
class _Counters:
    """Counters of some batches, on the device of their layers."""

    v_counts: Tensor  # int32 (K, slices, 65536), of all the batches together
    y_counts: Tensor  # int32 (n, K, slices, 65536)
    x_amax: Tensor  # int32 (n, K, D), bits of float32
    batches: list[int]  # whose forwards are over, n at most

    def clear(self) -> None:
        for used in (self.v_counts, self.y_counts, self.x_amax):
            used.zero_()
        self.batches = []


# One thread for all devices: a tally takes one batch's counts at a time.
_FETCHING = ThreadPoolExecutor(1, thread_name_prefix="fetching")


class DeviceCounter:
    """Counts some layers on their device, in a launch a forward; some forwards are fetched at once.

    Args:
        layers: K layers, by the model's own numbers.
        rows: where the tally has a layer's first slice.
        batch_size: how many sequences run together at most.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        layers: Sequence[int],
        rows: Mapping[int, int],
        tally: Tally,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._checkpoint = checkpoint
        self._places = {layer: i for i, layer in enumerate(layers)}
        self._rows = rows
        self._tally = tally
        self._batch_size = batch_size
        self._device = device
        convs = [checkpoint.conv(layer) for layer in layers]
        self._weight = torch.stack([conv.weight for conv in convs]).to(device, torch.float32)
        self._bias = torch.stack([conv.bias for conv in convs]).to(device, torch.float32)
        widths = torch.tensor([own.width for own in checkpoint.slices])
        numbers = torch.arange(len(widths), dtype=torch.int32)
        self._slice_of = numbers.repeat_interleave(widths).to(device)
        self._values = torch.from_numpy(ASCENDING_VALUES).to(device, torch.float16)
        counters = len(layers) * len(checkpoint.slices) * PATTERNS  # of a sequence
        # A layer by itself is one whose weights lie on the host: its GPU is short of memory.
        together = min(FETCHED, FETCHED_COUNTERS // counters) if len(layers) > 1 else 1
        self._room = max(batch_size, together)
        self._counting = self._make_counters()
        self._pending: list[tuple[int, Tensor]] = []  # conv inputs of the forward, and their places
        self._held = 0  # bytes of them
        self._input_counts = torch.zeros_like(self._counting.v_counts, dtype=torch.int64).flatten(
            0, 1
        )
        self._output_counts = torch.zeros_like(self._input_counts)
        self._seq_len = 0
        self._counted = False  # whether the forward has conv inputs here
        self._stream: torch.cuda.Stream | None = None
        self._fetched: _Counters | None = None  # while the others count
        self._fetching: Future[None] | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._fetched = self._make_counters()

    def _make_counters(self) -> _Counters:
        layers, slices = len(self._places), len(self._checkpoint.slices)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=self._device)

        return _Counters(
            zeros(layers, slices, PATTERNS),
            zeros(self._room, layers, slices, PATTERNS),
            zeros(self._room, layers, self._checkpoint.conv_dim),
            [],
        )

    def add(self, batches: Sequence[int], layer: int, x: Tensor) -> None:
        """Take a layer's conv input x (N, D, L), of N batches, to be counted by ``finish``.

        It must not be written to before.
        """
        if self._pending:
            first = self._pending[0][1]
            if x.dtype != first.dtype or x.stride() != first.stride():
                self._launch()
        self._pending.append((self._places[layer], x))
        self._seq_len, self._counted = x.shape[-1], True
        self._held += x.untyped_storage().nbytes()
        more = len(self._pending) + 1
        too_many = more * x.numel() > MOST_VALUES or more * len(x) > MOST_SEQUENCES
        if len(self._pending) == len(self._places) or self._held >= MOST_HELD or too_many:
            self._launch()

    def _launch(self) -> None:
        """Count what waits for it; nothing is waited for."""
        if not self._pending:
            return
        counters, first = self._counting, len(self._counting.batches)
        places, inputs = zip(*self._pending, strict=True)
        last = first + len(inputs[0])
        y_counts, x_amax = counters.y_counts[first:last], counters.x_amax[first:last]
        weights = self._weight, self._bias, self._slice_of
        add_layer_counts(inputs, places, *weights, counters.v_counts, y_counts, x_amax)
        self._pending, self._held = [], 0

    def finish(self, batches: Sequence[int]) -> None:
        """The forward of these batches is over.

        Raises CalibrationError for what is not finite, in them or before, as soon as it is known.
        """
        self._launch()
        if not self._counted:
            return
        self._counted = False
        own = self._counting.batches
        own += batches
        more = len(own) + self._batch_size
        # A counter of v may have all values of all batches.
        too_many = more * self._seq_len * self._checkpoint.conv_dim > MOST_VALUES
        if more > self._room or too_many:
            self._hand_over()

    def _hand_over(self) -> None:
        """Have what was counted fetched; on a GPU the next forwards count elsewhere meanwhile."""
        self.wait()
        if not self._counting.batches:
            return
        if self._stream is None or self._fetched is None:
            self._fetch(self._counting)
            return
        self._counting, self._fetched = self._fetched, self._counting
        counted = torch.cuda.current_stream(self._device).record_event()
        self._fetching = _FETCHING.submit(self._fetch_beside, self._fetched, counted, self._stream)

    def wait(self) -> None:
        """Until nothing is being fetched; raises what fetching raised."""
        if self._fetching is not None:
            fetching, self._fetching = self._fetching, None
            fetching.result()

    def _fetch_beside(
        self, counters: _Counters, counted: torch.cuda.Event, stream: torch.cuda.Stream
    ) -> None:
        with torch.cuda.device(self._device), torch.cuda.stream(stream), torch.no_grad():
            stream.wait_event(counted)
            self._fetch(counters)
            stream.synchronize()  # before the other stream counts into them again

    def _fetch(self, counters: _Counters) -> None:
        batches, rows = counters.batches, self._tally_rows()
        v_counts, n = counters.v_counts.flatten(0, 1), len(counters.batches)
        y_counts, x_amax = counters.y_counts[:n].flatten(1, 2), self._x_amax(counters.x_amax[:n])
        # A few sequences at a time: what they are turned into may be large.
        step = max(1, MOST_COUNTERS // v_counts.numel())
        for first in range(0, n, step):
            some, own = batches[first : first + step], y_counts[first : first + step]
            self._check(some, x_amax[first : first + step], _strange(own))
            self._add_outputs(some, rows, own)
            self._output_counts += own.sum(0)
        # v may be -∞ where y is 0
        self._check(batches, x_amax, _strange(v_counts)[None])
        self._tally.add_amax(rows, np.max(x_amax, axis=0))
        self._input_counts += v_counts
        counters.clear()

    def _tally_rows(self) -> list[int]:
        slices = len(self._checkpoint.slices)
        return [self._rows[layer] + i for layer in self._places for i in range(slices)]

    def _x_amax(self, stacked: Tensor) -> np.ndarray:
        """int32 (n, layers here, D) -> (n, layers here · slices) float32."""
        slices = self._checkpoint.slices
        by_slice = [stacked[..., own.channels].amax(-1) for own in slices]
        bits = torch.stack(by_slice, -1).flatten(1).cpu()
        return bits.view(torch.float32).numpy()

    def _check(
        self,
        batches: Sequence[int],
        x_amax: np.ndarray,
        strange: np.ndarray,
    ) -> None:
        """``strange`` (n, S) or, of all of them together, (1, S): values that are not finite."""
        fine = (x_amax < np.inf) & (strange == 0)
        if fine.all():
            return
        place, row = np.argwhere(~fine)[0]
        alone = len(strange) == len(batches)
        names = str(batches[place]) if alone else " or ".join(map(str, batches))
        slices = self._checkpoint.slices
        layer = list(self._places)[row // len(slices)]
        own = slices[row % len(slices)]
        total = own.width * self._seq_len * (1 if len(strange) > 1 else len(batches))
        count = strange[min(place, len(strange) - 1), row]
        _check(layer, names, own, x_amax[place, row], int(count), total)

    def _add_outputs(self, batches: Sequence[int], rows: Sequence[int], y_counts: Tensor) -> None:
        values, counts, lengths = self._present(y_counts)
        begin = 0
        for batch, own in zip(batches, lengths, strict=True):
            end = begin + sum(own)
            narrow = values[begin:end], counts[begin:end].view(np.uint32)
            self._tally.add_outputs(batch, rows, *narrow, own)
            begin = end

    def _present(self, by_pattern: Tensor) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
        """(n, S, 65536) counts -> float16 values and counts of what occurred, end to end; how many.

        No more than that crosses to the host.
        """
        negative = by_pattern[..., :FINITE].flip(-1)
        positive = by_pattern[..., PLUS_ZERO : PLUS_ZERO + FINITE].clone()
        positive[..., 0] += negative[..., -1]
        negative[..., -1] = 0
        ascending = torch.cat([negative, positive], -1)
        lengths = _to_host((ascending > 0).sum(-1)).tolist()
        flat = ascending.flatten()
        present = flat.nonzero()[:, 0]
        counts = _to_host(flat[present])
        values = _to_host(self._values[present % len(self._values)])
        return values, counts, lengths

    def collect(self) -> None:
        """Bring all to the tally, totals too, which stay on the device until they are asked for.

        Raises what fetching raised.
        """
        self._hand_over()
        self.wait()
        both = []
        for counts in (self._input_counts, self._output_counts):
            values, numbers, lengths = self._present(counts[None])
            ends = np.cumsum(lengths[0])[:-1]
            wide = np.split(values.astype(np.float32), ends)
            both.append(tuple(map(Histogram, wide, np.split(numbers, ends))))
            counts.zero_()
        self._tally.add_total_histograms(self._tally_rows(), *both)


def _strange(by_pattern: Tensor) -> np.ndarray:
    """(..., 65536) counts -> (...) how many are of patterns that are no finite float16."""
    negative = by_pattern[..., FINITE:PLUS_ZERO].sum(-1)
    positive = by_pattern[..., PLUS_ZERO + FINITE :].sum(-1)
    return (negative + positive).cpu().numpy()


def _to_host(tensor: Tensor) -> np.ndarray:
    """A copy on the host: through pinned memory, into which a GPU writes by itself."""
    if tensor.device.type == "cpu":
        return tensor.numpy()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor).numpy()


class Counter:
    """Counts conv inputs wherever they lie, each by the counter of its place.

    Args:
        layers: which are counted, ascending.
        batch_size: how many sequences run together at most.
    """

    def __init__(
        self, checkpoint: Checkpoint, layers: Sequence[int], tally: Tally, batch_size: int
    ) -> None:
        self._checkpoint = checkpoint
        self._rows = {layer: i * len(checkpoint.slices) for i, layer in enumerate(layers)}
        self._tally = tally
        self._batch_size = batch_size
        self._host = HostCounter(checkpoint, self._rows, tally)
        self._devices: list[DeviceCounter] = []
        self._of_layer: dict[tuple[torch.device, int], DeviceCounter] = {}

    def prepare(self, weights: Mapping[int, Tensor]) -> None:
        """Make the counters of some layers before the forwards, in which that would take time.

        Args:
            weights: of each layer's projection; they lie where its conv input will.
        """
        places: dict[torch.device, list[int]] = {}
        for layer, weight in weights.items():
            if default_backend(weight) == "triton":
                places.setdefault(weight.device, []).append(layer)
        for device, layers in places.items():
            self._make(layers, device)

    def _make(self, layers: Sequence[int], device: torch.device) -> None:
        made = DeviceCounter(
            self._checkpoint, layers, self._rows, self._tally, self._batch_size, device
        )
        self._devices.append(made)
        self._of_layer |= {(device, layer): made for layer in layers}

    def add(
        self, batches: Sequence[int], layer: int, x: Tensor, gradient: Tensor | None = None
    ) -> None:
        """Count a layer's conv input, and its gradient where there is one: (N, D, L), N batches.

        Raises CalibrationError for what is not finite, here or some forwards later.
        """
        on_device = default_backend(x) == "triton" and x.numel() <= MOST_VALUES
        if gradient is not None or not on_device:
            for own in self._devices:
                own.wait()
            self._host.add(batches, layer, x, gradient)
            return
        if (x.device, layer) not in self._of_layer:  # its weights lie elsewhere, on the host
            self._make([layer], x.device)
        self._of_layer[x.device, layer].add(batches, layer, x)

    def finish(self, batches: Sequence[int]) -> None:
        """The forward of these batches is over; they are in the tally once ``collect`` returns."""
        for own in self._devices:
            own.finish(batches)

    def collect(self) -> None:
        """Bring all that was counted to the tally."""
        for own in self._devices:
            own.collect()
