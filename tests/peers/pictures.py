"""Pictures from a server, and programs that are run: what tests of map clients share."""

from __future__ import annotations

import io
import os
import subprocess
import urllib.request

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


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
