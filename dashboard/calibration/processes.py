"""Several processes that calibrate one model together, as torchrun starts them: a GPU each.

torchrun tells each process its rank and how many there are, in the environment. What crosses
between them are counts, which are whole numbers, and maxima: those give the same bits in any order.
What each batch has by itself is gathered by rank 0, which puts it in the order of the batches.

    torchrun --nproc-per-node 8 -m dashboard calibrate CHECKPOINT --out FILE.safetensors
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from dashboard.checkpoints import default_device

LONGEST_WAIT = timedelta(days=2)  # for the slowest process to finish its batches
MOST_SENT = 2**28  # bytes of one message


@dataclass(frozen=True)
class Processes:
    """This process among those that work together; without torchrun it is the only one."""

    rank: int = 0
    size: int = 1
    device: str | None = None  # that this process's model runs on; None: the default

    @property
    def is_first(self) -> bool:
        """Whether it is the one that assembles and writes."""
        return self.rank == 0

    def all_objects(self, own: Any) -> list[Any]:
        """What each process gave, in the order of their ranks; in every process."""
        if self.size == 1:
            return [own]
        gathered = [None] * self.size
        dist.all_gather_object(gathered, own)
        return gathered

    def add_up(self, counts: np.ndarray) -> None:
        """Replace int64 counts by the sum over all processes, in every one of them."""
        self._reduce(counts, dist.ReduceOp.SUM)

    def take_greatest(self, maxima: np.ndarray) -> None:
        """Replace each number by the greatest of all processes'."""
        self._reduce(maxima, dist.ReduceOp.MAX)

    def _reduce(self, array: np.ndarray, operation: Any) -> None:
        if self.size > 1:
            tensor = self._placed(torch.from_numpy(array))
            dist.all_reduce(tensor, operation)
            array[...] = tensor.cpu().numpy()

    def gather_arrays(
        self, own: Iterator[Mapping[str, np.ndarray]], number: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """In rank 0, what each other process gave, one of each in turns; elsewhere nothing.

        Every process goes through all of it: while rank 0 takes in what one has sent, the others
        make what they send next.

        Args:
            own: what this process sends, made as it is asked for; rank 0 sends nothing.
            number: how many of those there are.
        """
        numbers = self.all_objects(number)
        for turn in range(max(numbers[1:], default=0)):
            for rank in range(1, self.size):
                if turn < numbers[rank] and rank == self.rank:
                    self._send(next(own))
                elif turn < numbers[rank] and self.is_first:
                    yield self._receive(rank)

    def _send(self, arrays: Mapping[str, np.ndarray]) -> None:
        forms = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
        dist.send_object_list([forms], 0, device=self._place)
        for array in arrays.values():
            for piece in _pieces(torch.from_numpy(array)):
                dist.send(self._placed(piece), 0)

    def _receive(self, rank: int) -> dict[str, np.ndarray]:
        forms: list[Any] = [None]
        dist.recv_object_list(forms, rank, device=self._place)
        arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in forms[0].items()}
        for array in arrays.values():
            for piece in _pieces(torch.from_numpy(array)):
                buffer = torch.empty_like(piece, device=self._place)
                dist.recv(buffer, rank)
                piece.copy_(buffer)
        return arrays

    @property
    def _place(self) -> torch.device:
        """Where the processes' messages are: NCCL sends from GPUs."""
        return torch.device(self.device or "cpu")

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._place)

    def wait(self) -> None:
        """Until all processes are here."""
        self.all_objects(None)


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    """Its bytes, as views that a message each can hold."""
    return tensor.reshape(-1).view(torch.uint8).split(MOST_SENT) if tensor.numel() else ()


@contextmanager
def launched_processes() -> Iterator[Processes]:
    """The processes that torchrun started, joined while within; without torchrun this one alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes()
        return
    if int(os.environ["WORLD_SIZE"]) == 1:
        yield Processes()
        return
    store, rank, size = next(dist.rendezvous("env://", timeout=LONGEST_WAIT))
    # The store outlives a restart, and with it the addresses of processes that have died.
    store = dist.PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    device = None
    if default_device() == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group(
        "gloo" if device is None else "nccl",
        store=store,
        rank=rank,
        world_size=size,
        timeout=LONGEST_WAIT,
        device_id=None if device is None else torch.device(device),
    )
    try:
        yield Processes(rank, size, device)
    finally:
        dist.destroy_process_group()
