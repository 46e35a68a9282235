"""The queue of renderings by itself: its order, its bounds, and what it drops."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack

import pytest

from server import render_queue
from server.errors import QueueFullError, RenderError
from server.render_queue import PRIORITY, Priority, RenderQueue


class Held:
    """A queue whose thread is at work until `open` is set, so that what is queued stays there."""

    def __init__(self, limit: int = 8, bulk_limit: int = 2) -> None:
        self.queue = RenderQueue(limit, bulk_limit)
        self.done: list[str] = []
        self.open, self._begun = threading.Event(), threading.Event()
        self._stack = ExitStack()
        self.futures: dict[str, Future[None]] = {}

        def first() -> None:
            self._begun.set()
            assert self.open.wait(30)

        self.first = self.queue.submit_bulk(first)
        assert self._begun.wait(30)

    def wait_for(self, key: str, priority: Priority = Priority.VIEWPORT) -> ExitStack:
        """A request that waits for `key` until the stack is closed."""
        token = PRIORITY.set(priority)
        waiting = ExitStack()
        waiting.enter_context(self.queue.waiting(key))
        PRIORITY.reset(token)
        self._stack.push(waiting)
        return waiting

    def tile(self, key: str, priority: Priority = Priority.VIEWPORT) -> ExitStack:
        """A request for a tile, and the tile's work."""
        waiting = self.wait_for(key, priority)
        self.futures[key] = self.queue.submit_tile(key, lambda: self.done.append(key))
        return waiting

    def bulk(self, key: str) -> None:
        """A piece of bulk work."""
        self.futures[key] = self.queue.submit_bulk(lambda: self.done.append(key))

    def finish(self) -> list[str]:
        """Lets the thread go on; what was done, in that order."""
        self.open.set()
        for future in self.futures.values():
            if not future.cancelled() and not future.done():
                future.exception(30)
        self._stack.close()
        self.queue.close()
        return self.done


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.finish()


def test_the_newest_first_viewport_before_prefetch_bulk_last_and_in_its_order(held: Held) -> None:
    held.bulk("box 1")
    held.tile("a")
    held.tile("ahead 1", Priority.PREFETCH)
    held.tile("b")
    held.bulk("box 2")
    held.tile("ahead 2", Priority.PREFETCH)
    held.tile("c")
    assert held.queue.depth() == {Priority.VIEWPORT: 3, Priority.PREFETCH: 2, Priority.BULK: 2}
    assert held.finish() == ["c", "b", "a", "ahead 2", "ahead 1", "box 1", "box 2"]
    assert held.queue.depth() == dict.fromkeys(Priority, 0)


def test_who_asks_again_has_it_go_first_and_who_looks_makes_a_prefetch_urgent(held: Held) -> None:
    held.tile("a")
    held.tile("b")
    held.tile("ahead", Priority.PREFETCH)
    held.tile("c")
    held.wait_for("a")
    held.wait_for("ahead")
    looked = held.wait_for("b")
    looked.close()  # who came last for b has left again: it is as old as it was
    assert held.finish() == ["ahead", "a", "c", "b"]


def test_work_whose_waiters_have_all_left_is_dropped(held: Held) -> None:
    requests = [held.tile(f"{number}") for number in range(5)]
    second = held.wait_for("4")
    for request in requests:
        request.close()
    assert held.queue.depth()[Priority.VIEWPORT] == 1, "somebody still waits for 4"
    second.close()
    assert held.queue.depth() == dict.fromkeys(Priority, 0)
    assert all(future.cancelled() for future in held.futures.values())
    assert held.queue.submit_tile("late", lambda: held.done.append("late")).cancelled(), "all left before it was queued"
    assert held.queue.totals["dropped", Priority.VIEWPORT] == 6
    assert held.finish() == []


def test_a_full_queue_refuses_at_once_and_makes_room_for_what_is_more_urgent() -> None:
    held = Held(limit=3)
    held.tile("ahead 1", Priority.PREFETCH)
    held.tile("ahead 2", Priority.PREFETCH)
    held.tile("a")
    held.bulk("box")  # does not count: its bound is that of jobs
    with pytest.raises(QueueFullError, match="3 tiles wait"):
        held.tile("ahead 3", Priority.PREFETCH)
    held.tile("b")
    with pytest.raises(QueueFullError):
        held.futures["ahead 1"].result(0)
    held.tile("c")
    with pytest.raises(QueueFullError):
        held.tile("d")
    assert held.queue.totals["refused", Priority.PREFETCH] == 3
    assert held.queue.totals["refused", Priority.VIEWPORT] == 1
    del held.futures["ahead 1"], held.futures["ahead 2"]
    assert held.finish() == ["c", "b", "a", "box"]


def test_boxes_have_seats(held: Held) -> None:
    with held.queue.job(), held.queue.job(), pytest.raises(QueueFullError, match="2 boxes"), held.queue.job():
        pass
    with held.queue.job():
        pass


def test_bulk_work_that_has_waited_for_long_gets_a_turn(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.bulk("box")
    held.tile("a")
    monkeypatch.setattr(render_queue, "BULK_PATIENCE_S", -1.0)
    held.tile("b")
    assert held.finish() == ["box", "b", "a"]


def test_errors_go_to_who_waits_and_the_thread_goes_on(held: Held) -> None:
    def fails() -> None:
        raise ValueError("broken")

    held.wait_for("bad")
    bad = held.queue.submit_tile("bad", fails)
    held.tile("good")
    held.open.set()
    with pytest.raises(ValueError, match="broken"):
        bad.result(30)
    assert held.finish() == ["good"]


def test_a_stopped_queue_gives_up_what_waits_finishes_what_has_begun_and_takes_nothing(held: Held) -> None:
    held.tile("a")
    held.bulk("box")
    held.queue.stop()
    for future in held.futures.values():
        with pytest.raises(RenderError, match="stopping"):
            future.result(0)
    with pytest.raises(RenderError, match="stopping"):
        held.bulk("late")
    held.wait_for("late")
    with pytest.raises(RenderError, match="stopping"):
        held.queue.submit_tile("late", lambda: None)
    assert not held.first.done()
    held.open.set()
    assert held.first.result(30) is None


def test_the_thread_and_what_it_starts_leave_processors_to_the_event_loop(held: Held) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def of_both() -> list[int]:
        found = [niceness()]
        child = threading.Thread(target=lambda: found.append(niceness()))
        child.start()
        child.join()
        return found

    held.open.set()
    assert held.queue.submit_bulk(of_both).result(30) == [min(19, niceness() + render_queue.NICENESS)] * 2


class Observed:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def began(self, priority: Priority, waited_s: float) -> None:
        assert 0 <= waited_s < 30
        self.seen.append(f"began {priority.name}")

    def ended(self, priority: Priority, took_s: float) -> None:
        assert 0 <= took_s < 30
        self.seen.append(f"ended {priority.name}")

    def dropped(self, priority: Priority) -> None:
        self.seen.append(f"dropped {priority.name}")

    def refused(self, priority: Priority) -> None:
        self.seen.append(f"refused {priority.name}")


def test_observers_are_told(held: Held) -> None:
    observed = Observed()
    held.queue.observe(observed)
    held.tile("left", Priority.PREFETCH).close()
    held.tile("a")
    held.finish()
    assert observed.seen == ["dropped PREFETCH", "ended BULK", "began VIEWPORT", "ended VIEWPORT"]
