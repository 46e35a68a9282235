"""The planet: a pure function from (seed, weights) and Web Mercator pixel coordinates to colours, evaluated block by block."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import contrast, guidance, parcels, sampler, stage
from model.base import BasePicture, load_base
from model.context import Context
from model.engine import HALO, PARENT_MARGIN, Engine, Window
from model.errors import UnknownPlanetError, WindowError
from model.grid import MAX_ZOOM, mirror_rows, world_size, wrap_columns
from model.precision import Compute, choose_compute, choose_steps
from model.store import BLOCK, Blocks, BlockStore, Pixels
from model.weights import Weights, load_weights

PLANETS = ("earth",)
_MAX_PIXELS = 1 << 28
_CHUNK = 8 * BLOCK
"""Side of the windows that a large read is made of, so that its blocks in flight stay few."""

Index = tuple[int, int]
"""A canonical block of a zoom: (row, column) in blocks."""


@dataclass(frozen=True)
class PlanetInfo:
    """What a planet is computed with and on."""

    name: str
    seed: int
    device: str
    precision: str
    threads: int
    steps: int
    halo: int
    block: int
    weights: str
    weights_hash: str
    identity: str


class Planet:
    """An endless image: even zooms above the base are generated, odd ones are 2x2 means, the rest is the base picture's."""

    def __init__(
        self, name: str, seed: int, base: BasePicture, weights: Weights, compute: Compute, steps: int, blocks: Blocks
    ) -> None:
        self.name, self.seed, self.steps = name, seed, steps
        self.max_zoom, self.base_zoom = MAX_ZOOM, base.zoom
        self.compute, self.weights = compute, weights
        self.engine = Engine.of(weights, compute, seed, steps)
        self._base, self._blocks = base, blocks
        self._rendering = threading.Lock()
        self.identity = self._identify()

    @property
    def evaluations(self) -> int:
        """Windows generated so far, each of `steps` denoiser calls."""
        return self.engine.evaluations

    @property
    def blocks(self) -> Blocks:
        """Where its blocks are kept."""
        return self._blocks

    def info(self) -> PlanetInfo:
        """Device, precision, weights and sampler in use."""
        c, w = self.compute, self.weights
        return PlanetInfo(
            self.name,
            self.seed,
            c.description,
            c.precision,
            c.threads,
            self.steps,
            HALO,
            BLOCK,
            str(w.path),
            w.digest,
            self.identity,
        )

    def read(
        self, zoom: int, x: int, y: int, width: int, height: int, progress: Callable[[int, int], None] | None = None
    ) -> Pixels:
        """Pixels [x, x + width) x [y, y + height) of ``zoom``, uint8 [height, width, 3], RGB.

        Web Mercator pixel coordinates: 256 * 2**zoom pixels across, origin top left. Any integer window: x wraps around the
        antimeridian, y is mirrored beyond the poles. ``progress`` is called with (pixels done, pixels in all). Equal arguments
        give equal bytes, whatever was read before. Raises `WindowError` for a zoom outside 0..20 or an empty or huge window.
        """
        size = world_size(zoom)
        for value in (x, y, width, height):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise WindowError(f"A window is given in whole pixels; {value!r} is not an integer.")
        if width < 1 or height < 1:
            raise WindowError(f"The window {width} x {height} is empty; width and height must be at least 1.")
        if width * height > _MAX_PIXELS:
            raise WindowError(f"The window {width} x {height} is larger than {_MAX_PIXELS} pixels; read it in parts.")
        x, y, width, height = int(x), int(y), int(width), int(height)
        # An odd zoom reads four pixels of the next for each of its own.
        chunk = _CHUNK // 2 if zoom % 2 else _CHUNK
        out = np.empty((height, width, 3), np.uint8)
        for top in range(y - y % chunk, y + height, chunk):
            for left in range(x - x % chunk, x + width, chunk):
                y0, y1 = max(top, y), min(top + chunk, y + height)
                x0, x1 = max(left, x), min(left + chunk, x + width)
                rows, cols = mirror_rows(np.arange(y0, y1), size), wrap_columns(np.arange(x0, x1), size)
                out[y0 - y : y1 - y, x0 - x : x1 - x] = self._pixels(zoom, rows, cols)
                if progress is not None:
                    progress((y0 - y) * width + (y1 - y0) * (x1 - x), width * height)
        return out

    def _pixels(self, zoom: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Pixels:
        """Pixels at in-world ``rows`` x ``cols``, in any order."""
        if zoom <= self.base_zoom:
            return self._base.level(zoom)[np.ix_(rows, cols)]
        if zoom % 2:
            finer = self._pixels(zoom + 1, _doubled(rows), _doubled(cols)).astype(np.uint16)
            total = finer[0::2, 0::2] + finer[0::2, 1::2] + finer[1::2, 0::2] + finer[1::2, 1::2]
            return ((total + 2) >> 2).astype(np.uint8)
        return self._gather(self._fetch(zoom, _blocks_of(rows, cols)), rows, cols)

    def _fetch(self, zoom: int, wanted: Iterable[Index]) -> dict[Index, Pixels]:
        """The canonical blocks ``wanted`` of an even zoom above the base, generated with their ancestors where missing."""
        keys = {self._key(zoom, index): index for index in wanted}
        found = {keys[key]: block for key, block in self._blocks.get_many(list(keys)).items()}
        missing = [index for index in keys.values() if index not in found]
        if missing:
            found.update(self._generate(zoom, missing))
        return found

    def _generate(self, zoom: int, missing: list[Index]) -> dict[Index, Pixels]:
        places = {index: Place.of_block(zoom, index) for index in missing}
        parents: dict[Index, Pixels] = {}
        if zoom - 2 > self.base_zoom:
            needed = {index for place in places.values() for index in _blocks_of(place.parent_rows, place.parent_cols)}
            parents = self._fetch(zoom - 2, sorted(needed))

        def window(index: Index) -> Window:
            place = places[index]
            if parents:
                pixels = self._gather(parents, place.parent_rows, place.parent_cols)
            else:
                pixels = self._base.pixels[np.ix_(place.parent_rows, place.parent_cols)]
            return place.window(pixels, self._base.context)

        made: dict[Index, Pixels] = {}
        left = {self._key(zoom, index): index for index in missing}
        while left:
            with self._rendering:
                # Another thread, or process, may have made some while this one waited or fetched the parents.
                found, mine = self._blocks.claim(list(left))
                made.update({left[key]: block for key, block in found.items()})
                todo = [key for key in left if key in mine]
                try:
                    for pixels in self.engine.run(window(left[key]) for key in list(todo)):
                        block = made[left[todo[0]]] = pixels[HALO:-HALO, HALO:-HALO].copy()
                        self._blocks.put(todo.pop(0), block)
                finally:
                    self._blocks.abandon(todo)
            left = {key: index for key, index in left.items() if index not in made}
            if left:
                self._blocks.wait(list(left))
        return made

    @staticmethod
    def _gather(blocks: dict[Index, Pixels], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Pixels:
        out = np.empty((len(rows), len(cols), 3), np.uint8)
        block_rows, block_cols = rows // BLOCK, cols // BLOCK
        for row in np.unique(block_rows):
            at_rows = np.flatnonzero(block_rows == row)
            for col in np.unique(block_cols):
                at_cols = np.flatnonzero(block_cols == col)
                source = blocks[int(row), int(col)]
                out[np.ix_(at_rows, at_cols)] = source[np.ix_(rows[at_rows] % BLOCK, cols[at_cols] % BLOCK)]
        return out

    def _key(self, zoom: int, index: Index) -> str:
        return f"{self.identity}/{zoom}/{index[0]}/{index[1]}"

    def _identify(self) -> str:
        """Hex digest of all that decides pixels."""
        parts = {
            "planet": self.name,
            "seed": self.seed % (1 << 64),
            "weights": self.weights.digest,
            "base": self._base.digest,
            "sampler": sampler.RECIPE,
            "stage": stage.RECIPE,
            "steps": self.steps,
            "halo": HALO,
            "block": BLOCK,
            "guidance": guidance.RECIPE,
            "contrast": contrast.RECIPE,
            "parcels": parcels.RECIPE,
            "precision": self.compute.precision,
            "device": self.compute.device.type,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class Place:
    """A square window of a stage: the world indices of its child and parent pixels."""

    def __init__(self, zoom: int, top: int, left: int, side: int) -> None:
        self.zoom, self.top, self.left, self.side = zoom, top, left, side
        child, parent = world_size(zoom), world_size(zoom - 2)
        span = np.arange(-PARENT_MARGIN, self.side // 4 + PARENT_MARGIN)
        self.rows = mirror_rows(np.arange(self.top, self.top + self.side), child)
        self.cols = wrap_columns(np.arange(self.left, self.left + self.side), child)
        self.parent_rows = mirror_rows(self.top // 4 + span, parent)
        self.parent_cols = wrap_columns(self.left // 4 + span, parent)

    @classmethod
    def of_block(cls, zoom: int, index: Index) -> Place:
        """The window of a canonical block: the block and its halo."""
        return cls(zoom, index[0] * BLOCK - HALO, index[1] * BLOCK - HALO, BLOCK + 2 * HALO)

    def window(self, parent: Pixels, context: Context) -> Window:
        """The engine's task, given the parent's pixels and what the planet's base picture tells of the place."""
        gsd = guidance.resolution_rows(self.zoom, self.top, self.side)
        register = parcels.Register.of_planet(self.zoom, self.rows, self.cols, context)
        return Window(parent, self.rows, self.cols, self.parent_rows, self.parent_cols, self.zoom, gsd, register)


def open_planet(
    name: str = "earth",
    seed: int = 0,
    *,
    steps: int | None = None,
    weights: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache_dir: Path | None = None,
    store: BlockStore | None = None,
    memory_bytes: int = 256 << 20,
) -> Planet:
    """Open a planet by name; the way in for the server, the command line and scripts.

    ``seed``: any 64-bit integer. ``steps``: sampler steps, 1 to 16 (default: 2). ``weights``: a safetensors file
    (default: the one that ships). ``device``, ``precision``: see `model.precision.choose_compute`. ``cache_dir``: where the
    reprojected base picture is kept (default: the user's cache directory). ``store``: keeps generated blocks beyond
    ``memory_bytes`` of memory.
    Raises `UnknownPlanetError`, `DeviceError`, `WeightsError`, `BasePictureError`, all `ModelError`.
    """
    if name not in PLANETS:
        raise UnknownPlanetError(f"There is no planet {name!r}; use one of: {', '.join(PLANETS)}.")
    compute = choose_compute(device, precision)
    steps = choose_steps(steps)
    base = load_base(cache_dir)
    return Planet(name, seed, base, load_weights(weights), compute, steps, Blocks(memory_bytes, store))


def _doubled(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices at the next zoom: i -> 2i, 2i + 1."""
    return np.stack([2 * indices, 2 * indices + 1], 1).reshape(-1)


def _blocks_of(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> list[Index]:
    """Canonical blocks that hold ``rows`` x ``cols``."""
    return [(int(row), int(col)) for row in np.unique(rows // BLOCK) for col in np.unique(cols // BLOCK)]
