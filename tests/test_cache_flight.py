"""Single-flight: one computation for many, errors of one's own, and waiters who leave."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cache import SingleFlight, look_in, run_in


def test_many_callers_share_one_computation() -> None:
    async def main() -> None:
        flight: SingleFlight[int] = SingleFlight()
        calls = 0

        async def work() -> int:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0.01)
            return 42

        assert await asyncio.gather(*(flight.do("key", work) for _ in range(200))) == [42] * 200
        assert calls == 1
        assert len(flight) == 0
        assert await flight.do("key", work) == 42, "a landed flight is not remembered: caches are for that"
        assert calls == 2

    asyncio.run(main())


def test_an_error_goes_to_its_owner_and_the_others_try_themselves() -> None:
    async def main() -> None:
        flight: SingleFlight[str] = SingleFlight()
        attempts = 0

        async def work() -> str:
            nonlocal attempts
            attempts += 1
            await asyncio.sleep(0.001)
            if attempts == 1:
                raise OSError("only the first attempt fails")
            return "fine"

        results = await asyncio.gather(*(flight.do("key", work) for _ in range(50)), return_exceptions=True)
        assert isinstance(results[0], OSError)
        assert results[1:] == ["fine"] * 49
        assert attempts == 2, "one of the others' attempts served all of them"

    asyncio.run(main())


def test_an_error_that_stays_reaches_everybody_as_their_own() -> None:
    async def main() -> None:
        flight: SingleFlight[str] = SingleFlight()

        async def work() -> str:
            await asyncio.sleep(0)
            raise OSError("always")

        results = await asyncio.gather(*(flight.do("key", work) for _ in range(5)), return_exceptions=True)
        assert len({id(result) for result in results}) == 5
        assert len(flight) == 0

    asyncio.run(main())


def test_a_caller_who_leaves_does_not_disturb_the_others() -> None:
    async def main() -> None:
        flight: SingleFlight[int] = SingleFlight()
        calls = 0

        async def work() -> int:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0.02)
            return 1

        first = asyncio.create_task(flight.do("key", work))
        second = asyncio.create_task(flight.do("key", work))
        await asyncio.sleep(0.005)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == 1
        assert calls == 1

    asyncio.run(main())


def test_queued_work_that_nobody_waits_for_is_dropped_and_begun_work_is_finished() -> None:
    async def main() -> None:
        flight: SingleFlight[str] = SingleFlight()
        gate = threading.Event()
        done: list[str] = []

        def work(name: str) -> str:
            gate.wait(5)
            done.append(name)
            return name

        with ThreadPoolExecutor(1) as pool:
            begun = asyncio.create_task(flight.do("begun", lambda: run_in(pool, lambda: work("begun"))))
            queued = asyncio.create_task(flight.do("queued", lambda: run_in(pool, lambda: work("queued"))))
            await asyncio.sleep(0.02)
            begun.cancel()
            queued.cancel()
            await asyncio.wait((begun, queued))
            assert len(flight) == 1, "the queued one is gone, the begun one flies on"
            late = asyncio.create_task(flight.do("begun", lambda: run_in(pool, lambda: work("again"))))
            await asyncio.sleep(0)
            gate.set()
            assert await late == "begun", "who comes back in time gets the result of the first call"
        assert done == ["begun"]

    asyncio.run(main())


def test_a_caller_who_joins_work_just_given_up_starts_it_anew() -> None:
    async def main() -> None:
        flight: SingleFlight[int] = SingleFlight()

        async def work() -> int:
            await asyncio.sleep(0.01)
            return 7

        left = asyncio.create_task(flight.do("key", work))
        await asyncio.sleep(0.002)
        left.cancel()
        joins = asyncio.create_task(flight.do("key", work))
        assert await joins == 7

    asyncio.run(main())


def test_work_that_gives_itself_up_is_not_begun_for_ever() -> None:
    begun = 0

    async def gives_up() -> None:
        nonlocal begun
        begun += 1
        raise asyncio.CancelledError

    async def ask() -> None:
        with pytest.raises(asyncio.CancelledError):
            await SingleFlight[None]().do("key", gives_up)

    asyncio.run(ask())
    assert begun == 1


def test_who_leaves_during_a_look_up_begins_nothing_after_it() -> None:
    release, begun = threading.Event(), []

    async def work(pool: ThreadPoolExecutor) -> None:
        await look_in(pool, lambda: release.wait(10))
        begun.append("rendering")

    async def ask() -> None:
        with ThreadPoolExecutor(1) as pool:
            task = asyncio.create_task(SingleFlight[None]().do("key", lambda: work(pool)))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            release.set()
            await asyncio.sleep(0.05)

    asyncio.run(ask())
    assert begun == []
