"""Traces as a collector gets them: OTLP over HTTP, received by the test and decoded by the protocol's own classes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.settings import SettingsError
from server.traces import open_traces
from tests.conftest import MakeSettings

ROOT = Path(__file__).resolve().parents[1]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """A receiver of OTLP/HTTP on a port of its own; `spans` in the order they came, `resource` of the last."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.spans: list[Any] = []
        self.resource: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    outer.resource = {a.key: a.value.string_value for a in resource.resource.attributes}
                    outer.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the variables name; skips without the packages of the extra otel."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="metaearth-tiles[otel] is not installed")
    here = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", here.address)
    yield here
    here.close()


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_rendered_tile_is_one_trace_with_its_parts(
    make_settings: MakeSettings, planet: Planet, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "globe")
    with TestClient(create_app(make_settings(traces=True), planet)) as client:
        before = planet.evaluations
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
        assert client.get("/6/17/23.png", headers=headers).status_code == 200
        calls = (planet.evaluations - before) * planet.steps
        assert client.get("/6/17/23.png", headers=headers).status_code == 200, "from memory: no span"
        assert client.get("/nothing").status_code == 404
    spans = collector.spans
    assert collector.resource["service.name"] == "globe"
    assert collector.resource["service.version"]
    mine = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    assert len(spans) == 6
    assert set(mine) == {"GET", "cache lookup", "queue", "render", "encode"}
    root = mine.pop("GET")
    assert root.parent_span_id.hex() == PARENT
    assert all(span.parent_span_id == root.span_id for span in mine.values())
    told = attributes(root)
    assert told["http.request.method"] == "GET"
    assert told["url.path"] == "/6/17/23.png"
    assert told["http.response.status_code"] == 200
    assert (told["zoom"], told["request_id"]) == (6, "mine")
    assert attributes(mine["render"]) == {"zoom": 6, "evaluations": calls}
    assert attributes(mine["encode"]) == {"format": "png"}
    assert attributes(mine["cache lookup"]) == {"zoom": 6, "found": False}
    for name in ("cache lookup", "queue", "render", "encode"):
        assert root.start_time_unix_nano <= mine[name].start_time_unix_nano <= mine[name].end_time_unix_nano
        assert mine[name].end_time_unix_nano <= root.end_time_unix_nano
    assert mine["queue"].end_time_unix_nano <= mine["render"].start_time_unix_nano + 1_000_000
    (other,) = [span for span in spans if span.trace_id.hex() != TRACE]
    assert attributes(other)["http.response.status_code"] == 404


def test_a_collector_that_is_gone_costs_neither_requests_nor_the_end(
    make_settings: MakeSettings, planet: Planet, collector: Collector
) -> None:
    with TestClient(create_app(make_settings(traces=True), planet)) as client:
        collector.close()
        assert client.get("/2/1/1.png").status_code == 200
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 15


def test_missing_packages_and_bad_exporters_are_one_sentence(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    settings = make_settings(traces=True)
    for variable, value in (("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            with pytest.raises(SettingsError, match=rf"^{variable}={value}: must be "):
                open_traces(settings)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(SettingsError, match=r"METAEARTH_TRACES=true: .*metaearth-tiles\[otel\]"):
        open_traces(settings)
    assert open_traces(make_settings()).close() is None  # type: ignore[func-returns-value]


def test_neither_sdk_nor_exporter_are_imported_when_it_is_off() -> None:
    """FastAPI itself imports the bare interface where it is installed."""
    parts = ("opentelemetry.sdk", "opentelemetry.exporter")
    code = f"import sys, server.app; print([name for name in sys.modules if name.startswith({parts})])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
