"""The finished file over HTTP with range requests, as RFC 9110 (13 and 14) has them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from server.errors import error_response
from server.export_job import Job

RANGE = re.compile(r"(\d*)-(\d*)", re.ASCII)
MAX_RANGES = 64


class RangedFile(FileResponse):
    """Sends a file, or of it what `ranges` names in place of the request's own Range header."""

    def __init__(self, job: Job, ranges: list[tuple[int, int]] | None) -> None:
        name = f"metaearth-{job.plan.format}-z{job.plan.maxzoom}-{job.id}.{job.plan.extension}"
        super().__init__(job.file, media_type=job.plan.media_type, headers=file_headers(job), filename=name)
        self._ranges = ranges

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starlette answers 400 where the standard has a Range header ignored, so it gets one that it takes, or none."""
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
        if self._ranges is not None:
            text = ",".join(f"{first}-{last}" for first, last in self._ranges)
            headers.append((b"range", f"bytes={text}".encode()))
        await super().__call__({**scope, "headers": headers}, receive, send)


def file_headers(job: Job) -> dict[str, str]:
    """Headers of every answer: the file of a job never changes, so its id is its strong ETag."""
    return {"etag": etag(job), "cache-control": "private, max-age=86400", "accept-ranges": "bytes"}


def etag(job: Job) -> str:
    """The strong ETag of a job's file."""
    return f'"{job.id}"'


def file_response(request: Request, job: Job) -> Response:
    """200, 206, 304 or 416: the file of a job that is done, or the part that the client asks for."""
    headers, tag = request.headers, etag(job)
    if _matches(headers, tag):
        return Response(status_code=304, headers=file_headers(job))
    size = job.file.stat().st_size
    asked = headers.get("range")
    if asked is None or headers.get("if-range", tag).strip() != tag:
        return RangedFile(job, None)
    ranges = parse_ranges(asked, size)
    if ranges is None:
        return RangedFile(job, None)
    if not ranges:
        answer = error_response(416, f"The file has {size} bytes, and no byte of it is in the range asked for.")
        answer.headers["content-range"] = f"bytes */{size}"
        return answer
    return RangedFile(job, ranges)


def parse_ranges(text: str, size: int) -> list[tuple[int, int]] | None:
    """First and last byte of each range of a Range header that a file of `size` bytes has something of.

    None if the header is malformed, of another unit, or of more ranges than anybody needs: it is then to be ignored.
    """
    unit, equals, sets = text.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    found = []
    parts = [part.strip() for part in sets.split(",") if part.strip()]
    if not parts or len(parts) > MAX_RANGES:
        return None
    for part in parts:
        match = RANGE.fullmatch(part)
        if match is None or part == "-" or len(part) > 40:
            return None
        first, last = match.groups()
        if first and last and int(first) > int(last):
            return None
        if first:
            begin, end = int(first), min(int(last) if last else size - 1, size - 1)
        else:
            begin, end = max(size - int(last), 0), size - 1
        if begin <= end:
            found.append((begin, end))
    return found


def _matches(headers: Mapping[str, str], tag: str) -> bool:
    value = headers.get("if-none-match")
    return value is not None and (value.strip() == "*" or tag in value)
