"""How much of its work a test does: all of it for `make soak`, a part for `make test`, which has ten minutes."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
FULL = os.environ.get("METAEARTH_TEST_FULL") == "1"


def amount(full: T, part: T) -> T:
    """`full` where METAEARTH_TEST_FULL=1 asks for all, else `part`."""
    return full if FULL else part
