"""Single-flight for asyncio: one computation for everybody who asks for the same key at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import Generic, TypeVar

T = TypeVar("T")


class _Flight(Generic[T]):
    """One computation under way and the number of callers who still wait for it."""

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[T]):
    """Runs the work of a key once, however many callers ask for it while it is under way.

    - An error goes to the caller whose work it was; each of the others makes an attempt of its own (one of
      them, for the rest to wait for), so that nobody gets an error that belongs to another.
    - A caller who is cancelled leaves the others undisturbed. When the last one has left, the work is
      cancelled; work that goes through `run_in` drops out only while it is still queued, and else runs to its
      end and is kept. What is looked up on the way goes through `look_in`.
    - Work must look into the cache first: a caller who comes just after a flight has landed starts a new one,
      and finds the result there.

    All calls must come from one event loop.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def do(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`, or of the same key's work that is already under way."""
        while True:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._start(key, work)
            flight.waiters += 1
            try:
                # asyncio.wait neither cancels the task with its waiter nor raises what the task raised.
                await asyncio.wait((flight.task,))
            finally:
                flight.waiters -= 1
                if flight.waiters == 0 and not flight.task.done():
                    flight.task.cancel()
            # Cancelled under our own eyes, it gave itself up; it would do so again, and for ever.
            if mine or (not flight.task.cancelled() and flight.task.exception() is None):
                return flight.task.result()
            # The flight failed for its owner, or was given up by those before us: try once more, on our own
            # account.

    def _start(self, key: str, work: Callable[[], Awaitable[T]]) -> _Flight[T]:
        async def run() -> T:
            return await work()

        task = asyncio.get_running_loop().create_task(run(), name=f"flight {key}")
        flight = _Flight(task)
        self._flights[key] = flight
        task.add_done_callback(lambda done: self._land(key, done))
        return flight

    def _land(self, key: str, task: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not task.cancelled():
            # Read it, or asyncio complains of an error nobody looked at when all waiters have left.
            task.exception()


async def run_in(executor: Executor, work: Callable[[], T]) -> T:
    """Runs `work` in a thread of `executor`; cancelling drops it while it is queued and is ignored once it
    runs.

    So the result of work that has begun is never thrown away, and a queue holds nothing that nobody waits
    for. The thread sees the caller's context variables.
    """
    return await outcome(executor.submit(copy_context().run, work))


async def look_in(executor: Executor, work: Callable[[], T]) -> T:
    """Runs `work`, which only reads, in a thread of `executor`; cancelling leaves at once, whether it has begun or not.

    What comes after a look-up must not be begun for somebody who has left, as it would be after `run_in`.
    """
    return await asyncio.wrap_future(executor.submit(copy_context().run, work))


async def outcome(future: Future[T]) -> T:
    """The result of `future`, as `run_in` has it: cancelling drops work that is queued and is ignored once it runs."""
    while True:
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if future.cancel():
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
