"""Traces by OpenTelemetry: what a request spent its time on. Its packages are imported only where traces are on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.fastpath import ZOOM
from server.logs import REQUEST_ID, TRACE_ID
from server.settings import Settings, SettingsError
from server.tilejson import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

Value = str | int | float | bool
Attributes = dict[str, Value]
# At the end of the process, for spans that have not been sent.
FLUSH_SECONDS = 3
EXPORTERS = ("otlp", "console", "none")


class Traces:
    """No traces: what the application calls where they are off. Spans are named after what happens, in lower case."""

    @contextlib.contextmanager
    def span(self, name: str, **attributes: Value) -> Iterator[Attributes]:
        """A span of the request under way, as long as the block runs; what is put into the dictionary becomes attributes."""
        yield {}

    def past(self, name: str, seconds: float, **attributes: Value) -> None:
        """A span that ends now and began `seconds` ago."""

    @contextlib.contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Attributes]:
        """The span of a request, the parent of all others; it goes on with the trace that `headers` name."""
        yield {}

    def close(self) -> None:
        """Sends what has not been sent."""


class OpenTelemetryTraces(Traces):
    """Traces sent by OTLP over HTTP, or wherever the standard OTEL_* variables say."""

    def __init__(self, processor: SpanProcessor | None) -> None:
        """Spans go to `processor`; name, attributes and sampling follow OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and
        OTEL_TRACES_SAMPLER."""
        from opentelemetry import propagate, trace
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider

        # What the operator says of the service overrules what we say.
        ours = Resource({SERVICE_NAME: "metaearth", SERVICE_VERSION: VERSION})
        resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if processor is not None:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("metaearth", VERSION)
        self._extract = propagate.extract
        self._server = trace.SpanKind.SERVER

    @contextlib.contextmanager
    def span(self, name: str, **attributes: Value) -> Iterator[Attributes]:
        with self._tracer.start_as_current_span(name, attributes=attributes) as span:
            yield from _filled(span)

    def past(self, name: str, seconds: float, **attributes: Value) -> None:
        now = time.time_ns()
        self._tracer.start_span(name, attributes=attributes, start_time=now - int(seconds * 1e9)).end(now)

    @contextlib.contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Attributes]:
        attributes: Attributes = {"http.request.method": method, "url.path": path}
        with self._tracer.start_as_current_span(
            method, context=self._extract(headers), kind=self._server, attributes=attributes
        ) as span:
            TRACE_ID.set(f"{span.get_span_context().trace_id:032x}")
            yield from _filled(span)

    def close(self) -> None:
        self._provider.force_flush(1000 * FLUSH_SECONDS)
        self._provider.shutdown()


def open_traces(settings: Settings) -> Traces:
    """The traces that `settings` and the OTEL_* variables ask for.

    Raises:
        SettingsError: if they are on and cannot be had: the packages are missing, or the exporter is none of `EXPORTERS`.
    """
    if not settings.traces:
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"METAEARTH_TRACES=true: the package {error.name} is not installed; pip install 'metaearth-tiles[otel]', "
            "or leave METAEARTH_TRACES out."
        ) from error
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if exporter not in EXPORTERS:
        raise SettingsError(f"OTEL_TRACES_EXPORTER={exporter}: must be one of {', '.join(EXPORTERS)}")
    if exporter == "otlp" and protocol not in (None, "", "http/protobuf"):
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: must be http/protobuf")
    if exporter == "console":
        return OpenTelemetryTraces(SimpleSpanProcessor(ConsoleSpanExporter()))
    return OpenTelemetryTraces(BatchSpanProcessor(OTLPSpanExporter()) if exporter == "otlp" else None)


class RequestTraces:
    """Pure ASGI: one span for each request that `app` answers."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app, self._traces = app, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._traces.request(scope["method"], scope["path"], headers) as span:

            async def send_and_see(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span["http.response.status_code"] = message["status"]
                await send(message)

            if ZOOM in scope:
                span["zoom"] = scope[ZOOM]
            span["request_id"] = REQUEST_ID.get()
            await self._app(scope, receive, send_and_see)


def _filled(span: Span) -> Iterator[Attributes]:
    """What a span's block puts into the dictionary becomes the span's attributes at its end."""
    added: Attributes = {}
    try:
        yield added
    finally:
        span.set_attributes(added)
