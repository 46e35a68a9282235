"""Servers in processes of their own, and what Linux says about them."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_READY_WITHIN = 180.0


class Server:
    """A running server process on `port`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.pid = process.pid
        self.port = port

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far, user and system; resolution 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, name: str = "VmHWM") -> int:
        """A memory figure of /proc/PID/status in bytes: VmHWM is the peak of what was resident, VmRSS the present."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise KeyError(name)

    def get(self, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of one GET on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextlib.contextmanager
def running(command: Sequence[str], ready: str, environment: Mapping[str, str], port: int = 0) -> Iterator[Server]:
    """Runs `command` until `ready` answers 200, ends it at the exit. A free port is appended as its last argument, unless it
    listens on `port` by itself.

    Raises:
        RuntimeError: if the server ends or does not answer in time; with its output.
    """
    if not port:
        port = free_port()
        command = [*command, str(port)]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    server = Server(process, port)
    try:
        _wait(server, process, ready)
        yield server
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def metaearth(cache_dir: Path, **settings: object) -> contextlib.AbstractContextManager[Server]:
    """`metaearth serve` with its caches in `cache_dir` and `settings` as METAEARTH_ variables."""
    code = "from server.cli import app; app()"
    environment = {f"METAEARTH_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {"METAEARTH_CACHE_DIR": str(cache_dir), "METAEARTH_LOG_LEVEL": "warning"}
    return running([sys.executable, "-c", code, "serve", "--port"], "/health", environment)


def _wait(server: Server, process: subprocess.Popen[bytes], ready: str) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            output = process.communicate()[0].decode(errors="replace")
            raise RuntimeError(f"The server ended with {process.returncode}: {output.strip()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.get(ready)[0] == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"The server did not answer {ready} within {_READY_WITHIN:.0f} s.")
