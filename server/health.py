"""Liveness, readiness, and what computes here: answered by the event loop alone, so that neither waits for a rendering."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from model import Planet
from model.errors import ModelError
from server.errors import RenderError, error_response, responses
from server.render_queue import STOPPING
from server.renderer import TileRenderer

logger = logging.getLogger(__name__)

RETRY_S = 5.0
NO_STORE = {"cache-control": "no-store"}


class Health(BaseModel):
    """The server is up, and this is what it serves."""

    status: Literal["ok"] = "ok"
    planet: str
    seed: int
    device: str
    precision: str = Field(description="number format of the denoiser's convolutions: bf16 or fp32")
    threads: int
    steps: int = Field(description="sampler steps")
    weights: str = Field(description="SHA-256 of the weights file")
    identity: str = Field(description="digest of all that determines pixels")


class Ready(BaseModel):
    """The model is loaded, the caches are there, and the server does not stop."""

    status: Literal["ready"] = "ready"


class Readiness:
    """Whether requests may be sent here. `checks` answer a sentence for what is wrong at the moment, or None; at once.

    A planet comes with its weights loaded, so that it is ready; `warm_up` is for servers, which first prove that it
    computes.
    """

    def __init__(self, renderer: TileRenderer, checks: Sequence[Callable[[], str | None]]) -> None:
        self._renderer, self._checks = renderer, checks
        self._missing: str | None = None

    def fault(self) -> str | None:
        """Why not, in a sentence; None if ready."""
        if self._renderer.stopping:
            return STOPPING
        return self._missing or next(filter(None, (check() for check in self._checks)), None)

    async def warm_up(self) -> None:
        """Has the model evaluated once, which loads what is loaded late; not ready before, and tried again until it works."""
        self._missing = "The model has not been evaluated yet; try again in a few seconds."
        while not self._renderer.stopping:
            try:
                await self._renderer.work(_evaluate, "the first pixel")
            except (RenderError, ModelError) as error:
                self._missing = f"The model cannot be evaluated: {error}"
                logger.warning("not ready: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                self._missing = None
                return


def _evaluate(planet: Planet) -> None:
    planet.read(planet.base_zoom + 2, 0, 256 << (planet.base_zoom + 1), 1, 1)


def health_router(planet: Planet, readiness: Readiness) -> APIRouter:
    """`/health` and `/ready`, GET and HEAD."""
    router = APIRouter(tags=["operation"])
    info = planet.info()  # once: nothing of it changes, and the planet may be busy when somebody asks
    answer = Health(
        planet=info.name,
        seed=info.seed,
        device=info.device,
        precision=info.precision,
        threads=info.threads,
        steps=info.steps,
        weights=info.weights_hash,
        identity=info.identity,
    )

    async def health() -> Health:
        """Whether the server answers, and with which device, precision and weights it renders."""
        return answer

    async def ready(response: Response) -> Ready | Response:
        """Whether requests may be sent here: the model is loaded, the caches are reachable, the server does not stop."""
        fault = readiness.fault()
        if fault is not None:
            return error_response(503, fault)
        response.headers.update(NO_STORE)
        return Ready()

    router.add_api_route("/health", health, methods=["GET"], responses=responses(405))
    router.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)
    router.add_api_route("/ready", ready, methods=["GET"], response_model=Ready, responses=responses(405, 503))
    router.add_api_route("/ready", ready, methods=["HEAD"], response_model=Ready, include_in_schema=False)
    return router
