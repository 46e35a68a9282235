"""Servers in processes of their own, and what Linux says about them."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN = 180.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Server:
    """A server process on `port`; all that it and its children print goes into the file `log`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.pid, self.port, self.log = process, process.pid, port, log

    def tree(self) -> list[int]:
        """The process and all its descendants, the oldest first."""
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self) -> float:
        """Processor time of all its threads and descendants so far, user and system; resolution 10 ms."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def memory(self, name: str = "VmHWM") -> int:
        """A memory figure of /proc/PID/status in bytes, summed over the tree: VmHWM is the peak of what was resident, VmRSS
        the present."""
        total = 0
        for pid in self.tree():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(name + ":"):
                    total += int(line.split()[1]) * 1024
        if not total:
            raise KeyError(name)
        return total

    def get(self, path: str, timeout: float = 600) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of one GET on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}

    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, ready: str, within: float = READY_WITHIN) -> float:
        """Seconds until `ready` answered 200; raises RuntimeError, with the output, if it ends or does not in time."""
        begin = time.monotonic()
        while time.monotonic() - begin < within:
            if self.process.poll() is not None:
                raise RuntimeError(f"The server ended with {self.process.returncode}: {self.printed().strip()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get(ready, within)[0] == 200:
                    return time.monotonic() - begin
            time.sleep(0.05)
        raise RuntimeError(f"The server did not answer {ready} within {within:.0f} s: {self.printed().strip()}")

    def kill(self) -> None:
        """SIGKILL to the whole tree at once, as the kernel does to a container; returns when all are gone."""
        for pid in self.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL half a minute later."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


def start(command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> Server:
    """Starts `command`, which the caller ends; its output is appended to `log`.

    A free port is appended as its last argument, unless it listens on `port` by itself.
    """
    if not port:
        port = free_port()
        command = [*command, str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    return Server(process, port, log)


@contextlib.contextmanager
def running(command: Sequence[str], ready: str, environment: Mapping[str, str], port: int = 0) -> Iterator[Server]:
    """Runs `command` until `ready` answers 200, ends it at the exit. A free port is appended as its last argument, unless it
    listens on `port` by itself.

    Raises:
        RuntimeError: if the server ends or does not answer in time; with its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        server = start(command, environment, port, Path(folder) / "output.log")
        try:
            server.wait(ready)
            yield server
        finally:
            server.stop()


def metaearth_command(*options: str) -> list[str]:
    """`metaearth serve` of this checkout with `options`; the port follows as the last argument."""
    return [sys.executable, "-c", "from server.cli import app; app()", "serve", *options, "--port"]


def metaearth_environment(cache_dir: Path, **settings: object) -> dict[str, str]:
    """`settings` as METAEARTH_ variables, the caches in `cache_dir`."""
    environment = {f"METAEARTH_{name.upper()}": str(value) for name, value in settings.items()}
    return {"METAEARTH_LOG_LEVEL": "warning", **environment, "METAEARTH_CACHE_DIR": str(cache_dir)}


def metaearth(cache_dir: Path, **settings: object) -> contextlib.AbstractContextManager[Server]:
    """`metaearth serve` with its caches in `cache_dir` and `settings` as METAEARTH_ variables."""
    return running(metaearth_command(), "/health", metaearth_environment(cache_dir, **settings))
