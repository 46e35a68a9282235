"""What the OGC's executable test suites are given: the session's application, and its service metadata."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.ows_schemas import CAPABILITIES, valid
from tests.wmts_requests import CAPS, KVP


@pytest.fixture(scope="module")
def document(shared_client: TestClient) -> Any:
    """The service metadata of WMTS that its suite starts from."""
    return valid(shared_client.get(KVP, params=CAPS).content, CAPABILITIES)


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One application for all assertions."""
    return shared_client
