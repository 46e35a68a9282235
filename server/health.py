"""Liveness, and what computes here."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from model import Planet
from server.errors import responses


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


def health_router(planet: Planet) -> APIRouter:
    """`/health`, GET and HEAD: answered by the event loop alone, so that it never waits for a rendering."""
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

    router.add_api_route("/health", health, methods=["GET"], responses=responses(405))
    router.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)
    return router
