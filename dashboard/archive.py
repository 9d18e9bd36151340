"""A Calibration <-> a safetensors file.

Histograms say all that a scale depends on, so a calibration that took hours can be kept and asked
for any rule and any α later. For each layer and slice the file holds the histograms as pairs of
arrays (float16 values, ascending; counts in the narrowest unsigned integers that hold them), those
of the batches end to end with the number of values in each, and three maxima. Its metadata say
which checkpoint (SHA-256 of its files), which text (SHA-256), and how many batches of what length.
A calibration file stands wherever a checkpoint does; only the live kernel needs more, the conv
input itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dashboard.calibration import (
    Calibration,
    CalibrationError,
    LayerCalibration,
    Origin,
    SliceCalibration,
)
from dashboard.checkpoints import Checkpoint
from dashboard.histogram import Histogram

FORMAT = "scalescope-calibration-1"
SUFFIX = ".safetensors"
FINGERPRINTED = ("config.json", "*.safetensors", "*.bin", "*.index.json")


def fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over the checkpoint's configuration and weight files, in hexadecimal digits.

    Two checkpoints have the same fingerprint if they have the same files under the same names.
    """
    files = {path for pattern in FINGERPRINTED for path in checkpoint.path.glob(pattern)}
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
    except (OSError, RuntimeError):  # a name too long, a home that nobody has: no file
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
    arrays: dict[str, np.ndarray] = {}
    for layer in calibration.layers:
        for part in layer.slices:
            arrays |= _slice_arrays(f"layers.{layer.layer}.{part.name}", part)
    origin = calibration.origin
    layers = [[layer.layer, [part.name for part in layer.slices]] for layer in calibration.layers]
    metadata = {
        "format": FORMAT,
        **{name: str(value) for name, value in vars(origin).items()},
        "layers": json.dumps(layers),
    }
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        temporary.write_bytes(save(arrays, metadata))
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _slice_arrays(prefix: str, part: SliceCalibration) -> dict[str, np.ndarray]:
    batches = part.batches
    return {
        f"{prefix}.amax": np.array([part.x_amax, part.w_amax, part.b_amax]),
        **_histogram_arrays(f"{prefix}.silu_input", part.silu_input),
        **_histogram_arrays(f"{prefix}.silu_output", part.silu_output),
        f"{prefix}.batches.values": _joined([b.values for b in batches], np.float16),
        f"{prefix}.batches.counts": _narrow(_joined([b.counts for b in batches], np.int64)),
        f"{prefix}.batches.lengths": np.array([len(b.values) for b in batches], np.int64),
    }


def _histogram_arrays(prefix: str, histogram: Histogram) -> dict[str, np.ndarray]:
    return {
        f"{prefix}.values": histogram.values.astype(np.float16),  # exact: they are float16 values
        f"{prefix}.counts": _narrow(histogram.counts),
    }


def _narrow(counts: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(counts, np.min_scalar_type(int(counts.max(initial=0))))


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype)


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
                    f"{path} is not a calibration file (its metadata name the format "
                    f"{metadata.get('format')!r}, not {FORMAT!r}); make one with "
                    "python -m dashboard calibrate"
                )
            origin = _read_origin(metadata, path)
            names = set(file.keys())

            def array(name: str) -> np.ndarray:
                if name not in names:
                    raise CalibrationError(f"{path} lacks {name}")
                return file.get_tensor(name)

            layers = tuple(
                LayerCalibration(number, tuple(_read_slice(array, path, number, s) for s in parts))
                for number, parts in _read_layers(metadata, path)
            )
    except (OSError, SafetensorError) as error:
        raise CalibrationError(f"{path} cannot be read: {error}") from None
    for layer in layers:
        for part in layer.slices:
            if len(part.batches) != origin.batches:
                raise CalibrationError(
                    f"{path}: layer {layer.layer}, slice {part.name} has {len(part.batches)} "
                    f"batches; the metadata say {origin.batches}"
                )
    return Calibration(origin, layers)


def _read_origin(metadata: dict[str, str], path: Path) -> Origin:
    try:
        texts = {name: metadata[name] for name in
                 ("checkpoint", "family", "text", "text_sha256", "fingerprint")}  # fmt: skip
        return Origin(**texts, batches=int(metadata["batches"]), seq_len=int(metadata["seq_len"]))
    except (KeyError, ValueError) as error:
        raise CalibrationError(f"{path}: the metadata lack or misstate {error}") from None


def _read_layers(metadata: dict[str, str], path: Path) -> list[tuple[int, list[str]]]:
    try:
        layers = [(int(n), [str(p) for p in parts]) for n, parts in json.loads(metadata["layers"])]
    except (KeyError, ValueError, TypeError, RecursionError):
        layers = []
    if not layers or not all(parts for _, parts in layers):
        raise CalibrationError(f"{path}: the metadata name no layers")
    return layers


def _read_slice(
    array: Callable[[str], np.ndarray], path: Path, layer: int, name: str
) -> SliceCalibration:
    prefix = f"layers.{layer}.{name}"
    maxima = array(f"{prefix}.amax")
    if maxima.shape != (3,) or not (np.isfinite(maxima) & (maxima >= 0)).all():
        raise CalibrationError(f"{path}: {prefix}.amax must be three finite maxima")
    lengths = array(f"{prefix}.batches.lengths")
    values, counts = array(f"{prefix}.batches.values"), array(f"{prefix}.batches.counts")
    if lengths.ndim != 1 or (lengths < 1).any() or lengths.sum() != len(values):
        raise CalibrationError(f"{path}: {prefix}.batches.lengths does not fit its values")
    ends = np.cumsum(lengths)[:-1]
    batches = tuple(
        _histogram(v, c, path, f"{prefix}.batches")
        for v, c in zip(np.split(values, ends), np.split(counts, ends), strict=True)
    )
    silu_input, silu_output = (
        _histogram(array(f"{at}.values"), array(f"{at}.counts"), path, at)
        for at in (f"{prefix}.silu_input", f"{prefix}.silu_output")
    )
    if sum(batch.total for batch in batches) != silu_output.total:
        raise CalibrationError(f"{path}: the batches of {prefix} do not add up to its output")
    x_amax, w_amax, b_amax = maxima.tolist()
    return SliceCalibration(name, x_amax, w_amax, b_amax, silu_input, silu_output, batches)


def _histogram(values: np.ndarray, counts: np.ndarray, path: Path, name: str) -> Histogram:
    fits = (
        values.dtype == np.float16
        and counts.dtype.kind in "iu"
        and values.ndim == 1
        and values.shape == counts.shape
        and len(values) > 0
    )
    if not (
        fits
        and np.isfinite(values).all()
        and (np.diff(values.astype(np.float32)) > 0).all()
        and (counts > 0).all()
    ):
        raise CalibrationError(
            f"{path}: {name} must be ascending finite float16 values, each with a count above 0"
        )
    return Histogram(values.astype(np.float32), counts.astype(np.int64))
