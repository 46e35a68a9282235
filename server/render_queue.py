"""The queue of the thread that renders: bounded, what is looked at first, and nothing for those who have left.

Three classes: tiles in somebody's view, tiles fetched ahead (`Sec-Purpose: prefetch`), and bulk work (boxes, exports).
Of tiles the newest request goes first, for that is where the map is now; bulk work keeps its order.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, TypeVar, cast

from server.errors import QueueFullError, RenderError

T = TypeVar("T")
STOPPING = "The server is stopping; try again in a few seconds."
# A piece of bulk work that has waited so long gets one turn, or a busy server would never finish a box.
BULK_PATIENCE_S = 60.0
# By how much threads that compute are nicer than the event loop (nice(2)), which must answer hits while they work.
NICENESS = 5


class Priority(IntEnum):
    """What goes first; the names in lower case are the labels of metrics."""

    VIEWPORT = 0
    PREFETCH = 1
    BULK = 2


PRIORITY: ContextVar[Priority] = ContextVar("PRIORITY", default=Priority.VIEWPORT)
"""The class of the request that is being answered, as `server.limits` found it in its headers."""


class QueueObserver(Protocol):
    """Who wants to know what happens in a queue; called from any thread, with the queue's lock held: must be quick."""

    def began(self, priority: Priority, waited_s: float) -> None:
        """Work begins that has waited so long."""

    def ended(self, priority: Priority, took_s: float) -> None:
        """It has ended, well or not."""

    def dropped(self, priority: Priority) -> None:
        """Work was taken out before it began, for nobody waited for it any more."""

    def refused(self, priority: Priority) -> None:
        """Work was refused, or had to make room, for the queue was full."""


@dataclass(eq=False, slots=True)
class _Entry:
    """Work that waits for its turn; `number` grows with time."""

    work: Callable[[], Any]
    key: str | None
    priority: Priority
    number: int
    since: float = field(default_factory=time.monotonic)
    future: Future[Any] = field(default_factory=Future)

    @property
    def rank(self) -> tuple[int, int]:
        """The least is the first."""
        return self.priority, self.number if self.priority is Priority.BULK else -self.number


class RenderQueue:
    """Runs work in one thread, the most urgent first; thread-safe.

    At most `limit` tiles wait and at most `bulk_limit` boxes are under way. A tile that comes when the queue is full takes
    the place of the one that is least urgent, if that is of a lower class, and is refused otherwise. `turn` is entered
    around every piece of work, before it is chosen: processes that share a device take turns by it.
    """

    def __init__(self, limit: int, bulk_limit: int, turn: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._limit, self._bulk_limit, self._turn = limit, bulk_limit, turn
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._entries: set[_Entry] = set()
        self._keyed: dict[str, _Entry] = {}
        # By key, the requests that wait for it: number and class.
        self._waiters: dict[str, dict[int, Priority]] = {}
        self._jobs = 0
        self._stopping = self._pumping = False
        self._pool = ThreadPoolExecutor(1, "render", initializer=step_back)
        self._observers: list[QueueObserver] = []
        self.totals: Counter[tuple[str, Priority]] = Counter()
        """How often by now: ("began" | "dropped" | "refused", class)."""

    def observe(self, observer: QueueObserver) -> None:
        """Tells `observer` what happens from now on."""
        self._observers.append(observer)

    def depth(self) -> dict[Priority, int]:
        """How much waits at this moment, by class; what is being rendered does not count."""
        with self._lock:
            counts = Counter(entry.priority for entry in self._entries)
        return {priority: counts[priority] for priority in Priority}

    @property
    def stopping(self) -> bool:
        """Whether it takes no more work."""
        return self._stopping

    @contextmanager
    def waiting(self, key: str) -> Iterator[None]:
        """While a request waits for the work named `key`: has it go before older work of the request's class.

        When the last one has left, work under that name that has not begun is dropped, and what would come is too.
        """
        number = next(self._numbers)
        with self._lock:
            self._waiters.setdefault(key, {})[number] = PRIORITY.get()
            self._rank(key)
        try:
            yield
        finally:
            with self._lock:
                waiters = self._waiters[key]
                del waiters[number]
                if not waiters:
                    del self._waiters[key]
                self._rank(key)

    @contextmanager
    def job(self) -> Iterator[None]:
        """A seat for bulk work of one or more pieces; raises `QueueFullError` if all are taken."""
        with self._lock:
            if self._jobs >= self._bulk_limit:
                self._note("refused", Priority.BULK)
                raise QueueFullError(
                    f"{self._jobs} boxes are being rendered, as many as are at a time; try again in a few seconds."
                )
            self._jobs += 1
        try:
            yield
        finally:
            with self._lock:
                self._jobs -= 1

    def submit_tile(self, key: str, work: Callable[[], T]) -> Future[T]:
        """Queues `work` for those who are `waiting` for `key`; cancelled at once if there is nobody.

        Raises:
            QueueFullError: if there is no room; whoever had to make room gets it from its future.
            RenderError: if the queue is stopped.
        """
        with self._lock:
            entry = _Entry(work, key, *self._urgency(key))
            if key not in self._waiters:
                entry.future.cancel()
                self._note("dropped", entry.priority)
            else:
                self._make_room(entry)
                self._add(entry)
                self._keyed[key] = entry
        return cast("Future[T]", entry.future)

    def submit_bulk(self, work: Callable[[], T]) -> Future[T]:
        """Queues a piece of bulk work, which is never refused: a `job` bounds it. Raises `RenderError` if stopped."""
        entry = _Entry(work, None, Priority.BULK, next(self._numbers))
        with self._lock:
            self._add(entry)
        return cast("Future[T]", entry.future)

    def stop(self) -> None:
        """Takes no more work and gives up what waits, whose futures get a `RenderError`; what has begun goes on."""
        with self._lock:
            self._stopping = True
            for entry in list(self._entries):
                self._give_up(entry, RenderError(STOPPING))
        self._pool.shutdown(wait=False)

    def close(self) -> None:
        """As `stop`, and waits for what has begun."""
        self.stop()
        self._pool.shutdown()

    def _add(self, entry: _Entry) -> None:
        if self._stopping:
            raise RenderError(STOPPING)
        self._entries.add(entry)
        entry.future.add_done_callback(lambda future: self._cancelled(entry) if future.cancelled() else None)
        if not self._pumping:
            self._pumping = True
            self._pool.submit(self._pump)

    def _make_room(self, entry: _Entry) -> None:
        tiles = [queued for queued in self._entries if queued.key is not None]
        if len(tiles) < self._limit:
            return
        last = max(tiles, key=lambda queued: queued.rank)
        if last.priority <= entry.priority:
            self._note("refused", entry.priority)
            raise QueueFullError(_full(len(tiles)))
        self._note("refused", last.priority)
        self._give_up(last, QueueFullError(_full(len(tiles))))

    def _urgency(self, key: str) -> tuple[Priority, int]:
        """Class and number of the most urgent request that waits for `key`."""
        waiters = self._waiters.get(key)
        if not waiters:
            return PRIORITY.get(), next(self._numbers)
        priority = min(waiters.values())
        return priority, max(number for number, of in waiters.items() if of is priority)

    def _rank(self, key: str) -> None:
        entry = self._keyed.get(key)
        if entry is None:
            return
        if key in self._waiters:
            entry.priority, entry.number = self._urgency(key)
        else:
            entry.future.cancel()

    def _cancelled(self, entry: _Entry) -> None:
        with self._lock:
            if entry in self._entries:
                self._remove(entry)
                self._note("dropped", entry.priority)

    def _give_up(self, entry: _Entry, error: RenderError) -> None:
        self._remove(entry)
        if entry.future.set_running_or_notify_cancel():
            entry.future.set_exception(error)

    def _remove(self, entry: _Entry) -> None:
        self._entries.discard(entry)
        if entry.key is not None and self._keyed.get(entry.key) is entry:
            del self._keyed[entry.key]

    def _take(self) -> _Entry | None:
        """The next entry, begun; None, and the pump at an end, if nothing waits."""
        with self._lock:
            while self._entries:
                entry = self._first()
                self._remove(entry)
                if entry.future.set_running_or_notify_cancel():
                    self._note("began", entry.priority, time.monotonic() - entry.since)
                    return entry
                self._note("dropped", entry.priority)
            self._pumping = False
            return None

    def _first(self) -> _Entry:
        overdue = time.monotonic() - BULK_PATIENCE_S
        patient = [entry for entry in self._entries if entry.priority is Priority.BULK and entry.since < overdue]
        return min(patient or self._entries, key=lambda entry: entry.rank)

    def _pump(self) -> None:
        """In the thread: one piece of work after the other until nothing waits."""
        while True:
            with self._turn():
                entry = self._take()
                if entry is None:
                    return
                begun = time.monotonic()
                try:
                    result = entry.work()
                except BaseException as error:
                    entry.future.set_exception(error)
                else:
                    entry.future.set_result(result)
                with self._lock:
                    for observer in self._observers:
                        observer.ended(entry.priority, time.monotonic() - begun)
                del entry  # with its result, while the thread waits for the next

    def _note(self, event: str, priority: Priority, *values: float) -> None:
        self.totals[event, priority] += 1
        for observer in self._observers:
            getattr(observer, event)(priority, *values)


def step_back() -> None:
    """Called by a thread that computes, before anything else: it, and what it starts, leaves processors to the event loop."""
    thread = threading.get_native_id()
    # Linux has niceness by thread, and new threads, such as those of OpenMP, have that of their maker.
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


def _full(count: int) -> str:
    return f"The server is asked for more than it can render ({count} tiles wait); try again in a few seconds."
