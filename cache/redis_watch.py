"""The thread that watches a Redis: hears of claims that end, renews those of this process, and finds it again when lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from cache.redis_keys import CHANNEL, RENEW
from cache.redis_lease import LEASE_SECONDS, Lease
from cache.redis_link import FAILURES, RedisLink, evaluate

logger = logging.getLogger(__name__)

RENEW_SECONDS = LEASE_SECONDS / 4
LISTEN_SECONDS = 0.2
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
# How long the start waits to learn whether there is a Redis.
VERDICT_SECONDS = 1.5


class RedisWatch:
    """A thread with a connection of its own to the server of `link`; the link is available while it listens.

    So a lost connection is noticed at once, and a server that hangs by the time-out of the next command or, without
    traffic, of the ping that goes out with every renewal.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._leases: dict[str, Lease] = {}
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._verdict = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis-watch", daemon=True)
        link.on_down(self._wake_all)

    def start(self) -> None:
        """Starts the thread, and waits until it has reached the server or failed to."""
        self._thread.start()
        self._verdict.wait(VERDICT_SECONDS)

    def close(self) -> None:
        """Ends the thread; claims still held run out."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(2)
        self._wake_all()

    def hold(self, lease: Lease) -> None:
        """Renews `lease` until it is dropped."""
        with self._lock:
            self._leases[lease.key] = lease

    def drop(self, lease: Lease) -> None:
        """Renews it no more."""
        with self._lock:
            if self._leases.get(lease.key) is lease:
                del self._leases[lease.key]

    def listen(self, message: str, wake: Callable[[], None]) -> None:
        """Has `wake` called, from another thread, whenever the claim `message` ends or Redis is lost."""
        with self._lock:
            self._waiters.setdefault(message, []).append(wake)

    def ignore(self, message: str, wake: Callable[[], None]) -> None:
        """Takes a `listen` back."""
        with self._lock:
            waiters = self._waiters.get(message, [])
            if wake in waiters:
                waiters.remove(wake)
            if not waiters:
                self._waiters.pop(message, None)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            pubsub = None
            try:
                pubsub = self._subscribe()
                began = time.monotonic()
                self._link.recovered()
                self._verdict.set()
                self._listen(pubsub)
                if time.monotonic() - began > 10 * LONGEST_PAUSE:
                    pause = FIRST_PAUSE
            except FAILURES as error:
                if not self._closed.is_set():
                    self._link.failed(error, certain=True)
            except Exception as error:  # redis-py has let others through; the thread must outlive them all
                logger.debug("watching %s", self._link.target.shown, exc_info=True)
                self._link.failed(error, certain=True)
            finally:
                self._verdict.set()
                if pubsub is not None:
                    pubsub.close()
            self._closed.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _subscribe(self) -> Any:
        client = self._link.client()
        client.ping()
        if isinstance(client, redis.RedisCluster):
            # Messages reach every node of a cluster, so that any one will do.
            client = client.get_redis_connection(client.get_random_node())
        pubsub = client.pubsub()
        pubsub.subscribe(CHANNEL)
        if pubsub.get_message(timeout=1.0) is None:
            raise redis.TimeoutError("no answer to SUBSCRIBE")
        return pubsub

    def _listen(self, pubsub: Any) -> None:
        due = time.monotonic() + RENEW_SECONDS
        while self._link.available and not self._closed.is_set():
            message = pubsub.get_message(timeout=LISTEN_SECONDS)
            if message is not None and message["type"] == "message":
                self._wake(message["data"].decode("utf-8", "replace"))
            if self._link.suspected:
                # By a socket of this thread, whose time-out does not run while an event loop stands still.
                self._link.client().ping()
                self._link.suspected = False
            if time.monotonic() >= due:
                due = time.monotonic() + RENEW_SECONDS
                self._renew()

    def _renew(self) -> None:
        with self._lock:
            leases = list(self._leases.values())
        client = self._link.client()
        client.ping()
        for lease in leases:
            if not evaluate(client, RENEW, [lease.lock], [lease.token, int(LEASE_SECONDS * 1000)]):
                # Expired while this process stood still, or flushed; what it makes is stored only if nobody took over.
                self.drop(lease)

    def _wake(self, message: str) -> None:
        with self._lock:
            waiters = list(self._waiters.get(message, ()))
        for wake in waiters:
            wake()

    def _wake_all(self) -> None:
        with self._lock:
            waiters = [wake for waiting in self._waiters.values() for wake in waiting]
        for wake in waiters:
            wake()
