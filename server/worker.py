"""One of the processes that a supervisor starts: `python -m server.worker`, its orders on standard input.

The first line there is JSON: settings and the descriptors that the supervisor has left open. When standard input ends the
supervisor is gone, and the worker stops as if told to. Each line it writes to `reports` is a word for the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import Any

import typer

from server.failures import one_line_errors
from server.logs import configure_logging
from server.settings import load_settings

STDIN = 0
# Words of a worker: that it serves, what computes here follows; that its memory has grown beyond its bound.
READY, GROWN = "ready", "grown"


def main() -> None:
    """Serves until SIGTERM, SIGINT, or the end of standard input."""
    orders = _orders()
    with one_line_errors():
        settings = load_settings(**orders["settings"])
        configure_logging(settings)

        from server.app import create_app
        from server.run import TileServer, tile_server, what_serves

        application = create_app(settings, buckets=os.fdopen(orders["buckets"], "r+b"))

    def report(word: str) -> None:
        with contextlib.suppress(OSError):  # of a supervisor that is gone
            os.write(orders["reports"], f"{word}\n".encode())

    async def serve(server: TileServer, listener: socket.socket) -> None:
        def orders_end() -> None:
            if not os.read(STDIN, 4096):
                asyncio.get_running_loop().remove_reader(STDIN)
                server.should_exit = True

        asyncio.get_running_loop().add_reader(STDIN, orders_end)
        await server.serve(sockets=[listener])

    server = tile_server(application)
    server.warm = lambda: report(f"{READY} {what_serves(application)}")
    server.grown = lambda: report(GROWN)
    with (
        contextlib.suppress(KeyboardInterrupt),
        socket.socket(fileno=orders["listener"]) as listener,
        asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner,
    ):
        runner.run(serve(server, listener))


def _orders() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(STDIN, 1)
        if not part:
            raise SystemExit("server.worker is started by metaearth serve --workers")
        line += part
    orders: dict[str, Any] = json.loads(line)
    return orders


if __name__ == "__main__":
    try:
        main()
    except typer.Exit as failure:  # what has gone wrong is said already
        raise SystemExit(failure.exit_code) from None
