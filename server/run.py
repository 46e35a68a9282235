"""uvicorn around the application: its options, and how it stops."""

from __future__ import annotations

import socket

import uvicorn

from server.fastpath import FastPath
from server.renderer import TileRenderer

# For the rendering that has begun when the server is told to stop; everything queued is given up at once.
STOP_SECONDS = 5


class TileServer(uvicorn.Server):
    """Gives up queued renderings before it waits for open requests, which would otherwise wait for them."""

    def __init__(self, config: uvicorn.Config, renderer: TileRenderer) -> None:
        super().__init__(config)
        self._renderer = renderer

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when a signal has come."""
        self._renderer.stop()
        await super().shutdown(sockets)


def tile_server(application: FastPath) -> TileServer:
    """uvicorn around `application`, not yet running. Logging is the caller's."""
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        # `server.proxies` reads these headers itself and must know the true peer to tell whom to believe.
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return TileServer(config, application.api.state.renderer)


def run_server(application: FastPath, listener: socket.socket) -> None:
    """Serves `application` on `listener` until SIGINT or SIGTERM."""
    tile_server(application).run(sockets=[listener])
