"""What each process's batches have by themselves goes to rank 0 while others are still counted.

A batch's histograms are megabytes, and rank 0 alone writes the file: to send them all at the end
would keep it, and the GPUs of all others, waiting. So a thread of each process sends groups of
batches as soon as they are counted, and a thread of rank 0 takes them in, from whichever process
has one ready. All know beforehand which batches each process has.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dashboard.calibration.counting import Tally
from dashboard.calibration.processes import POLL_S, Processes

TOGETHER = 4  # batches that a process sends at once
LONGEST_MESSAGE_S = 10.0


class Gathering:
    """The batches of all processes on their way to rank 0's tally.

    Args:
        tally: of this process.
        batches: which each process has, by its rank, in the order in which they come to be counted.
    """

    def __init__(
        self, tally: Tally, processes: Processes, batches: Sequence[Sequence[int]]
    ) -> None:
        self._tally = tally
        self._others = tally.beside()
        self._processes = processes
        self._groups = [
            [numbers[i : i + TOGETHER] for i in range(0, len(numbers), TOGETHER)]
            for numbers in batches
        ]
        self._counted = 0  # groups of this process, whole in the tally
        self._ready: queue.SimpleQueue[Sequence[int] | None] = queue.SimpleQueue()
        self._fault: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gathering", daemon=True)
        if processes.size > 1:
            self._thread.start()

    def note(self) -> None:
        """A forward is over: groups whose batches are all in the tally by now are sent.

        Raises what has kept a batch from being sent or taken in.
        """
        if self._fault is not None:
            raise self._fault
        groups = self._groups[self._processes.rank]
        while self._counted < len(groups) and all(
            map(self._tally.has_whole, groups[self._counted])
        ):
            self._send(self._counted + 1)

    def finish(self) -> None:
        """All batches of this process are in its tally: until rank 0's has those of all others.

        Raises what kept a batch from being sent or taken in.
        """
        if self._processes.size == 1:
            return
        self._send(len(self._groups[self._processes.rank]))
        self._ready.put(None)
        self._thread.join()
        if self._fault is not None:
            raise self._fault
        self._tally.take(self._others)

    def stop(self) -> None:
        """Have the thread end, after the message that it is in."""
        self._stopped.set()
        self._ready.put(None)
        if self._thread.is_alive():
            self._thread.join(LONGEST_MESSAGE_S)

    def _send(self, counted: int) -> None:
        for group in self._groups[self._processes.rank][self._counted : counted]:
            self._ready.put(group)
        self._counted = counted

    def _run(self) -> None:
        try:
            self._take_in() if self._processes.is_first else self._give_away()
        except BaseException as fault:  # raised where it is waited for
            self._fault = fault

    def _take_in(self) -> None:
        missing = {rank: len(groups) for rank, groups in enumerate(self._groups) if rank and groups}
        while missing:
            taken = 0
            for rank in list(missing):
                if self._stopped.is_set():
                    return
                packed = self._processes.receive(rank)
                if packed is not None:
                    self._others.unpack_batches(packed)
                    taken += 1
                    missing[rank] -= 1
                    if not missing[rank]:
                        del missing[rank]
            if not taken:
                self._stopped.wait(POLL_S)

    def _give_away(self) -> None:
        while (group := self._ready.get()) is not None:
            self._processes.send(self._tally.pack_batches(group), self._stopped)
            if self._stopped.is_set():
                return


@contextmanager
def gathering(
    tally: Tally, processes: Processes, batches: Sequence[Sequence[int]]
) -> Iterator[Gathering]:
    """A ``Gathering`` that is stopped where its process fails."""
    gather = Gathering(tally, processes, batches)
    try:
        yield gather
    finally:
        gather.stop()
