"""The viewer's files: the page at /, its parts under /viewer, and MapLibre GL from node_modules or from a
CDN."""

from __future__ import annotations

import html
import json
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

VIEWER = Path(__file__).parent / "viewer"
MAPLIBRE = Path(__file__).parents[1] / "node_modules" / "maplibre-gl" / "dist"
VENDORED = {"maplibre-gl.js": "text/javascript", "maplibre-gl.css": "text/css"}
MARKER = "<!--maplibre-->"


def index_page(viewer: Path = VIEWER, maplibre: Path = MAPLIBRE) -> str:
    """index.html with MapLibre's tags in place of the marker.

    Links are relative to the page, so that they hold behind any prefix. Without node_modules the library
    comes from a CDN, where the integrity hashes (W3C Subresource Integrity) see to it that it is what npm
    would have installed.
    """
    page = (viewer / "index.html").read_text(encoding="utf-8")
    if all((maplibre / name).is_file() for name in VENDORED):
        style = '<link rel="stylesheet" href="viewer/vendor/maplibre-gl.css">'
        script = '<script src="viewer/vendor/maplibre-gl.js"></script>'
    else:
        pin = {key: html.escape(value) for key, value in json.loads((viewer / "maplibre.json").read_text()).items()}
        style = f'<link rel="stylesheet" href="{pin["cdn_css"]}" integrity="{pin["integrity_css"]}" crossorigin="anonymous">'
        script = f'<script src="{pin["cdn_js"]}" integrity="{pin["integrity_js"]}" crossorigin="anonymous"></script>'
    return page.replace(MARKER, f"{style}\n    {script}")


def add_viewer(app: FastAPI, viewer: Path = VIEWER, maplibre: Path = MAPLIBRE) -> None:
    """`/viewer/*`, `/viewer/vendor/*` and an empty `/favicon.ico`, GET and HEAD; `/` itself is in `server.ogc.landing`."""
    router = APIRouter(tags=["viewer"])

    async def favicon() -> Response:
        # Browsers ask for it unbidden and write an error into their console when there is none.
        return Response(status_code=204, headers={"cache-control": "public, max-age=86400"})

    router.add_api_route("/favicon.ico", favicon, methods=["GET", "HEAD"], include_in_schema=False)

    for name, media_type in VENDORED.items():
        if (maplibre / name).is_file():
            router.add_api_route(
                f"/viewer/vendor/{name}",
                lambda path=maplibre / name, kind=media_type: FileResponse(path, media_type=kind),
                methods=["GET", "HEAD"],
                include_in_schema=False,
            )
    app.include_router(router)
    app.mount("/viewer", StaticFiles(directory=viewer), name="viewer")
