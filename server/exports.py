"""`/exports`: jobs that write an area of up to 4 gigapixels to a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from model import Planet
from server import export_events
from server.errors import ErrorDetail, responses
from server.export_file import file_response
from server.export_job import Job
from server.export_jobs import ExportJobs
from server.export_models import (
    DryRun,
    ExportList,
    ExportRequest,
    ExportStatus,
    area_of,
    estimate_of,
    status_of,
)
from server.export_plan import FORMATS, make_plan
from server.links import public_url
from server.renderer import TileRenderer
from server.settings import Settings

Id = Annotated[str, Path(description="the id that POST /exports answered")]
NO_STORE = {"cache-control": "no-store"}
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILE_HEADERS = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in (("ETag", "strong"), ("Accept-Ranges", "bytes"), ("Content-Disposition", "attachment with a name"))
}
FILE_CONTENT = {media_type: BINARY for _, media_type in FORMATS.values()}
FILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": FILE_CONTENT, "headers": FILE_HEADERS},
    206: {
        "description": "What Range asks for of it; several ranges as multipart/byteranges.",
        "content": {**FILE_CONTENT, "multipart/byteranges": BINARY},
        "headers": FILE_HEADERS,
    },
    304: {"description": "The file has the ETag of If-None-Match."},
    **responses(404, 405, 409, 422),
    416: {
        "model": ErrorDetail,
        "description": "The file ends before the range begins.",
        "headers": {"Content-Range": {"description": "bytes */SIZE", "schema": {"type": "string"}}},
    },
}


def export_jobs(settings: Settings, planet: Planet, renderer: TileRenderer) -> ExportJobs:
    """The jobs below `cache_dir/exports`."""
    folder = settings.cache_dir / "exports"
    return ExportJobs(folder, planet, renderer, png_level=settings.png_level, threads=settings.encoder_threads)


@asynccontextmanager
async def running(jobs: ExportJobs) -> AsyncIterator[None]:
    """Works on `jobs` while the application runs."""
    jobs.start()
    try:
        yield
    finally:
        await jobs.close()


def exports_router(settings: Settings, planet: Planet, jobs: ExportJobs) -> APIRouter:
    """`/exports` and what is below it; HEAD where GET is."""
    router = APIRouter(prefix="/exports", tags=["exports"])

    def status(request: Request, job: Job) -> ExportStatus:
        return status_of(job, public_url(request.scope, settings, f"/exports/{job.id}"))

    async def start_export(request: Request, body: ExportRequest) -> Response:
        """Starts an export, or with `dry_run` only says how large it gets and how long it takes.

        The area is made of the whole Web Mercator pixels that `bbox` touches. Give one of `zoom`, `maxzoom` (with or
        without `minzoom`) and `resolution`.
        """
        asked = body.model_dump(exclude={"dry_run"})
        plan = make_plan(asked.pop("bbox"), planet=planet.identity, attribution=settings.attribution, **asked)
        estimate = await jobs.estimate(plan)
        if body.dry_run:
            answer = DryRun(area=area_of(plan), estimate=estimate_of(estimate))
            return JSONResponse(answer.model_dump(mode="json"), headers=NO_STORE)
        job = jobs.create(plan, estimate)
        said = status(request, job)
        return JSONResponse(said.model_dump(mode="json"), 202, {**NO_STORE, "location": said.links.status})

    async def list_exports(request: Request, response: Response) -> ExportList:
        """All exports, the newest first."""
        response.headers.update(NO_STORE)
        return ExportList(exports=[status(request, job) for job in jobs.all()])

    async def get_export(request: Request, response: Response, id: Id) -> ExportStatus:
        """State and progress of an export."""
        response.headers.update(NO_STORE)
        return status(request, jobs.get(id))

    async def cancel_export(request: Request, response: Response, id: Id) -> ExportStatus:
        """Cancels an export that is not finished; removes one that is over, with its file. Answers what it was."""
        response.headers.update(NO_STORE)
        return status(request, jobs.delete(id))

    async def export_events_of(
        request: Request, id: Id, last_event_id: Annotated[str | None, Header(description="by EventSource itself")] = None
    ) -> Response:
        """Progress as server-sent events (`progress`, then `done`, `failed` or `cancelled`), each with the JSON of
        `GET /exports/{id}`."""
        jobs.get(id)
        if export_events.is_over(last_event_id):
            return Response(status_code=204)
        if request.method == "HEAD":
            return Response(headers=export_events.HEADERS, media_type="text/event-stream")
        stream = export_events.events(jobs, id, lambda: status(request, jobs.get(id)))
        return StreamingResponse(stream, headers=export_events.HEADERS, media_type="text/event-stream")

    async def export_file(request: Request, id: Id) -> Response:
        """The file of a finished export; Range, If-Range and If-None-Match are honoured."""
        return file_response(request, jobs.finished(id))

    def add(path: str, endpoint: Callable[..., Any], declared: dict[int | str, dict[str, Any]], **options: Any) -> None:
        router.add_api_route(path, endpoint, methods=["GET"], responses=declared, **options)
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, **options)

    router.add_api_route(
        "",
        start_export,
        methods=["POST"],
        response_class=JSONResponse,
        responses={
            200: {"model": DryRun, "description": "The estimate, for dry_run."},
            202: {
                "model": ExportStatus,
                "description": "The job is queued.",
                "headers": {"Location": {"description": "its address", "schema": {"type": "string", "format": "uri"}}},
            },
            **responses(405, 413, 422, 429, 503, 507),
        },
    )
    add("", list_exports, responses(405))
    add("/{id}", get_export, responses(404, 405, 422))
    router.add_api_route("/{id}", cancel_export, methods=["DELETE"], responses=responses(404, 405, 422))
    add(
        "/{id}/events",
        export_events_of,
        {
            200: {
                "description": "Events until the job is over.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            204: {"description": "Last-Event-ID was the last event: there is nothing more to come."},
            **responses(404, 405, 422),
        },
        response_class=StreamingResponse,
    )
    add("/{id}/file", export_file, FILE_RESPONSES, response_class=Response)
    return router
