"""What cannot be asked of `/bbox`: each mistake gets a sentence that says what to change."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One application for all: nothing here is rendered."""
    return shared_client


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("0,0,0,1.png", 422, "empty"),
        ("0,2,1,1.png", 422, "inverted"),
        ("nan,0,1,1.png", 422, "finite"),
        ("0,0,inf,1.png", 422, "finite"),
        ("0,0,1e999,1.png", 422, "finite"),
        ("a,0,1,1.png", 422, "minx must be a number"),
        ("200,0,210,1.png", 422, "outside"),
        ("0,95,1,96.png", 422, "latitudes"),
        ("0,86,1,87.png", 422, "85.0511"),
        ("-180,0,181,1.png", 422, "wider"),
        ("0,0,1,1.png?bbox_crs=EPSG:1", 422, "EPSG:1"),
        ("0,0,1,1.png?crs=mars", 422, "mars"),
        ("0,0,1,1.png?crs=EPSG:4978", 422, "4978"),
        ("0,0,1,1.png?width=0", 422, "width"),
        ("0,0,1,1.png?width=-5", 422, "width"),
        ("0,0,1,1.png?height=1.5", 422, "height"),
        ("0,0,1,1.png?width=1e300", 413, "POST /exports"),
        ("0,0,1,1.png?width=100&zoom=3", 422, "width and zoom"),
        ("0,0,1,1.png?resolution=10&zoom=3", 422, "resolution and zoom"),
        ("0,0,1,1.png?resolution=0", 422, "resolution"),
        ("0,0,1,1.png?resolution=nan", 422, "resolution"),
        ("0,0,1,1.png?zoom=21", 422, "zoom"),
        ("0,0,1,1.gif", 422, "gif"),
        ("0,0,1,1.png?format=bmp", 422, "bmp"),
        ("0,0,90,80.png?width=5000&height=5000", 413, "POST /exports"),
        ("0,0,90,80.png?zoom=20", 413, "POST /exports"),
        ("0,0,90,1.webp?width=20000&height=1", 422, "16383"),
        ("1,2,3,4,5.png", 422, "minx"),
        ("500000,0,600000,100000.png?bbox_crs=EPSG:32633&width=1&height=10&crs=EPSG:3995", 200, ""),
    ],
)
def test_mistakes_get_a_sentence(client: TestClient, path: str, status: int, word: str) -> None:
    answer = client.get(f"/bbox/{path}")
    assert answer.status_code == status, answer.text[:200]
    if word:
        assert word in answer.json()["detail"] and answer.json()["detail"].endswith(".")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("{", "no valid JSON"),
        ("[]", "JSON object"),
        ("{}", "bbox is missing"),
        ('{"bbox": [0, 0, 1]}', "bbox"),
        ('{"bbox": [0, 0, NaN, 1]}', "finite"),
        ('{"bbox": [0, 0, 1, 1], "sise": 3}', "sise"),
        ('{"bbox": [0, 0, 1, 1], "format": "bmp"}', "bmp"),
        ('{"bbox": [0, 0, 1, 1], "width": 5, "zoom": 5}', "width and zoom"),
        ('{"bbox": [0, 0, 1, 1], "clip": {"type": "Point", "coordinates": [0, 0]}}', "Polygon"),
        ('{"bbox": [0, 0, 1, 1], "clip": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}', "ring"),
        ('{"bbox": [0, 0, 1, 1], "clip": {"type": "Polygon", "coordinates": [[[0,0],[1,NaN],[1,1],[0,0]]]}}', "ring"),
        ('{"bbox": [0, 0, 1, 1], "clip": {"type": "Polygon", "coordinates": [[[9,9],[8,9],[8,8],[9,9]]]}}', "no pixel"),
    ],
)
def test_mistakes_in_a_body(client: TestClient, body: str, word: str) -> None:
    answer = client.post("/bbox", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text[:200]
    assert word in answer.json()["detail"]
