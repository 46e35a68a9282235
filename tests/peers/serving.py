"""A server in a process of its own, as real clients meet it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]
START_S = 180.0


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server with cold caches in `folder` and one sampler step; it stops when the context ends."""
    port, log = free_port(), folder / "server.log"
    environment = os.environ | {"METAEARTH_STEPS": "1", "METAEARTH_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", "from server.cli import app; app()", "serve", "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_S
        while True:
            assert process.poll() is None, f"the server stopped:\n{log.read_text()}"
            assert time.monotonic() < end, f"the server did not start in {START_S:.0f} s"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                break
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def fetch(address: str) -> bytes:
    """The body at an address; raises `urllib.error.HTTPError` for anything but 200."""
    with urllib.request.urlopen(address, timeout=120) as answer:
        body: bytes = answer.read()
        return body


def picture(content: bytes) -> NDArray[np.uint8]:
    """A picture's pixels, [h, w, 3]."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def mosaic(template: str, columns: range, rows: range) -> NDArray[np.uint8]:
    """Tiles beside each other; `template` has {x} and {y}."""
    return np.vstack([np.hstack([picture(fetch(template.format(x=x, y=y))) for x in columns]) for y in rows])


def run(command: list[str], **variables: str) -> str:
    """What a program prints; fails with what it says on standard error if it fails."""
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
