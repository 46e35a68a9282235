"""One real server process for the tests of this directory that neither kill it nor need it empty."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.process import Server, metaearth
from model.base import default_cache_dir

# The issue's own counts take most of an hour; without this variable the tests do a part of each.
FULL = os.environ.get("METAEARTH_TEST_FULL") == "1"


def amount(full: int, part: int) -> int:
    """`full` where METAEARTH_TEST_FULL=1 asks for all, else `part`."""
    return full if FULL else part


def with_base(folder: Path) -> Path:
    """`folder` with this user's reprojected base picture in it, which spares a server the work."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in default_cache_dir().glob("base-*"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`metaearth serve` at one step, with memory and disk caches."""
    with metaearth(with_base(tmp_path_factory.mktemp("load")), steps=1, log_level="info") as started:
        yield started
