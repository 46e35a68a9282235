"""How large an export gets and how long it takes, from what this server has measured of itself."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model import Planet
from server.export_cog import TiffTiles
from server.export_pieces import Pixels
from server.export_plan import ExportPlan
from server.tilekey import TILE_SIZE

BLOCK = 128
SAMPLE = 256
WEIGHT = 0.2
"""Of a new measurement in the running mean."""
FIRST_PIXEL_SECONDS = 1e-7
# A window is rendered in about this many seconds, so that tiles that others wait for find their turn.
TURN_SECONDS = 1.0
MAX_DOUBLINGS = 4


@dataclass(frozen=True)
class Estimate:
    """What an export is expected to be; `evaluations` are blocks to be generated when none is cached."""

    pixels: int
    tiles: int
    evaluations: int
    bytes: int
    seconds: float


@dataclass
class _Measured:
    # Seconds to generate one block, and to read, encode and write one pixel.
    block: float | None = None
    pixel: float = FIRST_PIXEL_SECONDS
    # What finished exports weighed over what their samples had promised, by container and tile format.
    weight: dict[str, float] = field(default_factory=dict)


class Rates:
    """Running means of what rendering and encoding cost here, kept in a file so that a restart knows them."""

    def __init__(self, path: Path | None, planet: str) -> None:
        """`planet`: rates of another one in the file do not count, for steps and device may differ."""
        self._path, self._planet = path, planet
        self._lock = threading.Lock()
        self._measured = _Measured()
        try:
            kept: Any = json.loads(path.read_text()) if path is not None else {}
            if kept.get("planet") == planet:
                self._measured = _Measured(kept["block"], kept["pixel"], dict(kept["weight"]))
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            pass  # what cannot be read is measured anew

    @property
    def known(self) -> bool:
        """Whether a block has been timed yet."""
        return self._measured.block is not None

    @property
    def block_seconds(self) -> float:
        """Seconds to generate one block; 0 while `known` is false."""
        return self._measured.block or 0.0

    def read(self, planet: Planet, zoom: int, x: int, y: int, width: int, height: int) -> Pixels:
        """`planet.read`, timed; for the thread that renders."""
        before, begin = planet.evaluations, time.perf_counter()
        pixels = planet.read(zoom, x, y, width, height)
        taken, made = time.perf_counter() - begin, planet.evaluations - before
        with self._lock:
            if made:
                self._measured.block = _mean(self._measured.block, taken / made)
            else:
                self._measured.pixel = _mean(self._measured.pixel, taken / (width * height))
        return pixels

    def side(self, zoom: int, base_zoom: int) -> int:
        """Side in pixels of a window of `zoom` that is rendered in about a second with nothing cached; at least a block.

        Power-of-two multiples of a block, so that no block is cut. At odd zooms four blocks of the next make one's pixels.
        """
        if zoom <= base_zoom:
            return 1024
        blocks = TURN_SECONDS / self._measured.block if self._measured.block else 1.0
        doublings = min(MAX_DOUBLINGS, max(0, math.floor(math.log2(max(blocks, 1.0)) / 2)))
        return (BLOCK << doublings) >> zoom % 2

    def sample(self, planet: Planet, plan: ExportPlan) -> Pixels:
        """Pixels from the middle of the area, as deep as costs little, uint8 [256, 256, 3]; they time a block, too."""
        zoom = min(plan.maxzoom, planet.base_zoom + 2)
        scale = 2.0 ** (zoom - plan.maxzoom)
        x = int((plan.x + plan.width / 2) * scale) // BLOCK * BLOCK - BLOCK
        y = int((plan.y + plan.height / 2) * scale) // BLOCK * BLOCK - BLOCK
        pixels = self.read(planet, zoom, x, y, SAMPLE, SAMPLE)
        tries = 0
        while not self.known and tries < 64:
            # The area's blocks were cached: time one elsewhere that has not been made yet.
            self.read(planet, planet.base_zoom + 2, tries * 5 * BLOCK, 37 * BLOCK, BLOCK, BLOCK)
            tries += 1
        return pixels

    def estimate(self, planet: Planet, plan: ExportPlan, sample: Pixels, png_level: int) -> Estimate:
        """The estimate for `plan`, whose middle looks like `sample`, with nothing cached."""
        begin = time.perf_counter()
        if plan.format == "cog":
            weight = len(TiffTiles(plan.tile_format, plan.encoder(png_level)).encode(sample)) * 4 / 3
        else:
            weight = len(plan.encoder(png_level).encode(sample, plan.tile_format))
        encoding = (time.perf_counter() - begin) / (SAMPLE * SAMPLE)
        measured = self._measured
        size = weight / (SAMPLE * SAMPLE) * plan.pixels * measured.weight.get(_kind(plan), 1.0)
        blocks = evaluations(plan, planet.base_zoom)
        seconds = blocks * (measured.block or 0.0) + plan.pixels * (measured.pixel + encoding)
        return Estimate(plan.pixels, plan.tiles, blocks, int(size) + 16384, float(f"{seconds:.3g}"))

    def finished(self, plan: ExportPlan, promised: int, size: int) -> None:
        """Learns from an export that took `size` bytes where `promised` were expected, and keeps all on disk."""
        with self._lock:
            if promised > 0:
                before = self._measured.weight.get(_kind(plan), 1.0)
                self._measured.weight[_kind(plan)] = _mean(before, min(4.0, max(0.25, before * size / promised)))
        self.save()

    def save(self) -> None:
        """Writes the file; what cannot be written is measured again after a restart."""
        if self._path is None:
            return
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            partial.write_text(json.dumps({"planet": self._planet, **asdict(self._measured)}))
            os.replace(partial, self._path)
        except OSError:
            partial.unlink(missing_ok=True)


def evaluations(plan: ExportPlan, base_zoom: int) -> int:
    """Canonical blocks that must be generated for `plan` and its ancestors when none is cached."""
    total = 0
    for zoom in range(base_zoom + 2, plan.maxzoom + plan.maxzoom % 2 + 1, 2):
        scale = 2.0 ** (zoom - plan.maxzoom)
        width, height = plan.width * scale, plan.height * scale
        if plan.format != "cog":
            width, height = width + TILE_SIZE, height + TILE_SIZE  # whole tiles
        world = (TILE_SIZE << zoom) // BLOCK
        total += min(int(width / BLOCK) + 2, world) * min(int(height / BLOCK) + 2, world)
    return total


def _kind(plan: ExportPlan) -> str:
    return f"{plan.format} {plan.tile_format}"


def _mean(before: float | None, new: float) -> float:
    return new if before is None else (1 - WEIGHT) * before + WEIGHT * new
