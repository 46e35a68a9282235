"""Schemathesis over the whole OpenAPI document against the real application: no 5xx, no undeclared status or media type, no
body beside its schema.

Cases come from a fixed seed, few of each operation, and zooms are taken to those of the base picture, which cost nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from model import Planet
from server.app import create_app
from server.fastpath import FastPath
from server.settings import load_settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
CASES = 6
"""Of each operation."""
MOST = {
    **dict.fromkeys(("z", "zoom", "tilematrix", "tile_matrix"), 4),
    **dict.fromkeys(("x", "y", "tilerow", "tilecol", "tile_row", "tile_col"), 2),
    **dict.fromkeys(("width", "height"), 33),
}
"""Numbers are taken modulo these: zooms to those whose tiles of 512 px are of the base picture, tiles to such as there are."""
COARSE = "100000000"
"""The scale of all maps that have one."""
XML_ROOTS = {"tms", "wms", "wmts"}
"""Drawn as a planet's name, these lead to other operations, whose protocols want their errors in XML."""

Answered = defaultdict[str, set[int]]
"""Status codes by operation."""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def app(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> FastPath:
    """One application for all cases."""
    return create_app(load_settings(cache_dir=tmp_path_factory.mktemp("schemathesis"), steps=1), planet)


def cheap(case: Case[Any]) -> Case[Any]:
    """The same case where it costs little; what is no number stays the nuisance it is."""
    if case.path_parameters.get("planet_name") in XML_ROOTS:
        case.path_parameters["planet_name"] = "elsewhere"
    for parameters in (case.path_parameters, case.query):
        for name, value in list(parameters.items()):
            text = str(value)
            if name == "scale-denominator" and re.fullmatch(r"[0-9.]{1,18}", text):
                parameters[name] = COARSE
            most = MOST.get(name.lower())
            if most is not None and re.fullmatch(r"\d{1,18}", text):
                parameters[name] = str(int(text) % most)
    if case.operation.path == "/exports" and isinstance(case.body, dict) and case.body.get("dry_run", False) is False:
        # Jobs would go on beside all that follows.
        case.body["dry_run"] = True
    if case.operation.path.endswith("/map") and "scale-denominator" not in case.query:
        case.query.setdefault("width", "16")
    if case.operation.path.startswith("/bbox"):
        given = case.query if case.operation.method.upper() == "GET" else case.body
        if isinstance(given, dict):
            cheap_box(given)
    return case


def cheap_box(parameters: dict[str, Any]) -> None:
    """Makes a picture of a few pixels of what would be one of many."""
    if isinstance(parameters.get("zoom"), int):
        parameters["zoom"] %= MOST["zoom"]
    for name in ("width", "height"):
        if isinstance(parameters.get(name), int):
            parameters[name] %= MOST[name]
    if re.fullmatch(r"[0-9.e+-]{1,30}", str(parameters.get("resolution"))):
        parameters["resolution"] = 1_000_000
    if all(parameters.get(name) is None for name in ("width", "height", "resolution", "zoom")):
        parameters["width"] = 4


def check(case: Case[Any]) -> int:
    """Sends a case and raises unless all `CHECKS` hold for the answer; its status code."""
    response = cheap(case).call()
    case.validate_response(response, checks=CHECKS)
    return response.status_code


def failures(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, answered: Answered) -> list[str]:
    """What goes wrong with a few cases of an operation: one text, of the simplest case, or none; notes all status codes."""

    @seed(4)
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Case[Any]) -> None:
        answered[operation.label].add(check(case))

    try:
        run()
    except Unsatisfiable:  # without parameters there is nothing to get wrong
        return []
    except (Exception, FailureGroup) as error:
        return [f"{operation.label} ({mode.value}): {error}"]
    return []


def test_whole_api(app: FastPath) -> None:
    """What the document says holds, for cases that are as it says and for others."""
    api = schemathesis.openapi.from_asgi("/openapi.json", app)
    results = list(api.get_all_operations())
    operations = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(operations) == len(results), "the document is no OpenAPI"
    assert {"GET /map", "GET /{z}/{x}/{y}.{ext}", "GET /health"} <= {operation.label for operation in operations}
    answered: Answered = defaultdict(set)
    found = [text for operation in operations for mode in GenerationMode for text in failures(operation, mode, answered)]
    assert not found, "\n\n".join(found)
    # Errors alone would prove little.
    assert sum(200 in codes for codes in answered.values()) > len(operations) / 3, answered
