"""A Calibration <-> as few bytes as it takes: what the samples carry of theirs.

A calibration file has each batch's histogram as pairs of values and counts. Here a slice has one
list of the values that its output takes, as bits over all finite float16, and for each of them how
often it occurred in every batch: mostly numbers of one digit, which LZMA makes a seventh of. The
output's own counts are their sums. Nothing is rounded: what is unpacked is what was packed.
"""

from __future__ import annotations

import json
import lzma

import numpy as np

from dashboard.calibration.capture import Calibration, LayerCalibration, Origin, SliceCalibration
from dashboard.calibration.histogram import ASCENDING_VALUES, Histogram

FORMAT = "scalescope-counts-1"
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 4}]
ESCAPE = 255  # of a count in one byte: what is beyond it lies apart
PRESENT_BYTES = -(-len(ASCENDING_VALUES) // 8)


def pack(calibration: Calibration) -> bytes:
    """The counts of every layer and slice; neither conv inputs nor gradients."""
    head = {
        "format": FORMAT,
        "origin": vars(calibration.origin),
        "layers": [
            [layer.layer, [[own.name, own.x_amax, own.w_amax, own.b_amax] for own in layer.slices]]
            for layer in calibration.layers
        ],
    }
    presents, counts = [], []
    for layer in calibration.layers:
        for own in layer.slices:
            values = own.silu_output.values
            by_batch = np.zeros((len(values), len(own.batches)), np.int64)
            for i, batch in enumerate(own.batches):
                by_batch[np.searchsorted(values, batch.values), i] = batch.counts
            presents += [_present(own.silu_input.values), _present(values)]
            counts += [own.silu_input.counts, by_batch.ravel()]
    every = np.concatenate(counts)
    beyond = (every[every >= ESCAPE] - ESCAPE).astype("<u8")
    blocks = [
        json.dumps(head).encode(),
        np.concatenate(presents).tobytes(),
        np.minimum(every, ESCAPE).astype(np.uint8).tobytes(),
        beyond.view(np.uint8).reshape(-1, 8).T.tobytes(),  # like bytes beside one another
    ]
    lengths = np.array([len(block) for block in blocks], "<u8").tobytes()
    return lzma.compress(lengths + b"".join(blocks), lzma.FORMAT_XZ, filters=FILTERS)


def _present(values: np.ndarray) -> np.ndarray:
    """(K,) ascending float16 values -> one bit for each of ASCENDING_VALUES, as bytes."""
    present = np.zeros(len(ASCENDING_VALUES), bool)
    present[np.searchsorted(ASCENDING_VALUES, values, "right") - 1] = True  # +0, not -0
    return np.packbits(present)


def unpack(content: bytes) -> Calibration:
    """What ``pack`` packed, to the bit; of files that came with the project, so not examined."""
    plain = lzma.decompress(content)
    lengths = np.frombuffer(plain, "<u8", 4).astype(int)
    starts = np.concatenate([[0], np.cumsum(lengths)]) + 4 * 8
    head = json.loads(plain[starts[0] : starts[1]])
    presents = np.frombuffer(plain, np.uint8, lengths[1], starts[1])
    counts = np.frombuffer(plain, np.uint8, lengths[2], starts[2]).astype(np.int64)
    beyond = np.frombuffer(plain, np.uint8, lengths[3], starts[3]).reshape(8, -1).T
    counts[counts == ESCAPE] += np.ascontiguousarray(beyond).view("<u8").ravel().astype(np.int64)
    # Files that were packed before origins said so were counted like this.
    plain_forward = {"dtype": "float32", "device": "cpu", "kernels": "torch"}
    origin = Origin(**(plain_forward | head["origin"]))
    taken = 0

    def take(number: int) -> np.ndarray:
        nonlocal taken
        taken += number
        return counts[taken - number : taken]

    def read_slice(
        index: int, name: str, x_amax: float, w_amax: float, b_amax: float
    ) -> SliceCalibration:
        values_of_input, values = (
            ASCENDING_VALUES[np.flatnonzero(np.unpackbits(present, count=len(ASCENDING_VALUES)))]
            for present in presents.reshape(-1, 2, PRESENT_BYTES)[index]
        )
        silu_input = Histogram(values_of_input, take(len(values_of_input)).copy())
        by_batch = take(len(values) * origin.batches).reshape(len(values), origin.batches)
        batches = []
        for column in by_batch.T:
            occurring = np.flatnonzero(column)
            batches.append(Histogram(values[occurring], column[occurring]))
        output = Histogram(values, by_batch.sum(1))
        return SliceCalibration(name, x_amax, w_amax, b_amax, silu_input, output, tuple(batches))

    slices = ((layer, own) for layer, owns in head["layers"] for own in owns)
    read = [(layer, read_slice(index, *own)) for index, (layer, own) in enumerate(slices)]
    layers = tuple(
        LayerCalibration(layer, tuple(own for number, own in read if number == layer))
        for layer, _ in head["layers"]
    )
    return Calibration(origin, layers)
