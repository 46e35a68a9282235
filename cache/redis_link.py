"""The way to a Redis that may be down, slow, full or restarted: its clients, a circuit breaker, and what is counted."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cache.redis_url import AsyncClient, Client, RedisTarget

logger = logging.getLogger(__name__)

T = TypeVar("T")
# All that a command may raise; RedisClusterException is no RedisError.
FAILURES = (RedisError, RedisClusterException, OSError)
# Refusals to write by a server that is well otherwise: full, a replica, unable to save.
REFUSALS = (OutOfMemoryError, ReadOnlyError)
REFUSAL_CODES = ("OOM", "READONLY", "MISCONF", "NOREPLICAS")
REFUSED_SECONDS = 5.0
GRACE_SECONDS = 0.05
# Time-outs one after another, without an answer between them, that need no second opinion.
STRIKES = 3
# An outage so soon after the last one is the same: it has been told.
SAME_OUTAGE_SECONDS = 2.0


@dataclass
class RedisCounters:
    """What has happened since the process started; read without a lock."""

    hits: int = 0
    misses: int = 0
    stored: int = 0
    corrupt: int = 0
    errors: int = 0
    outages: int = 0
    refused_writes: int = 0
    fenced_writes: int = 0
    claims: int = 0
    waits: int = 0


class RedisLink:
    """Runs commands on a Redis, and none while it is down: `available` then is False, and everything is a miss.

    Nothing here raises what Redis may do. A failure opens the circuit, with one warning; only `redis_watch` closes it
    again, with one line, so that no tile ever waits for an attempt to reconnect. A time-out may be our own fault, for the
    event loop may have stood still: the link is then `suspected`, and the watching thread finds out. Safe from any thread;
    the asynchronous half from one event loop.
    """

    def __init__(self, target: RedisTarget, ttl: int = 0) -> None:
        """Connects to nothing yet. `ttl`: seconds that a value is kept, 0 for as long as there is room."""
        self.target = target
        self.ttl_ms = ttl * 1000
        self.counters = RedisCounters()
        self.available = False
        self.suspected = False
        self._strikes = 0
        self._struck_at = 0.0
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._async: tuple[asyncio.AbstractEventLoop, AsyncClient] | None = None
        self._warned = False
        self._recovered_at = float("-inf")
        self._refused_until = 0.0
        self._refusing = False
        self._down: list[Callable[[], None]] = []

    @property
    def writable(self) -> bool:
        """Whether it is worth trying to store anything."""
        return self.available and (not self._refusing or time.monotonic() >= self._refused_until)

    def on_down(self, call: Callable[[], None]) -> None:
        """Has `call` called, from any thread, when an outage begins."""
        self._down.append(call)

    def client(self) -> Client:
        """The blocking client; raises what redis-py raises if the nodes of a cluster cannot be asked."""
        with self._lock:
            if self._client is None:
                self._client = self.target.client()
            return self._client

    def async_client(self) -> AsyncClient:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._async is None or self._async[0] is not loop:
            self._async = (loop, self.target.async_client())
        return self._async[1]

    def run(self, command: Callable[[Client], T]) -> T | None:
        """The result of `command`, or None if Redis fails or is known to be down."""
        if not self.available:
            return None
        try:
            answer = command(self.client())
        except FAILURES as error:
            self.failed(error)
            return None
        self._strikes = 0
        return answer

    async def run_async(self, command: Callable[[AsyncClient], Awaitable[T]]) -> T | None:
        """The same from the event loop; cancelling it gives the command up."""
        if not self.available:
            return None
        task = asyncio.ensure_future(command(self.async_client()))
        try:
            await asyncio.wait((task,), timeout=self.target.timeout)
            if not task.done():
                # Where the event loop stood still, the answer is there and only has not been read.
                await asyncio.wait((task,), timeout=GRACE_SECONDS)
            if not task.done():
                raise RedisTimeoutError("no answer in time")
            answer = task.result()
        except FAILURES as error:
            self.failed(error)
            return None
        finally:
            if not task.done():
                task.cancel()
        self._strikes = 0
        return answer

    def wrote(self) -> None:
        """Notes that a write was taken."""
        if self._refusing:
            self._refusing = False
            logger.info("the shared cache %s takes entries again", self.target.shown)

    def failed(self, error: Exception, *, certain: bool = False) -> None:
        """Notes a failure: of one write, or of the server, which opens the circuit; a time-out only if it is `certain`."""
        with self._lock:
            self.counters.errors += 1
            if isinstance(error, RedisTimeoutError) and not certain and self.available and not self._struck_out():
                self.suspected = True
                return
            if _is_refusal(error):
                self.counters.refused_writes += 1
                self._refused_until = time.monotonic() + REFUSED_SECONDS
                if not self._refusing:
                    self._refusing = True
                    reason = _reason(error)
                    logger.warning("the shared cache %s takes no entries (%s); reading on", self.target.shown, reason)
                return
            if not self.available and self.counters.outages:
                return
            self.available = False
            self.counters.outages += 1
            if not self._warned and time.monotonic() - self._recovered_at > SAME_OUTAGE_SECONDS:
                self._warned = True
                logger.warning(
                    "the shared cache %s fails (%s); serving without it, trying again in the background",
                    self.target.shown,
                    _reason(error),
                )
        for call in self._down:
            call()

    def recovered(self) -> None:
        """Closes the circuit."""
        with self._lock:
            self.available, self.suspected, self._strikes = True, False, 0
            if self.counters.outages:  # to be connected for the first time is no recovery
                self._recovered_at = time.monotonic()
            if self._warned:
                self._warned = False
                logger.info("the shared cache %s answers again", self.target.shown)

    def _struck_out(self) -> bool:
        """Counts time-outs, those of one moment as one; whether they are enough to believe."""
        now = time.monotonic()
        if now - self._struck_at > self.target.timeout:
            self._struck_at = now
            self._strikes += 1
        return self._strikes >= STRIKES

    def close(self) -> None:
        """Closes the blocking client."""
        self.available = False
        with self._lock:
            if self._client is not None:
                for client in (self._client, *_sentinels(self._client)):
                    client.close()

    async def aclose(self) -> None:
        """Closes the client of this event loop."""
        if self._async is not None and self._async[0] is asyncio.get_running_loop():
            for client in (self._async[1], *_sentinels(self._async[1])):
                await client.aclose()
            self._async = None


def evaluate(client: Any, script: str, keys: list[str], arguments: list[Any]) -> Any:
    """Runs a script: on a client, a pipeline or their asynchronous kinds.

    By its text and not by its digest: a Redis that was restarted or flushed knows no digests, and the text is short.
    """
    return client.eval(script, len(keys), *keys, *arguments)


def _sentinels(client: Any) -> list[Any]:
    """The clients by which that of a Sentinel's service finds its server, which it does not close itself."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


def _is_refusal(error: Exception) -> bool:
    # redis-py takes the code off the text of errors that it has a class for, and only of those.
    coded = isinstance(error, ResponseError) and any(code in str(error) for code in REFUSAL_CODES)
    return coded or isinstance(error, REFUSALS)


def _reason(error: Exception) -> str:
    if isinstance(error, RedisTimeoutError):
        return "no answer in time"
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
