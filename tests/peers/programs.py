"""Programs that tests drive and that may not be there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest


def need(program: str, package: str) -> str:
    """The path of a program; skips the test where it is absent."""
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{program} is not installed ({package})")
    return found
