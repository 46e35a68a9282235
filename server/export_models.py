"""The JSON of exports: what `POST /exports` takes and what is said of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from server.export_estimate import Estimate
from server.export_job import Job, State
from server.export_plan import FORMATS, ExportPlan
from server.tilekey import MAX_ZOOM

Zoom = Annotated[StrictInt, Field(description=f"0 to {MAX_ZOOM}")]


class ExportRequest(BaseModel):
    """The body of `POST /exports`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"bbox": [7.0, 45.5, 8.5, 46.5], "zoom": 10, "format": "cog"}]}
    )

    bbox: list[float] = Field(min_length=4, max_length=4, description="minx, miny, maxx, maxy; x is east in any CRS")
    bbox_crs: StrictStr | None = Field(None, max_length=100, description="CRS of bbox, such as EPSG:3857; default CRS:84")
    zoom: Zoom | None = Field(None, description="the one zoom to export")
    minzoom: Zoom | None = Field(None, description="first zoom of an archive of tiles; default 0 with maxzoom")
    maxzoom: Zoom | None = Field(None, description="last zoom, instead of zoom")
    resolution: float | None = Field(None, description="metres on the ground per pixel, instead of a zoom")
    format: StrictStr = Field("cog", max_length=20, description="cog, mbtiles or pmtiles")
    tile_format: StrictStr | None = Field(None, max_length=20, description="png (lossless; the default), jpg or webp")
    quality: StrictInt | None = Field(None, description="1 to 95, of jpg and webp")
    dry_run: StrictBool = Field(False, description="answer with the estimate only and start nothing")


class ExportEstimate(BaseModel):
    """What an export is expected to be; the time is that of a machine with nothing else to do and nothing cached."""

    pixels: int = Field(description="pixels to be rendered")
    tiles: int = Field(description="tiles: 512 px of the full resolution in a COG, else 256 px of all zooms")
    bytes: int = Field(description="size of the file")
    seconds: float


class ExportArea(BaseModel):
    """What is exported, to the pixel."""

    format: Literal["cog", "mbtiles", "pmtiles"]
    tile_format: str
    quality: int | None
    minzoom: int
    maxzoom: int
    width: int = Field(description="pixels at maxzoom")
    height: int
    bounds: tuple[float, float, float, float] = Field(
        description="west, south, east, north in degrees of those pixels; east is above 180 across the antimeridian"
    )


class DryRun(BaseModel):
    """The answer to `dry_run`."""

    area: ExportArea
    estimate: ExportEstimate


class ExportLinks(BaseModel):
    """Where to go on."""

    status: str
    events: str = Field(description="server-sent events until the job is over")
    file: str = Field(description="the file, once the job is done")
    cancel: str = Field(description="for DELETE")


class ExportStatus(BaseModel):
    """A job and how far it is."""

    id: str
    state: State
    percent: float = Field(description="0 to 100")
    tiles_done: int
    tiles: int
    pixels: int
    eta_seconds: float | None = Field(description="seconds left; null when the job is over")
    bytes: int = Field(description="written so far; of the file when done")
    error: str | None = Field(description="why it failed")
    created: datetime
    started: datetime | None
    finished: datetime | None
    area: ExportArea
    estimate: ExportEstimate
    links: ExportLinks


class ExportList(BaseModel):
    """All jobs, the newest first."""

    exports: list[ExportStatus]


def area_of(plan: ExportPlan) -> ExportArea:
    """The area of a plan."""
    assert plan.format in FORMATS
    return ExportArea.model_validate(
        {name: getattr(plan, name) for name in ExportArea.model_fields}  # validated: format is a str in the plan
    )


def estimate_of(estimate: Estimate) -> ExportEstimate:
    """The public part of an estimate."""
    return ExportEstimate(pixels=estimate.pixels, tiles=estimate.tiles, bytes=estimate.bytes, seconds=estimate.seconds)


def status_of(job: Job, base: str) -> ExportStatus:
    """What is said of a job whose address is `base`."""
    plan = job.plan
    return ExportStatus(
        id=job.id,
        state=job.state,
        percent=job.percent,
        tiles_done=job.tiles_done,
        tiles=plan.tiles,
        pixels=plan.pixels,
        eta_seconds=job.eta_seconds,
        bytes=job.size,
        error=job.error,
        created=_time(job.created),
        started=None if job.started is None else _time(job.started),
        finished=None if job.finished is None else _time(job.finished),
        area=area_of(plan),
        estimate=ExportEstimate(pixels=plan.pixels, tiles=plan.tiles, bytes=job.estimate_bytes, seconds=job.estimate_seconds),
        links=ExportLinks(status=base, events=f"{base}/events", file=f"{base}/file", cancel=base),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
