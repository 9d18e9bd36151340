"""A Calibration <-> a safetensors file.

Histograms say all that a scale depends on, so a calibration that took hours can be kept and asked
for any rule and any α later. For each layer and slice the file holds the histograms as pairs of
arrays (float16 values, ascending; counts in the narrowest unsigned integers that hold them), those
of the batches end to end with the number of values in each, and three maxima. Where gradients were
counted it holds their two sums for each value of the output, too, and of how many tokens' losses
they are; a file without them is as good for everything else. Its metadata say which checkpoint
(SHA-256 of its files), which text (SHA-256), and how many batches of what length. A calibration
file stands wherever a checkpoint does; only the live kernel needs more, the conv input itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from dashboard.calibration.capture import (
    Calibration,
    CalibrationError,
    LayerCalibration,
    Origin,
    SliceCalibration,
)
from dashboard.calibration.counting import joined
from dashboard.calibration.gradients import GradientSums
from dashboard.calibration.histogram import Histogram
from dashboard.calibration.whole_files import write_whole
from dashboard.checkpoints import Checkpoint
from dashboard.messages import either
from dashboard.refusals import one_line, quoted
from kernels.arguments import FLOAT32_MAX

logger = logging.getLogger(__name__)

FORMAT = "scalescope-calibration-1"
SUFFIX = ".safetensors"
SLICES = (["x"], ["x", "B", "C"])
VALUES = ("F16",)  # safetensors' names of dtypes
COUNTS = ("U8", "U16", "U32", "U64", "I64")
MOST_COUNTED = 10**9  # batches, tokens, a layer's number
MOST_VALUES = 2**53  # what float64 still counts one by one
LARGEST_GRADIENTS = 1e200  # of Σ g²: products with squared float16 values stay finite
FORWARD = ("dtype", "device", "kernels")  # of an origin; older files do not state them
SAFETENSORS_NAMES = {"f": "F", "u": "U", "i": "I"}  # of kinds of numbers, bits to follow
FINGERPRINTED = ("config.json", "*.safetensors", "*.bin", "*.index.json")


def fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over the checkpoint's configuration and weight files, in hexadecimal digits.

    Two checkpoints have the same fingerprint if they have the same files under the same names.
    """
    return fingerprint_of_files(checkpoint.path, FINGERPRINTED)


def fingerprint_of_files(directory: Path, patterns: Sequence[str]) -> str:
    """SHA-256 over the names and contents of a directory's files that fit one of the patterns."""
    files = {path for pattern in patterns for path in directory.glob(pattern)}
    whole = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.name} {digest}\n".encode())
    return whole.hexdigest()


def is_calibration_file(source: str) -> bool:
    """Whether a checkpoint's name means a calibration file: a file, of that suffix.

    A checkpoint's own weights end alike, but a config.json lies beside them, and no calibration
    file says that they are one.
    """
    try:
        path = Path(source).expanduser()
        if not source.endswith(SUFFIX) or not path.is_file():
            return False
    except (OSError, RuntimeError):  # a name too long, a home directory of no user: no file
        return False
    return not (path.parent / "config.json").is_file() or _states_format(path)


def _states_format(path: Path) -> bool:
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def save_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write a calibration whole or not at all: beside its place, then moved there.

    Conv inputs (``captures``) are not saved. Raises OSError where the file cannot be written.
    """
    write_whole(Path(path), *calibration_pieces(calibration))
    logger.info("calibration of %s saved as %s", calibration.origin.checkpoint, path)


def calibration_pieces(
    calibration: Calibration, notes: Mapping[str, str] | None = None
) -> list[bytes | memoryview]:
    """What ``save_calibration`` writes, end to end; ``notes`` are further entries of its metadata.

    In pieces, because a calibration of many batches is a gigabyte, and each copy of it takes as
    long as writing it.
    """
    slices = [
        (f"layers.{layer.layer}.{counted.name}", counted)
        for layer in calibration.layers
        for counted in layer.slices
    ]
    arrays: dict[str, np.ndarray] = {}
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for own in pool.map(_slice_arrays, *zip(*slices, strict=True)):
            arrays |= own
    origin = calibration.origin
    layers = [
        [layer.layer, [counted.name for counted in layer.slices]] for layer in calibration.layers
    ]
    metadata = {
        **(notes or {}),
        "format": FORMAT,
        **{name: str(value) for name, value in vars(origin).items()},
        "layers": json.dumps(layers),
    }
    return _pieces(arrays, metadata)


def _pieces(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> list[bytes | memoryview]:
    """A safetensors file, with metadata in the order of their names.

    safetensors itself writes them in another order each time, so that no two files of one content
    would be equal. The format: the header's length in eight bytes, the header, which is JSON and
    padded to eight, the arrays, the widest numbers first, so that each lies where its dtype wants.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": SAFETENSORS_NAMES[array.dtype.kind] + str(8 * array.itemsize),
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)
    contents = [np.ascontiguousarray(array).view(np.uint8).data for _, array in ordered]
    return [len(written).to_bytes(8, "little"), written, *contents]


def _slice_arrays(prefix: str, counted: SliceCalibration) -> dict[str, np.ndarray]:
    values, counts = zip(*(batch.narrow() for batch in counted.batches), strict=True)
    return {
        f"{prefix}.amax": np.array([counted.x_amax, counted.w_amax, counted.b_amax]),
        **_histogram_arrays(f"{prefix}.silu_input", counted.silu_input),
        **_histogram_arrays(f"{prefix}.silu_output", counted.silu_output),
        f"{prefix}.batches.values": joined(values, np.float16),
        f"{prefix}.batches.counts": _narrow_counts(counts),
        f"{prefix}.batches.lengths": np.array(list(map(len, values)), np.int64),
        **_gradient_arrays(f"{prefix}.gradients", counted.gradients),
    }


def _gradient_arrays(prefix: str, gradients: GradientSums | None) -> dict[str, np.ndarray]:
    """Their values are those of the output's histogram, which lie there already."""
    if gradients is None:
        return {}
    return {
        f"{prefix}.squares": gradients.squares,
        f"{prefix}.sums": gradients.sums,
        f"{prefix}.tokens": np.array([gradients.tokens], np.int64),
    }


def _histogram_arrays(prefix: str, histogram: Histogram) -> dict[str, np.ndarray]:
    return {
        f"{prefix}.values": histogram.values.astype(np.float16),  # exact: they are float16 values
        f"{prefix}.counts": _narrow(histogram.counts),
    }


def _narrow(counts: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(counts, np.min_scalar_type(int(counts.max(initial=0))))


def _narrow_counts(counts: Sequence[np.ndarray]) -> np.ndarray:
    """End to end, in the narrowest unsigned integers that hold them."""
    greatest = max(int(own.max(initial=0)) for own in counts)
    return joined(counts, np.min_scalar_type(greatest))


def load_calibration(path: str | Path) -> Calibration:
    """Read a calibration file, with every array checked.

    Raises CalibrationError, in one sentence that names the file and the fault.
    """
    path = Path(path).expanduser()
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CalibrationError(
                    "{path} is not a calibration file (its metadata name the format {format}, not "
                    "{wanted}); make one with python -m dashboard calibrate",
                    path=path,
                    format=quoted(metadata.get("format")),
                    wanted=repr(FORMAT),
                )
            origin = _read_origin(metadata, path)
            entries = set(file.keys())

            def array(name: str, dtypes: Sequence[str]) -> np.ndarray:
                """A list of numbers of one of the dtypes, as safetensors calls them."""
                if name not in entries:
                    raise CalibrationError("{path} lacks {entry}", path=path, entry=name)
                stored = file.get_slice(name)
                if stored.get_dtype() not in dtypes or len(stored.get_shape()) != 1:
                    raise CalibrationError(
                        "{path}: {entry} is {dtype} of shape {shape}; it must be a list of "
                        "{dtypes}",
                        path=path,
                        entry=name,
                        dtype=stored.get_dtype(),
                        shape=quoted(tuple(stored.get_shape())),
                        dtypes=either(dtypes),
                    )
                return file.get_tensor(name)

            layers = tuple(
                LayerCalibration(
                    layer,
                    tuple(_read_slice(array, entries, path, origin, layer, name) for name in names),
                )
                for layer, names in _read_layers(metadata, path)
            )
    except (OSError, SafetensorError, MemoryError) as error:
        raise CalibrationError(
            "{path} cannot be read: {reason}", path=path, reason=error or type(error).__name__
        ) from None
    return Calibration(origin, layers)


def _read_origin(metadata: dict[str, str], path: Path) -> Origin:
    try:
        texts = {
            name: one_line(metadata[name])
            for name in ("checkpoint", "family", "text", "text_sha256", "fingerprint")
        }
        forward = {name: one_line(metadata.get(name, "")) for name in FORWARD}
        batches, seq_len = int(metadata["batches"]), int(metadata["seq_len"])
    except (KeyError, ValueError) as error:
        raise CalibrationError(
            "{path}: the metadata lack or misstate {entry}", path=path, entry=error
        ) from None
    for name, count in (("batches", batches), ("seq_len", seq_len)):
        if not 1 <= count <= MOST_COUNTED:
            raise CalibrationError(
                "{path}: the metadata say that {entry} is {value}; it must be at least 1, and at "
                "most {most}",
                path=path,
                entry=name,
                value=quoted(count),
                most=MOST_COUNTED,
            )
    return Origin(**texts, **forward, batches=batches, seq_len=seq_len)


def _read_layers(metadata: dict[str, str], path: Path) -> list[tuple[int, list[str]]]:
    """Each layer's number and slices: the same slices in all, as a model has them."""
    try:
        layers = [(layer, names) for layer, names in json.loads(metadata["layers"])]
        numbers = [layer for layer, _ in layers]
        fits = bool(layers) and (
            all(type(layer) is int and 0 <= layer < MOST_COUNTED for layer in numbers)
            and numbers == sorted(set(numbers))
            and layers[0][1] in SLICES
            and all(names == layers[0][1] for _, names in layers)
        )
    except (KeyError, ValueError, TypeError, RecursionError):
        fits = False
    if not fits:
        raise CalibrationError(
            "{path}: the metadata name no layers, or not as ascending numbers, each with the slice "
            "x or the slices x, B and C",
            path=path,
        )
    return layers


def _read_slice(
    array: Callable[[str, Sequence[str]], np.ndarray],
    entries: Collection[str],
    path: Path,
    origin: Origin,
    layer: int,
    name: str,
) -> SliceCalibration:
    prefix = f"layers.{layer}.{name}"
    maxima = array(f"{prefix}.amax", ("F32", "F64"))
    if maxima.shape != (3,) or not ((maxima >= 0) & (maxima <= FLOAT32_MAX)).all():
        raise CalibrationError(
            "{path}: {entry} must be three finite maxima in float32",
            path=path,
            entry=f"{prefix}.amax",
        )
    silu_input, silu_output = (
        _histogram(array(f"{at}.values", VALUES), array(f"{at}.counts", COUNTS), path, at)
        for at in (f"{prefix}.silu_input", f"{prefix}.silu_output")
    )
    batches = _read_batches(array, path, origin, f"{prefix}.batches")
    total = sum(batch.total for batch in batches)
    if not total == silu_output.total == silu_input.total:
        raise CalibrationError(
            "{path}: the batches of {entry} do not add up to its output, or its input has more or "
            "fewer values",
            path=path,
            entry=prefix,
        )
    gradients = None
    if f"{prefix}.gradients.squares" in entries:
        gradients = _read_gradients(array, path, f"{prefix}.gradients", silu_output)
    try:
        x_amax, w_amax, b_amax = maxima.tolist()
        return SliceCalibration(
            name, x_amax, w_amax, b_amax, silu_input, silu_output, batches, gradients
        )
    except CalibrationError as error:
        raise CalibrationError(
            "{path}: layer {layer}, {reason}", path=path, layer=layer, reason=error
        ) from None


def _read_gradients(
    array: Callable[[str, Sequence[str]], np.ndarray],
    path: Path,
    prefix: str,
    output: Histogram,
) -> GradientSums:
    squares, sums = (array(f"{prefix}.{name}", ("F64",)) for name in ("squares", "sums"))
    tokens = array(f"{prefix}.tokens", ("I64",))
    if not (
        squares.shape == sums.shape == output.values.shape
        and np.isfinite(squares).all()
        and (squares >= 0).all()
        and squares.sum() <= LARGEST_GRADIENTS
        and (sums * sums <= LARGEST_GRADIENTS).all()
        and tokens.shape == (1,)
        and 1 <= tokens[0] <= MOST_VALUES
    ):
        raise CalibrationError(
            "{path}: {prefix} must have two finite sums for each value of the output, the squares "
            "not negative, and the number of tokens that they are of",
            path=path,
            prefix=prefix,
        )
    return GradientSums(output.values, squares, sums, int(tokens[0]))


def _read_batches(
    array: Callable[[str, Sequence[str]], np.ndarray], path: Path, origin: Origin, name: str
) -> tuple[Histogram, ...]:
    lengths = array(f"{name}.lengths", ("I64",))
    values, counts = array(f"{name}.values", VALUES), array(f"{name}.counts", COUNTS)
    if len(lengths) != origin.batches:
        raise CalibrationError(
            "{path}: {entry} has {count} batches; the metadata say {batches}",
            path=path,
            entry=name,
            count=len(lengths),
            batches=origin.batches,
        )
    fits = ((lengths >= 1) & (lengths <= len(values))).all()
    if not fits or not lengths.sum() == len(values) == len(counts):
        raise CalibrationError(
            "{path}: {entry} does not fit its values and counts",
            path=path,
            entry=f"{name}.lengths",
        )
    ends = np.cumsum(lengths)[:-1]
    whole = _histogram(values, counts, path, name, ends)  # all at once: there may be thousands
    batches = tuple(
        Histogram(v, c)
        for v, c in zip(np.split(whole.values, ends), np.split(whole.counts, ends), strict=True)
    )
    totals = np.add.reduceat(whole.counts, np.concatenate([[0], ends]))
    if (totals != totals[0]).any() or (totals % origin.seq_len).any():
        raise CalibrationError(
            "{path}: {entry} must each have as many values, a multiple of seq_len, {seq_len}",
            path=path,
            entry=name,
            seq_len=origin.seq_len,
        )
    return batches


def _histogram(
    values: np.ndarray,
    counts: np.ndarray,
    path: Path,
    name: str,
    ends: np.ndarray | None = None,
) -> Histogram:
    """Several, end to end, where ``ends`` says at which index each after the first begins.

    Counts may be 64 bits wide and wrap around when added up: so their sum is bounded first.
    """
    wide = torch.from_numpy(values).float().numpy()  # numpy's own takes ten times as long
    ascends = wide[1:] > wide[:-1]
    if ends is not None:
        ascends[ends - 1] = True
    if not (
        values.shape == counts.shape
        and len(values) > 0
        and np.isfinite(wide).all()
        and ascends.all()
        and (counts > 0).all()
        and counts.sum(dtype=np.float64) <= MOST_VALUES
    ):
        raise CalibrationError(
            "{path}: {entry} must be ascending finite float16 values, each with a count above 0, "
            "and at most {most} in all",
            path=path,
            entry=name,
            most=MOST_VALUES,
        )
    return Histogram(wide, counts.astype(np.int64))
