"""What all OGC routes share: the links of a request, the pages in HTML, and the adding of routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Depends, Path, Request, params
from pydantic import BaseModel, WithJsonSchema
from starlette.responses import HTMLResponse, JSONResponse, Response

from model import Planet
from model.planet import PLANETS
from server import links
from server.errors import ResourceNotFoundError, responses
from server.ogc.errors import exceptions
from server.ogc.models import Link
from server.ogc.negotiation import DOCUMENT, VARY, Offers
from server.settings import Settings
from server.tilekey import shorten

TEMPLATES = FilePath(__file__).parents[1] / "templates"
HTML = {"text/html": {"schema": {"type": "string"}}}
CollectionId = Annotated[str, WithJsonSchema({"type": "string", "enum": list(PLANETS)}), Path(description="the planet served")]


@dataclass(frozen=True)
class Site:
    """The server as the OGC routes see it."""

    settings: Settings
    planet: Planet

    def url(self, request: Request, path: str) -> str:
        """The absolute address of `path` as the client of `request` must write it."""
        return links.public_url(request.scope, self.settings, path)

    def link(self, request: Request, path: str, rel: str, media_type: str, title: str) -> Link:
        """A link to `path`."""
        return Link(href=self.url(request, path), rel=rel, type=media_type, title=title)

    def selves(self, request: Request, path: str, chosen: str, offers: Offers = DOCUMENT) -> list[Link]:
        """The links of a document to itself (`chosen`) and to its other formats, as Common (19-072, 8.2) asks for."""
        return [
            self.link(
                request,
                f"{path}?f={name}",
                "self" if name == chosen else "alternate",
                media_type,
                "This document" if name == chosen else f"This document as {name.upper()}",
            )
            for name, media_type in offers.items()
        ]

    def check_collection(self, collection: str) -> None:
        """Raises `ResourceNotFoundError` unless `collection` is the planet served."""
        if collection != self.planet.name:
            raise ResourceNotFoundError(f"There is no collection {shorten(collection)} here; use {self.planet.name}.")


class Pages:
    """The HTML form of documents: templates/NAME.html.j2, every value escaped."""

    def __init__(self) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def answer(self, request: Request, site: Site, chosen: str, template: str, document: BaseModel) -> Response:
        """`document` as JSON, or as the page `template` if `chosen` is html."""
        if chosen != "html":
            return JSONResponse(document.model_dump(mode="json", exclude_none=True), headers=VARY)
        page = self._templates.get_template(f"{template}.html.j2")
        return HTMLResponse(page.render(document=document, home=site.url(request, "/ogc?f=html")), headers=VARY)


def collection_of(site: Site, base: str) -> list[params.Depends]:
    """What a route below `base` depends on: that its `collectionId`, if it has one, is a collection here."""

    def known(collectionId: CollectionId) -> None:
        site.check_collection(collectionId)

    return [Depends(known)] if "{collectionId}" in base else []


def add_document(
    router: APIRouter,
    path: str,
    endpoint: Callable[..., Any],
    model: type[BaseModel],
    name: str,
    *codes: int,
    needs: Sequence[params.Depends] = (),
    content: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Adds a document's route, GET and HEAD.

    `codes` are what it answers beside 200, 400, 405 and 406, `content` what media types beside JSON and HTML.
    """
    router.add_api_route(
        path,
        endpoint,
        methods=["GET"],
        dependencies=needs,
        response_model=model,
        response_model_exclude_none=True,
        responses={200: {"content": {**HTML, **content}}, **exceptions(400, 406, *codes), **responses(405)},
        operation_id=name,
    )
    router.add_api_route(path, endpoint, methods=["HEAD"], dependencies=needs, include_in_schema=False)
