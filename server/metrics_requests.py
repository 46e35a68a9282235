"""Counting requests, and `/metrics`, which shows what was counted."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Header
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import responses
from server.fastpath import ZOOM
from server.metrics import NO_ZOOM, Metrics


class RequestMetrics:
    """Pure ASGI behind the fast path, which counts its own: status, zoom and duration of every answer of `app`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500  # what the server sends if the application sends nothing

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        finally:
            self._metrics.requests.labels(status, scope.get(ZOOM, NO_ZOOM)).inc()
            self._metrics.request_seconds.observe(time.perf_counter() - began)


def metrics_router(metrics: Metrics) -> APIRouter:
    """`/metrics`, GET and HEAD: answered by the event loop alone, so that it never waits for a rendering."""
    router = APIRouter(tags=["operation"])
    content: dict[str, Any] = {
        kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in (CONTENT_TYPE_LATEST, OPENMETRICS)
    }
    declared: dict[int | str, dict[str, Any]] = {200: {"description": "All metrics.", "content": content}, **responses(405)}

    async def show(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """Counters and gauges in Prometheus' text format, or as OpenMetrics where Accept prefers that (docs/monitoring.md)."""
        encode, content_type = choose_encoder(accept)
        headers = {"content-type": content_type, "cache-control": "no-store"}
        return Response(encode(metrics.gathered()), headers=headers)

    router.add_api_route(
        "/metrics", show, methods=["GET"], responses=declared, response_class=Response, operation_id="getMetrics"
    )
    router.add_api_route("/metrics", show, methods=["HEAD"], include_in_schema=False)
    return router
