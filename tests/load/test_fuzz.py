"""Hostile URLs, headers and bodies: no 5xx, no hang, no traceback (issue 5)."""

from __future__ import annotations

import pytest

from bench.process import Server
from tests.load.conftest import amount
from tests.load.fuzzing import fuzz

TILE = "/4/8/5.png"


@pytest.mark.timeout(1800)
def test_hostile_requests_break_nothing(server: Server) -> None:
    before = server.get(TILE)
    verdict = fuzz(server, amount(20_000, 1_000), seed=5)
    assert verdict.faults == []
    # The attack reached routes as well as the parser in front of them.
    assert {"200", "400", "404", "405", "422"} <= set(verdict.answers)
    assert server.get("/health")[0] == 200
    assert server.get(TILE)[:2] == before[:2]
