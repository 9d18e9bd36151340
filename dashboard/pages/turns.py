"""One queue for everything that keeps the processor or the GPU busy, whoever asked for it.

Models and kernels use all cores by themselves: two at once are slower than one after the other, and
on a GPU may not fit together. So whatever runs one takes its turn, in the order in which it asked.
Work that takes long gives way between two steps, so that a kernel of another visitor waits for a
layer of somebody's calibration, and not for its end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_S = 0.1  # between two looks of a run that waits, whether it is still wanted


class Turns:
    """A lock that is handed on in the order of asking; its holder may ask again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._holder: int | None = None
        self._depth = 0

    def take(self, while_waiting: Callable[[], object] | None = None) -> None:
        """Wait for one's turn, and begin it.

        Args:
            while_waiting: called now and then; what it raises ends the waiting.
        """
        own = threading.get_ident()
        with self._lock:
            if self._holder == own:
                self._depth += 1
                return
            if self._holder is None:
                self._holder, self._depth = own, 1
                return
            called = self._queue()
        self._wait(called, while_waiting)
        self._holder, self._depth = own, 1

    def end(self) -> None:
        """End one's turn, or the inner one of two; whoever has waited longest is next."""
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._hand_on()

    def give_way(self) -> None:
        """Let whoever waits go first; nothing where nobody does, or where it is not one's turn."""
        own = threading.get_ident()
        with self._lock:
            if self._holder != own or not self._waiting:
                return
            depth, called = self._depth, self._queue()
            self._hand_on()
        self._wait(called, None)
        self._holder, self._depth = own, depth

    def _queue(self) -> threading.Event:
        called = threading.Event()
        self._waiting.append(called)
        return called

    def _wait(self, called: threading.Event, while_waiting: Callable[[], object] | None) -> None:
        try:
            while not called.wait(LOOK_S):
                if while_waiting is not None:
                    while_waiting()
        except BaseException:
            with self._lock:
                if called.is_set():  # called in this very moment
                    self._hand_on()
                else:
                    self._waiting.remove(called)
            raise

    def _hand_on(self) -> None:
        if self._waiting:
            self._holder = ON_ITS_WAY
            self._waiting.popleft().set()
        else:
            self._holder = None


ON_ITS_WAY = -1  # in place of a thread's number, until the one that was called goes on

TURNS = Turns()


class ModelTurn:
    """What a model is run within: its own lock, since two users' hooks on one model would see each
    other's forward, and a turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        TURNS.take()

    def __exit__(self, *_: object) -> None:
        TURNS.end()
        self._lock.release()


@contextmanager
def turn(while_waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """For a kernel, or for anything else that needs no model; argument as of ``Turns.take``."""
    TURNS.take(while_waiting)
    try:
        yield
    finally:
        TURNS.end()
