"""Addresses of a Redis: one server (TCP, TLS, unix socket), Sentinel, Cluster; and the clients for each.

    redis://[[user]:password@]host[:6379][/db]        rediss:// the same over TLS
    unix://[[user]:password@]/path/to/redis.sock[?db=0]
    redis+sentinel://[[user]:password@]host[:26379][,host...]/service[/db]     rediss+sentinel:// over TLS
    redis+cluster://[[user]:password@]host[:6379][,host...]                    rediss+cluster:// over TLS

All take redis-py's connection options as a query string: ?socket_timeout=1&max_connections=20&ssl_ca_certs=/ca.pem; with
Sentinel also sentinel_username and sentinel_password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from cache.errors import CacheError

Client: TypeAlias = "redis.Redis | redis.RedisCluster"
AsyncClient: TypeAlias = "aio.Redis | aio.RedisCluster"

# A tile must not wait longer than this for a cache; the circuit breaker spares all others the wait.
TIMEOUT_SECONDS = 0.5
FORMS = (
    "redis://host:6379/0, rediss://..., unix:///path/redis.sock, redis+sentinel://host:26379,host2/service/0 "
    "or redis+cluster://host:6379,host2"
)
PORTS = {"redis": 6379, "sentinel": 26379, "cluster": 6379}

# A batch of tiles is read at a few strokes; redis-py's own 64 KiB is less than one PNG.
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class RedisTarget:
    """Where the shared cache is: makes clients, connects to nothing. `shown` is the address without its password."""

    kind: str
    shown: str
    url: str
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    sentinel_options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> RedisTarget:
        """The target that `url` names; raises `CacheError`, one sentence without the password, if it names none."""
        shown = without_password(url)
        scheme = url.partition("://")[0]
        try:
            if scheme in ("redis", "rediss", "unix"):
                target = cls._single(url, shown)
            elif scheme in ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
                target = cls._several(url, shown, scheme)
            else:
                raise ValueError("the scheme is none that is known")
            target._prove()
        except (ValueError, TypeError, AttributeError, redis.RedisError) as error:
            reason = re.sub(r"\S*__init__\(\) got an unexpected keyword argument", "there is no option", str(error))
            raise CacheError(f"The cache address {shown} cannot be used: {reason.rstrip('.')}; write {FORMS}.") from error
        return target

    @cached_property
    def timeout(self) -> float:
        """Seconds that a command may take."""
        options = parse_url(self.url) if self.kind == "single" else self.options
        return float(options.get("socket_timeout") or TIMEOUT_SECONDS)

    def client(self) -> Client:
        """A blocking client for any thread; with a cluster this connects, and raises what redis-py raises."""
        retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
        options = self._client_options() | {"retry": retry}
        if self.kind == "cluster":
            from redis.cluster import ClusterNode

            return redis.RedisCluster(startup_nodes=[ClusterNode(*node) for node in self.nodes], **options)
        if self.kind == "sentinel":
            from redis.sentinel import Sentinel

            sentinel = Sentinel(list(self.nodes), sentinel_kwargs=self.sentinel_options)
            master: redis.Redis = sentinel.master_for(self.service, **options)
            return master
        return redis.Redis.from_url(self.url, **options)

    def async_client(self) -> AsyncClient:
        """A client for the event loop that runs."""
        # A connection that has died since it was used last is replaced at once; a server that is slow is not asked twice.
        retry = AsyncRetry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
        # `RedisLink` has a time-out of its own, which does not run while the event loop stands still.
        options = self._client_options() | {"retry": retry, "socket_timeout": None}
        if self.kind == "cluster":
            from redis.asyncio.cluster import ClusterNode

            return aio.RedisCluster(startup_nodes=[ClusterNode(*node) for node in self.nodes], **options)
        options = {"socket_read_size": READ_BYTES, **options}
        if self.kind == "sentinel":
            from redis.asyncio.sentinel import Sentinel

            sentinel = Sentinel(list(self.nodes), sentinel_kwargs=self.sentinel_options)
            master: aio.Redis = sentinel.master_for(self.service, **options)
            return master
        return aio.Redis.from_url(self.url, **options)

    def _client_options(self) -> dict[str, Any]:
        return {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS, **self.options}

    def _prove(self) -> None:
        """Builds a connection object, which knows all options, without connecting it."""
        if self.kind == "single":
            pool = redis.ConnectionPool.from_url(self.url)
            pool.connection_class(**pool.connection_kwargs)
        else:
            options = {name: value for name, value in self.options.items() if name not in ("ssl", "max_connections")}
            kind = redis.SSLConnection if self.options.get("ssl") else redis.Connection
            kind(host="localhost", **options)
            redis.Connection(host="localhost", **{k: v for k, v in self.sentinel_options.items() if k != "ssl"})

    @classmethod
    def _single(cls, url: str, shown: str) -> RedisTarget:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            if not parts.path.strip("/"):
                raise ValueError("the path of the socket is missing")
        else:
            if not parts.hostname:
                raise ValueError("the host is missing")
            _ = parts.port  # raises ValueError for a port that is none
            if not re.fullmatch(r"/?|/\d+", parts.path, re.ASCII):
                raise ValueError(f"the database {parts.path[1:]!r} is no number")
        return cls("single", shown, url)

    @classmethod
    def _several(cls, url: str, shown: str, scheme: str) -> RedisTarget:
        kind = scheme.partition("+")[2]
        # urlsplit takes one host; what stands around the hosts is read here, and the query by redis-py.
        rest, _, query = url.partition("://")[2].partition("?")
        head, _, path = rest.partition("/")
        login, _, hosts = head.rpartition("@")
        options: dict[str, Any] = dict(parse_url(f"redis://h/?{query}"))
        options.pop("host", None)
        sentinel_options = {
            name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
        }
        user, colon, password = login.partition(":")
        if user:
            options["username"] = unquote(user)
        if colon:
            options["password"] = unquote(password)
        if scheme.startswith("rediss"):
            options["ssl"] = True
            sentinel_options["ssl"] = True
        nodes = tuple(_node(host, PORTS[kind]) for host in hosts.split(","))
        names = [unquote(name) for name in path.strip("/").split("/") if name]
        service = ""
        if kind == "sentinel":
            if not names or len(names) > 2 or not all(re.fullmatch(r"\d+", db, re.ASCII) for db in names[1:]):
                raise ValueError("after the hosts comes /service or /service/database")
            service = names[0]
            options["db"] = int(names[1]) if len(names) == 2 else 0
            sentinel_options |= {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
        elif names and names != ["0"]:
            raise ValueError("a cluster has no databases beside 0")
        return cls(kind, shown, url, nodes, service, options, sentinel_options)


def without_password(url: str) -> str:
    """`url` as it may stand in a log: whatever precedes the @, and any password in its query, left out."""
    url = re.sub(r"(?<=//)[^/@]*(?:/[^@]*)?@", "***@", url, count=1)
    return re.sub(r"(password=)[^&]*", r"\1***", url)


def _node(text: str, port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#\[\]]+)(?::(\d{1,5}))?", text)
    if found is None or (found[2] is not None and not 0 < int(found[2]) < 65536):
        raise ValueError(f"{text!r} is no host or host:port")
    return found[1].strip("[]"), int(found[2] or port)
