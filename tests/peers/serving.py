"""An application served by uvicorn with the options of `metaearth serve`, in a thread of the tests' own process, so that
it shares the session's planet."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from server.fastpath import FastPath
from server.run import tile_server
from tests.peers.browser import wait_for


@contextlib.contextmanager
def served(application: FastPath) -> Iterator[int]:
    """The port of 127.0.0.1 on which `application` answers until the end of the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port: int = listener.getsockname()[1]
        server = tile_server(application)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive(), 30, "uvicorn")
            assert thread.is_alive(), "the server stopped"
            yield port
        finally:
            server.should_exit = True
            thread.join(30)
