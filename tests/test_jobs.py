"""A server's work: once for all who want it, in turns, and no longer than somebody waits."""

import threading
import time
from collections.abc import Callable

import pytest

from dashboard.calibration import CalibrationError, Progress
from dashboard.pages import jobs
from dashboard.pages.jobs import Jobs
from dashboard.pages.turns import Turns

WAIT_S = 30  # at most, for another thread; nothing here takes a tenth of a second


class Steps:
    """Work that goes on step by step, when it is let."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.begun = steps, 0, 0
        self.let = threading.Semaphore(0)

    def __call__(self, on_progress: Callable[[Progress], None]) -> str:
        self.begun += 1
        for step in range(self.steps):
            assert self.let.acquire(timeout=WAIT_S)
            on_progress(Progress(step, self.steps, 0, 1, 1))
            self.done += 1
        return "made"


class Watcher(threading.Thread):
    """A visitor, who may go."""

    def __init__(self, own: Jobs, work: Callable, key: str = "key") -> None:
        super().__init__(daemon=True)
        self.own, self.work, self.key = own, work, key
        self.seen: list[int] = []
        self.goes = False
        self.result: object = None
        self.start()

    def run(self) -> None:
        def show(progress: Progress) -> None:
            self.seen.append(progress.batch)
            if self.goes:
                raise KeyboardInterrupt

        try:
            self.result = self.own.watch(self.key, self.work, show)
        except BaseException as error:
            self.result = error

    def sees(self, batch: int) -> None:
        until(lambda: batch in self.seen)


def until(holds: Callable[[], object]) -> None:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < WAIT_S
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(jobs, "LOOK_S", 0.005)


def test_two_who_want_the_same_watch_one_job_and_get_what_it_makes():
    own, work = Jobs(), Steps(2)
    watchers = [Watcher(own, work), Watcher(own, work)]
    until(lambda: own.under_way() == 1 and work.begun == 1)
    work.let.release()
    for watcher in watchers:
        watcher.sees(0)
    work.let.release()
    for watcher in watchers:
        watcher.join(WAIT_S)
        assert watcher.result == "made"
    assert work.begun == 1 and own.under_way() == 0


def test_one_may_go_and_the_other_gets_the_result(monkeypatch):
    monkeypatch.setattr(jobs, "GRACE_S", 0.0)
    own, work = Jobs(), Steps(3)
    stays, goes = Watcher(own, work), Watcher(own, work)
    work.let.release()
    stays.sees(0)
    goes.sees(0)
    goes.goes = True
    goes.join(WAIT_S)
    assert isinstance(goes.result, KeyboardInterrupt)
    work.let.release(2)
    stays.join(WAIT_S)
    assert stays.result == "made" and work.done == 3


def test_what_nobody_watches_ends_at_its_next_step(monkeypatch):
    monkeypatch.setattr(jobs, "GRACE_S", 0.0)
    own, work = Jobs(), Steps(3)
    goes = Watcher(own, work)
    work.let.release()
    goes.sees(0)
    goes.goes = True
    goes.join(WAIT_S)
    work.let.release(2)
    until(lambda: own.under_way() == 0)
    assert work.done == 1
    work.let.release(3)  # whoever comes later begins anew
    assert own.watch("key", work, lambda _: None) == "made"
    assert work.begun == 2


def test_who_comes_back_within_a_moment_goes_on_watching():
    own, work = Jobs(), Steps(2)
    goes = Watcher(own, work)
    work.let.release()
    goes.sees(0)
    goes.goes = True
    goes.join(WAIT_S)
    comes_back = Watcher(own, work)
    until(lambda: work.begun == 1)
    work.let.release()
    comes_back.join(WAIT_S)
    assert comes_back.result == "made" and work.begun == 1


def test_a_press_on_stop_waits_no_moment_and_takes_nothing_from_others():
    own, work = Jobs(), Steps(3)
    stays, goes = Watcher(own, work), Watcher(own, work)
    work.let.release()
    stays.sees(0)
    goes.sees(0)
    own.drop("key")  # one watches
    work.let.release()
    stays.sees(1)
    for watcher in (stays, goes):
        watcher.goes = True
        watcher.join(WAIT_S)
    own.drop("key")
    work.let.release()
    until(lambda: own.under_way() == 0)
    assert work.done == 2
    own.drop("key")  # of which there is none any more


def test_an_error_is_that_of_all_who_wait():
    own, begin = Jobs(), threading.Event()

    def work(_on_progress: Callable) -> None:
        begin.wait(WAIT_S)
        raise CalibrationError("a sentence")

    watchers = [Watcher(own, work), Watcher(own, work)]
    until(lambda: own.under_way())
    begin.set()
    for watcher in watchers:
        watcher.join(WAIT_S)
        assert isinstance(watcher.result, CalibrationError)
    assert own.under_way() == 0


def test_turns_are_taken_in_the_order_of_asking():
    turns, order = Turns(), []

    def visitor(number: int) -> None:
        turns.take()
        order.append(number)
        turns.end()

    turns.take()
    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=visitor, args=(number,), daemon=True))
        threads[-1].start()
        until(lambda: len(turns._waiting) == len(threads))
    turns.end()
    for thread in threads:
        thread.join(WAIT_S)
    assert order == [0, 1, 2, 3, 4]


def test_nobody_has_a_turn_while_another_has():
    turns, inside, most = Turns(), [0], [0]

    def visitor() -> None:
        for _ in range(200):
            turns.take()
            turns.take()  # again, by the same
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            turns.end()
            turns.end()

    threads = [threading.Thread(target=visitor, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert most[0] == 1 and turns._holder is None and not turns._waiting


def test_long_work_gives_way_and_goes_on_afterwards():
    turns, order = Turns(), []

    def short() -> None:
        turns.take()
        order.append("short")
        turns.end()

    turns.take()
    turns.take()
    turns.give_way()  # nobody waits
    thread = threading.Thread(target=short, daemon=True)
    thread.start()
    until(lambda: turns._waiting)
    turns.give_way()
    order.append("long")
    assert order == ["short", "long"]
    turns.end()
    assert turns._holder is not None
    turns.end()
    assert turns._holder is None


def test_who_does_not_want_its_turn_any_more_leaves_the_queue():
    turns, errors = Turns(), []
    turns.take()

    def stale() -> None:
        def still() -> None:
            raise InterruptedError

        try:
            turns.take(still)
        except InterruptedError as error:
            errors.append(error)

    thread = threading.Thread(target=stale, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert errors and not turns._waiting
    turns.end()
    turns.take()
    turns.end()
