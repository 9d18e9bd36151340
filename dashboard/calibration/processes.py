"""Several processes that calibrate one model together, as torchrun starts them: a GPU each.

torchrun tells each process its rank and how many there are, in the environment. What crosses
between them are counts, which are whole numbers, and maxima: those give the same bits in any order.
What each batch has by itself goes to rank 0, which puts it in the order of the batches: that is
sent from thread to thread, in a group of its own (``gathering``).

    torchrun --nproc-per-node 8 -m dashboard calibrate CHECKPOINT --out FILE.safetensors
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from dashboard.checkpoints import default_device

LONGEST_WAIT = timedelta(days=2)  # for the slowest process to finish its batches
MOST_SENT = 2**28  # bytes of one message
POLL_S, LONGEST_POLL_S = 0.005, 0.1


@dataclass(frozen=True)
class Processes:
    """This process among those that work together; without torchrun it is the only one."""

    rank: int = 0
    size: int = 1
    device: str | None = None  # that this process's model runs on; None: the default
    of_threads: dist.ProcessGroup | None = None  # all processes again, by way of the hosts' memory
    store: dist.Store | None = None  # of short notes that all can read

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
            tensor = torch.from_numpy(array).to(self.device or "cpu")  # NCCL adds on GPUs
            dist.all_reduce(tensor, operation)
            array[...] = tensor.cpu().numpy()

    def send(self, arrays: Mapping[str, np.ndarray], stopped: Event) -> None:
        """Send arrays to rank 0 as soon as it ``receives`` them; nothing if stopped before.

        Neither begins before the other is there, for a message that has begun cannot be stopped.
        """
        self._leave(f"offer {self.rank}")
        wait = POLL_S
        while not self._take(f"ask {self.rank}"):
            if stopped.wait(wait):
                return
            wait = min(2 * wait, LONGEST_POLL_S)  # hundreds may be waiting for rank 0
        forms = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
        dist.send_object_list([forms], 0, self.of_threads)
        for array in arrays.values():
            for piece in _pieces(torch.from_numpy(array)):
                dist.send(piece, 0, self.of_threads)

    def receive(self, rank: int) -> dict[str, np.ndarray] | None:
        """In rank 0, what a process is sending; None where it is sending nothing."""
        if not self._take(f"offer {rank}"):
            return None
        self._leave(f"ask {rank}")
        forms: list[Any] = [None]
        dist.recv_object_list(forms, rank, self.of_threads)
        arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in forms[0].items()}
        for array in arrays.values():
            for piece in _pieces(torch.from_numpy(array)):
                dist.recv(piece, rank, self.of_threads)
        return arrays

    def _leave(self, note: str) -> None:
        if self.store is not None:
            self.store.set(note, "")

    def _take(self, note: str) -> bool:
        return self.store is not None and self.store.check([note]) and self.store.delete_key(note)

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
        of_threads = dist.new_group(timeout=LONGEST_WAIT, backend="gloo")
        yield Processes(rank, size, device, of_threads, store)
    finally:
        dist.destroy_process_group()
