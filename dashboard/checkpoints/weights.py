"""Where each tensor of a checkpoint lies, and how to read one.

Weights come as safetensors, or as a pickle that is read with ``weights_only``; in one file, or in
several with an index. Neither is trusted: what a file claims is compared with its length before
anything is allocated, so that reading never takes more memory than the file has bytes.
"""

from __future__ import annotations

import json
import logging
import struct
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dashboard.checkpoints.records import CheckpointError
from dashboard.refusals import quoted

logger = logging.getLogger(__name__)

WHOLE = ("model.safetensors", "pytorch_model.bin")
SUFFIXES = (".safetensors", ".bin")
# What zipfile raises over a mutilated directory: of its own, of fields that overflow, of encodings.
ZIP_FAULTS = (
    zipfile.BadZipFile,
    OSError,
    ValueError,
    struct.error,
    OverflowError,
    EOFError,
    NotImplementedError,
    IndexError,
)
LARGEST_JSON = 16 * 2**20  # an index of a hundred thousand tensors has 10 MB


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint, each still in its file."""

    files: dict[str, Path]  # tensor name -> file
    read: Callable[[str], Tensor]
    numbers: dict[str, float | None] = field(default_factory=dict)  # plain ones, in pickles only


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out, which is no fault of the file that was being read.

    torch has an exception for a GPU's memory, and on a CPU raises a plain RuntimeError.
    """
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


def out_of_memory(path: Path, error: BaseException) -> CheckpointError:
    """The error for a source that takes more memory than there is, with the library's reason."""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return CheckpointError(
        "{path} takes more memory than there is: {reason}", path=path, reason=reason[0]
    )


def read_json(path: Path) -> dict:
    """A JSON object from a file. Raises CheckpointError for anything else."""
    if not path.is_file():
        raise CheckpointError("{path} does not exist; a checkpoint needs it", path=path)
    if path.stat().st_size > LARGEST_JSON:
        raise CheckpointError(
            "{path} has {size} bytes; a checkpoint's JSON has at most {largest}",
            path=path,
            size=f"{path.stat().st_size:,}",
            largest=f"{LARGEST_JSON:,}",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of UTF-8, of JSON, of huge integers
        raise CheckpointError(
            "{path} is not readable JSON: {reason}", path=path, reason=error
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(
            "{path} holds a {kind}, not an object", path=path, kind=type(content).__name__
        )
    return content


def open_weights(source: Path) -> Weights:
    """Open the weights of a directory, or a file alone.

    Raises CheckpointError where there are none, or a file cannot be read.
    """
    if source.is_file():
        return _open_files([source])
    for name in WHOLE:
        single, index = source / name, source / f"{name}.index.json"
        if single.is_file():
            return _open_files([single])
        if index.is_file():
            return _open_files(_shards(index))
    raise CheckpointError(
        "{path} has no weights: looked for {names}",
        path=source,
        names=tuple(name + end for name in WHOLE for end in ("", ".index.json")),
    )


def _shards(index: Path) -> list[Path]:
    """The files that an index names, all in its own directory."""
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
        raise CheckpointError(
            "{path} has no weight_map from tensor names to file names", path=index
        )
    beside = {p.name: p for p in index.parent.iterdir() if p.suffix in SUFFIXES and p.is_file()}
    names = sorted(set(shards.values()))
    for name in names:
        if name not in beside:
            raise CheckpointError(
                "{path} names the file {name}, which does not exist beside it",
                path=index,
                name=quoted(name),
            )
    return [beside[name] for name in names]


def _open_files(paths: Collection[Path]) -> Weights:
    files: dict[str, Path] = {}
    readers: dict[Path, Callable[[str], Tensor]] = {}
    numbers: dict[str, float | None] = {}
    for path in paths:
        if path.suffix == ".safetensors":
            names, readers[path] = _open_safetensors(path)
        else:
            names, readers[path], plain_numbers = _open_pickle(path)
            numbers |= plain_numbers
        files.update(dict.fromkeys(names, path))
    return Weights(files, lambda name: readers[files[name]](name), numbers)


def _open_safetensors(path: Path) -> tuple[list[str], Callable[[str], Tensor]]:
    try:
        opened = safe_open(path, framework="pt")
        names = list(opened.keys())
    except MemoryError as error:  # the file is mapped whole, however long it claims to be
        raise out_of_memory(path, error) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "{path} is not a readable safetensors file: {reason}", path=path, reason=error
        ) from None

    def read(name: str) -> Tensor:
        try:
            return opened.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError, AttributeError, MemoryError) as error:
            if ran_out_of_memory(error):
                raise out_of_memory(path, error) from error
            raise CheckpointError(
                "{path}: {entry} cannot be read: {reason}",
                path=path,
                entry=quoted(name),
                reason=error,
            ) from None

    return names, read


def _open_pickle(
    path: Path,
) -> tuple[list[str], Callable[[str], Tensor], dict[str, float | None]]:
    _check_archive(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling a hostile file may raise anything
        if ran_out_of_memory(error):
            raise out_of_memory(path, error) from error
        logger.info("reading %s", path, exc_info=error)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            "{path} cannot be read as plain weights: {reason}", path=path, reason=reason[0]
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(
            "{path} holds a {kind}, not a state dict", path=path, kind=type(state).__name__
        )
    tensors, numbers = {}, {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise CheckpointError(
                "{path} has an entry named {value}, which is no name", path=path, value=quoted(name)
            )
        if isinstance(value, Tensor):
            tensors[name] = _dense(value, name, path)
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            numbers[name] = value
    return list(tensors), tensors.__getitem__, numbers


def _check_archive(path: Path) -> None:
    """torch stores its archives uncompressed; a compressed one might unpack to anything."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except ZIP_FAULTS as error:
        raise CheckpointError(
            "{path} cannot be read as plain weights: it is not the archive that torch.save has "
            "written since torch 1.6 ({reason})",
            path=path,
            reason=error,
        ) from error
    packed = sum(entry.file_size for entry in entries)
    if packed > path.stat().st_size or any(e.compress_type != zipfile.ZIP_STORED for e in entries):
        raise CheckpointError(
            "{path} cannot be read as plain weights: its entries are compressed or claim {claimed} "
            "bytes in a file of {size}; torch.save stores them plainly",
            path=path,
            claimed=f"{packed:,}",
            size=f"{path.stat().st_size:,}",
        )


def _dense(tensor: Tensor, name: str, path: Path) -> Tensor:
    """The tensor, once the file is seen to hold all of it.

    By strides of 0 it may claim any shape over a small storage, and would take more memory than the
    file has bytes as soon as it is copied.
    """
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    if (
        not plain
        or tensor.is_quantized
        or (tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes())
    ):
        raise CheckpointError(
            "{path}: {entry} claims the shape {shape}, which the file does not hold as a plain "
            "tensor",
            path=path,
            entry=quoted(name),
            shape=quoted(tuple(tensor.shape)),
        )
    return tensor.detach()
