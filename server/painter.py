"""Areas painted for requests: by the thread that renders, in turn with tiles, and given up when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np

from model import Planet
from server.area import Area, GeoImage, strips
from server.limits_rate import charge
from server.renderer import TileRenderer


async def paint_area(renderer: TileRenderer, area: Area, zoom: int | None = None) -> GeoImage:
    """The whole of `area`, from planet pixels of `zoom` (the right one by default), in pieces of about a second.

    Cancelling it ends the work after the piece that has begun.

    Raises:
        RenderError: if it cannot be rendered at present, `QueueFullError` among them.
        RateLimitError: if the client has asked for too much.
        ModelError: what the planet raises.
    """
    charge()
    with renderer.queue.job():
        return await _painted(renderer, area, zoom)


async def _painted(renderer: TileRenderer, area: Area, zoom: int | None) -> GeoImage:
    pixels = np.empty((area.height, area.width, 3), np.uint8)
    mask = np.empty((area.height, area.width), np.uint8)
    work: list[Iterator[tuple[int, GeoImage] | None]] = []

    def step(planet: Planet) -> bool:
        """Goes on until the turn is over; whether anything is left."""
        if not work:
            work.append(strips(planet, area, zoom))
        for done in work[0]:
            if done is not None:
                row, strip = done
                pixels[row : row + len(strip.pixels)] = strip.pixels
                mask[row : row + len(strip.mask)] = strip.mask
            return True
        return False

    name = f"an area of {area.width} x {area.height} pixels"
    while await _until_left(renderer.work(step, name)):
        pass
    return GeoImage(pixels, mask, area.transform, area.crs)


async def _until_left(work: Coroutine[Any, Any, bool]) -> bool:
    """The result of `work`, which ignores being cancelled once it runs; who waits for it here does not."""
    task = asyncio.create_task(work)
    # Nobody may be there any more to look at its error.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        raise
