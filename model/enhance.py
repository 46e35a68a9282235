"""The cascade on any picture of the user's: each stage makes it four times larger, edges mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from model.engine import HALO, PARENT_MARGIN, Engine, Window
from model.errors import WindowError
from model.grid import mirror_rows
from model.precision import choose_compute, choose_steps
from model.store import BLOCK, Pixels
from model.weights import load_weights

MAX_PIXELS = 1 << 28
_ZOOM_OFFSET = 64
"""Noise of pictures is kept apart from that of planets, whose zooms end at 20."""


def enhance(
    image: Pixels,
    gsd: float,
    stages: int = 1,
    steps: int | None = None,
    *,
    seed: int = 0,
    weights: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Pixels:
    """Enlarge ``image`` (uint8 [h, w, 3]) by 4**stages, inventing detail: uint8 [h * 4**stages, w * 4**stages, 3].

    ``gsd``: the image's ground resolution in metres per pixel. Every 4x4 block of a stage averages to its parent pixel. Blocks
    and noise are fixed to the picture, so equal arguments give equal bytes. ``progress``: called with (blocks done, in all).
    Raises `WindowError` for sizes, ``gsd`` or ``stages`` that cannot be, and what `open_planet` raises for the rest.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise WindowError(f"The picture must be uint8 [height, width, 3], not {image.dtype} {list(image.shape)}.")
    if not (np.isfinite(gsd) and gsd > 0):
        raise WindowError(f"The ground resolution must be a positive number of metres per pixel, not {gsd}.")
    if stages < 1:
        raise WindowError(f"The number of stages must be at least 1, not {stages}.")
    if image.shape[0] * image.shape[1] * 16**stages > MAX_PIXELS:
        raise WindowError(f"The result would have more than {MAX_PIXELS} pixels; use fewer stages or a smaller picture.")
    compute = choose_compute(device, precision)
    steps = choose_steps(steps)
    loaded = load_weights(weights)
    engine = Engine.of(loaded, compute, seed, steps)
    shapes = [(image.shape[0] * 4**k, image.shape[1] * 4**k) for k in range(1, stages + 1)]
    total = sum(len(_corners(shape)) for shape in shapes)
    done = 0
    for stage, shape in enumerate(shapes, 1):
        out = np.empty((*shape, 3), np.uint8)
        log2_gsd = np.array([np.log2(gsd / 4**stage)], np.float32)
        corners = _corners(shape)
        windows = _windows(image, shape, corners, _ZOOM_OFFSET + stage, log2_gsd)
        for (top, left), pixels in zip(corners, engine.run(windows), strict=True):
            target = out[top : top + BLOCK, left : left + BLOCK]
            target[:] = pixels[HALO : HALO + target.shape[0], HALO : HALO + target.shape[1]]
            done += 1
            if progress is not None:
                progress(done, total)
        image = out
    return image


def _corners(shape: tuple[int, int]) -> list[tuple[int, int]]:
    return [(top, left) for top in range(0, shape[0], BLOCK) for left in range(0, shape[1], BLOCK)]


def _windows(
    image: Pixels, shape: tuple[int, int], corners: list[tuple[int, int]], zoom: int, log2_gsd: np.ndarray
) -> Iterator[Window]:
    child = np.arange(-HALO, BLOCK + HALO)
    parent = np.arange(-HALO // 4 - PARENT_MARGIN, (BLOCK + HALO) // 4 + PARENT_MARGIN)
    for top, left in corners:
        rows, cols = mirror_rows(top + child, shape[0]), mirror_rows(left + child, shape[1])
        parent_rows, parent_cols = (
            mirror_rows(top // 4 + parent, image.shape[0]),
            mirror_rows(left // 4 + parent, image.shape[1]),
        )
        yield Window(image[np.ix_(parent_rows, parent_cols)], rows, cols, parent_rows, parent_cols, zoom, log2_gsd)
