"""The processes that `docker compose up cpu` starts, with the files and the environment that it gives them, on this machine's
loopback: redis-server, `metaearth serve`, nginx."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.process import free_port
from docker.local import nginx_conf, redis_conf
from tests.compose_services import ROOT, load
from tests.peers.browser import wait_for

# What a test cannot wait for; and for `Stack.asked` a log that is written at once, with the checks that nginx makes by itself.
TEST_PLACES = {
    "patience": ("client_header_timeout 10s", "client_header_timeout 2s"),
    "at_once": (" buffer=32k flush=1s", ""),
    "checks": ("server_tokens off;", "server_tokens off; log_subrequest on;"),
}
# Of a second nginx, for what happens to old tiles.
HASTY = {"validity": ("proxy_cache_valid 200 10m", "proxy_cache_valid 200 1s")}


@dataclass
class Stack:
    """The running processes; `url` is nginx's. A second nginx, on `hasty_port`, keeps tiles for one second."""

    folder: Path
    nginx_port: int
    hasty_port: int
    redis_port: int
    server_port: int
    client: httpx.Client
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """nginx's address, without a slash at the end."""
        return f"http://127.0.0.1:{self.nginx_port}"

    def get(self, path: str, **headers: str) -> httpx.Response:
        """GET through nginx, with underscores in the names of headers for hyphens."""
        return self.client.get(self.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def hasty(self, path: str) -> httpx.Response:
        """GET through the second nginx."""
        return self.client.get(f"http://127.0.0.1:{self.hasty_port}{path}")

    def start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Starts a process by the name of its service."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def start_server(self) -> None:
        """`metaearth serve`, waited for until /health answers through nginx."""
        self.start("server", [sys.executable, "-m", "server.cli", "serve"], self.environment)
        wait_for(lambda: self.alive("server") and self.get("/health").status_code == 200, 120, "the server")

    def alive(self, name: str) -> bool:
        """True; fails with the process' log if it has ended."""
        assert self.processes[name].poll() is None, (self.folder / f"{name}.log").read_text()
        return True

    def kill(self, name: str) -> None:
        """kill -9, and waits for the end."""
        self.processes[name].kill()
        self.processes[name].wait(30)

    def asked(self, path: str, name: str = "nginx") -> list[dict[str, Any]]:
        """What an nginx has logged of requests for `path` that it sent to the server, those it made itself included."""
        lines = (self.folder / name / "access.log").read_text(encoding="utf-8").splitlines()
        return [line for line in map(json.loads, lines) if line["uri"] == path and line["upstream_seconds"]]


def server_environment(folder: Path, server_port: int, redis_port: int) -> dict[str, str]:
    """The environment of the service `cpu`, its addresses put elsewhere, and one sampler step."""
    environment: dict[str, str] = dict(load()["services"]["cpu"]["environment"])
    moved = {
        "METAEARTH_HOST": ("0.0.0.0", "127.0.0.1"),
        "METAEARTH_PORT": ("8000", str(server_port)),
        "METAEARTH_CACHE_DIR": ("/var/cache/metaearth", str(folder / "cache")),
        "METAEARTH_CACHE_URL": ("redis://redis:6379/0", f"redis://127.0.0.1:{redis_port}/0"),
        "METAEARTH_TRUSTED_PROXIES": ("172.30.84.0/24", "127.0.0.1"),
    }
    for name, (there, here) in moved.items():
        assert environment[name] == there
        environment[name] = here
    return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment, "METAEARTH_STEPS": "1"}


def nginx_command() -> list[str]:
    """nginx, or what TEST_NGINX names: another version."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    command = shlex.split(os.environ.get("TEST_NGINX", found or ""))
    if not command:
        pytest.skip("nginx is not installed (Debian: nginx)")
    return command


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """The processes, until the end of the block."""
    redis = shutil.which("redis-server")
    if redis is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    nginx = nginx_command()
    nginx_port, hasty_port, redis_port, server_port = (free_port() for _ in range(4))
    with httpx.Client(timeout=120, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        environment = server_environment(folder, server_port, redis_port)
        made = Stack(folder, nginx_port, hasty_port, redis_port, server_port, client, environment)
        services = load()["services"]
        try:
            assert services["redis"]["entrypoint"] == ["redis-server", "/etc/redis/redis.conf"]
            made.start("redis", [redis, str(redis_conf(folder / "redis", made.redis_port))])
            assert services["nginx"]["entrypoint"] == ["nginx", "-g", "daemon off;"]
            for name, port, places in (("nginx", made.nginx_port, {}), ("hasty", made.hasty_port, HASTY)):
                conf = nginx_conf(folder / name, port, f"127.0.0.1:{made.server_port}", **TEST_PLACES, **places)
                made.start(name, [*nginx, "-g", "daemon off;", "-c", str(conf), "-e", str(folder / "nginx-start.log")])
            wait_for(lambda: made.alive("nginx") and made.alive("hasty") and made.alive("redis") and answers(made), 30, "nginx")
            made.start_server()
            yield made
        finally:
            for process in reversed(made.processes.values()):
                process.terminate()
            for process in made.processes.values():
                process.wait(60)


def answers(made: Stack) -> bool:
    """Whether nginx's own health check is content."""
    try:
        return bool(re.match(r"Active connections: \d+", made.get("/nginx/status").text))
    except httpx.TransportError:
        return False
