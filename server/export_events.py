"""Server-sent events of a job (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from server.export_errors import ExportNotFoundError
from server.export_job import UNFINISHED
from server.export_jobs import ExportJobs
from server.export_models import ExportStatus

LOOK_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 15.0
# How long an EventSource waits before it connects again, milliseconds.
RETRY = "retry: 3000\n\n"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(status: ExportStatus) -> str:
    """One event: `progress` while the job is unfinished, else named after its state; its id is how far the job is."""
    kind = "progress" if status.state in UNFINISHED else status.state
    return f"id: {status.state}-{status.percent}\nevent: {kind}\ndata: {status.model_dump_json()}\n\n"


def is_over(last_event_id: str | None) -> bool:
    """Whether a client that connects again has seen the last event already; the answer 204 keeps it from coming back."""
    return last_event_id is not None and last_event_id.partition("-")[0] in ("done", "failed", "cancelled")


async def events(jobs: ExportJobs, name: str, status: Callable[[], ExportStatus]) -> AsyncIterator[str]:
    """Events of the job `name` whenever its state or progress changes, until it is over or the server stops.

    A comment every 15 s keeps proxies from taking a slow job for a dead connection.
    """
    yield RETRY
    before: tuple[object, ...] = ()
    spoken = time.monotonic()
    while not jobs.stopping:
        try:
            job = jobs.get(name)
        except ExportNotFoundError:
            yield "event: cancelled\ndata: {}\n\n"  # removed meanwhile
            return
        now = (job.state, job.percent, job.done, job.size)
        if now != before:
            before, spoken = now, time.monotonic()
            yield event(status())
            if job.state not in UNFINISHED:
                return
        elif time.monotonic() - spoken > KEEP_ALIVE_SECONDS:
            spoken = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)
