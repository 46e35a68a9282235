"""Where seeded tiles are made: in this process, into the caches that the settings name, or by a server over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from urllib.parse import urlsplit

from server.errors import RETRY_SECONDS, RenderError
from server.failures import BadOptionError, CommandError
from server.renderer import TileRenderer
from server.tilekey import TileKey

TIMEOUT_SECONDS = 600.0


class BusyError(RenderError):
    """The tile's maker asks to come back after `seconds`."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class TileSource(Protocol):
    """Makes tiles and keeps them."""

    async def stored(self, keys: Sequence[TileKey]) -> set[TileKey] | None:
        """Those of `keys` that are kept; None where that cannot be known."""
        ...

    async def make(self, key: TileKey) -> int:
        """The size of the tile `key` in bytes, once it is kept; raises `RenderError` for what may pass."""
        ...


class LocalTiles:
    """The renderer of an application in this process."""

    def __init__(self, renderer: TileRenderer) -> None:
        self._renderer = renderer

    async def stored(self, keys: Sequence[TileKey]) -> set[TileKey]:
        """Asks the store that outlives the process."""
        return await self._renderer.store.stored(keys)

    async def make(self, key: TileKey) -> int:
        """As the server would."""
        return len((await self._renderer.tile(key)).body)


class RemoteTiles:
    """A server at `address`, asked over `connections` keep-alive connections."""

    def __init__(self, address: str, headers: Mapping[str, str], connections: int) -> None:
        """Raises `BadOptionError` if the address is none."""
        try:
            parts = urlsplit(address)
            self._port = parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise BadOptionError(f"--url must be the server's address such as http://127.0.0.1:8000, not {address!r}.")
        self._secure, self._host, self._prefix = parts.scheme == "https", parts.hostname, parts.path.rstrip("/")
        self._address, self._headers = address, headers
        self._pool = ThreadPoolExecutor(connections, "seed")
        self._local = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    async def stored(self, keys: Sequence[TileKey]) -> None:
        """The server knows, and answers what it has at once."""
        return

    async def make(self, key: TileKey) -> int:
        """Asks for the tile.

        Raises:
            RenderError: if the server is busy or cannot be reached at present.
            CommandError: if it refuses, which will not pass.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._get, key.path)

    def close(self) -> None:
        """Gives up what has not come yet."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in self._open:
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            connection.close()

    def _get(self, path: str) -> int:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = self._local.connection = kind(self._host, self._port, timeout=TIMEOUT_SECONDS)
            self._open.append(connection)
        try:
            connection.request("GET", self._prefix + path, headers=dict(self._headers))
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise RenderError(f"{self._address} cannot be reached ({error or type(error).__name__}).") from error
        if answer.status == 200:
            return len(body)
        sentence = _sentence(body) or answer.reason
        if answer.status in (429, 500, 502, 503, 504):
            text = answer.headers.get("retry-after", "")
            seconds = float(text) if text.isdecimal() else RETRY_SECONDS
            raise BusyError(f"{self._address} answers {answer.status}: {sentence}", seconds)
        raise CommandError(f"{self._address}{path} answers {answer.status}: {sentence}")


def _sentence(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""


def parse_headers(texts: Sequence[str]) -> dict[str, str]:
    """Options NAME:VALUE as headers; raises `BadOptionError`."""
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or not text.isprintable():
            raise BadOptionError(f"--header must be NAME:VALUE such as X-API-Key:secret, not {text!r}.")
        headers[name.strip()] = value.strip()
    return headers
