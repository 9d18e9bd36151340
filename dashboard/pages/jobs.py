"""Work of the server that several visitors may wait for, as a calibration.

A job runs in a thread of its own, once, however many ask for it: each of them watches it, with the
same progress. A run of a page that ends, because a control was moved, a button pressed or the tab
closed, watches no longer; a job that nobody watches ends at its next step. It is given a moment
first, since the next run of the page may ask for the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from dashboard.pages.turns import TURNS

LOOK_S = 0.1  # between two looks of a watcher: as often as a progress bar is drawn
GRACE_S = 3.0  # for which a job goes on unwatched

Work = Callable[[Callable[[Any], None]], Any]


class Unwatched(Exception):
    """Ends a job from within."""


class Job:
    """One piece of work, its progress, and who waits for it."""

    def __init__(self, work: Work) -> None:
        self.progress: Any = None  # whatever the work says of how far it is
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.watchers = 0
        self.left_at: float | None = None  # when the last of them went
        self._work = work

    def run(self) -> None:
        """What the job's thread does."""
        try:
            self.result = self._work(self._step)
        except BaseException as error:  # for its watchers to raise
            self.error = error

    def _step(self, progress: object) -> None:
        self.progress = progress
        left_at = self.left_at
        if left_at is not None and time.monotonic() - left_at > GRACE_S:
            raise Unwatched
        TURNS.give_way()


class Jobs:
    """The jobs that are under way, by what they make."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[Hashable, Job] = {}

    def watch(self, key: Hashable, work: Work, on_progress: Callable[[Any], None]) -> Any:
        """Wait for what ``work`` makes, together with whoever waits for it already.

        Args:
            key: what it makes; who asks with the same key gets the same.
            work: called with what it is to call after each step, in a thread without a session.
            on_progress: called while it waits, with how far the job is; what it raises ends the
                waiting, and the job, if nobody else waits.

        Raises what ``work`` raises.
        """
        job = self._join(key, work)
        try:
            while not job.done.wait(LOOK_S):
                if job.progress is not None:
                    on_progress(job.progress)
        finally:
            self._leave(job)
        if isinstance(job.error, Unwatched):  # joined in the moment in which it ended
            return self.watch(key, work, on_progress)
        if job.error is not None:
            raise job.error
        return job.result

    def drop(self, key: Hashable) -> None:
        """End a job at its next step if nobody watches it: there is no next run to wait for."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and not job.watchers:
                job.left_at = time.monotonic() - GRACE_S - 1.0

    def under_way(self) -> int:
        """How many jobs there are."""
        with self._lock:
            return len(self._jobs)

    def _join(self, key: Hashable, work: Work) -> Job:
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = Job(work)
                threading.Thread(
                    target=self._run, args=(key, job), name="calibration", daemon=True
                ).start()
            job.watchers += 1
            job.left_at = None
            return job

    def _run(self, key: Hashable, job: Job) -> None:
        job.run()
        with self._lock:
            del self._jobs[key]
        job.done.set()

    def _leave(self, job: Job) -> None:
        with self._lock:
            job.watchers -= 1
            if not job.watchers:
                job.left_at = time.monotonic()


JOBS = Jobs()
