"""Training imagery: a folder with a ``manifest.csv``, and a sampler of crops balanced over resolutions and sources."""

from __future__ import annotations

import csv
import itertools
import math
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from model.grid import mirror_rows
from model.stage import to_bytes, to_unit
from model.tone import tone_blue_marble
from model.training.bridge import bridge_contrast

HOLDOUT_LIST = Path(__file__).parent / "holdout.txt"
COARSE = "nasa-bmng"
"""The source that carries hill shading (no flips or rotations) and Blue Marble's tone (brought to the others')."""

FORMATS = (".jpg", ".jpeg", ".png", ".tif")
MAX_REDUCTION = 8
MIRRORED = 3
"""Images of a third of a crop's side are mirrored at their edges until they fill it: sheets of small cells hold most of the
fields there are at 10 m, and small scenes, box-averaged, most of the land at 100 to 400 m."""
SHARES = {"ubukawa/Landsat9-Tokyo20211117": 0.3, "ubukawa/landsat-test01": 0.3}
"""How much of a source's weight counts. Both show Kanto, whose khaki plain is one conurbation: at full weight all flat land of
that colour grows suburbs, which at 100 m a pixel are a woven grain."""
THIN, BORROWED = 12.0, 0.6
"""A band with fewer megapixels than the first takes up to the second of its crops from bands one or two octaves away."""


class ImageryError(Exception):
    """The imagery folder or its manifest cannot be used; the text says why."""


@dataclass(frozen=True)
class Picture:
    """One contiguous image: uint8 [3, H, W], metres per pixel at its middle row, projection, source, file and cell index."""

    name: str
    source: str
    projection: str
    gsd: float
    pixels: Tensor
    _reduced: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def ground_resolution(self, row: float) -> float:
        """Metres per pixel at a row. The two global files state the equator's: Mercator shrinks both ways with latitude,
        equirectangular only east-west (the geometric mean is returned)."""
        height = self.pixels.shape[1]
        if "global_mercator_z5" in self.name:
            y = (1280 + row) / 8192
            return self.gsd / math.cosh(math.pi * (1 - 2 * y))
        if self.projection == "equirectangular":  # 60 degrees to either side; windows of mirrored pixels reach beyond
            return self.gsd * math.sqrt(math.cos(math.radians(60 - 120 * min(max(row / height, 0.0), 1.0))))
        return self.gsd

    def reduced(self, times: int) -> Tensor:
        """Its pixels box-averaged by ``times``, uint8 [3, H // times, W // times]; kept, for crops are cut by the thousand."""
        if times == 1:
            return self.pixels
        if times not in self._reduced:
            self._reduced[times] = to_bytes(F.avg_pool2d(to_unit(self.pixels)[None], times))[0]
        return self._reduced[times]


def holdout_names(path: Path = HOLDOUT_LIST) -> frozenset[str]:
    """Names (relative to the imagery folder) of the images that are never trained on."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return frozenset(line for line in lines if line)


def load_pictures(folder: Path, holdout: bool = False, min_side: int = 64) -> list[Picture]:
    """Read the images of ``folder/manifest.csv``: the training ones, or those held out. Sheets are split into their cells.

    The manifest's columns: file, gsd_m, width, height, cell_px (0: contiguous), source, projection. Sheet cells and images with
    a side under ``min_side`` are left out. Raises `ImageryError`.
    """
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise ImageryError(f"{manifest} does not exist; point --imagery at a folder with a manifest.csv.")
    excluded = holdout_names()
    with manifest.open(newline="") as file:
        entries = [_entry(manifest, row) for row in csv.DictReader(file)]
    wanted = [entry for entry in entries if (entry.name in excluded) == holdout and entry.name.lower().endswith(FORMATS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = pool.map(lambda entry: _pictures(folder, entry, min_side), wanted)
        pictures = [picture for of_file in read for picture in of_file]
    if not pictures:
        raise ImageryError(
            f"{manifest} lists no {'held-out' if holdout else 'training'} image of at least {min_side} px a side."
        )
    return pictures


@dataclass(frozen=True)
class _Entry:
    """One row of a manifest."""

    name: str
    source: str
    projection: str
    gsd: float
    cell: int


def _entry(manifest: Path, row: dict[str, str]) -> _Entry:
    try:
        cell = int(float(row["cell_px"] or 0))
        return _Entry(row["file"], row["source"], row.get("projection") or "", float(row["gsd_m"]), cell)
    except (KeyError, TypeError, ValueError) as error:
        raise ImageryError(
            f"{manifest} has a row that cannot be read ({error}); see the format in docs/training.md."
        ) from error


def _pictures(folder: Path, entry: _Entry, min_side: int) -> list[Picture]:
    """The pictures of one file: itself, or the cells of a sheet."""
    pixels, projection = _read(folder / entry.name), entry.projection
    if entry.source == COARSE:
        pixels = bridge_contrast(tone_blue_marble(pixels), entry.gsd)
    if "equirect" in entry.name or projection == "equirectangular":
        projection = "equirectangular"
        height = pixels.shape[0]
        pixels = pixels[height // 6 : -height // 6]  # beyond 60 degrees its pixels are far from square
    pictures = []
    for index, part in enumerate(_cells(pixels, entry.cell)):
        if min(part.shape[:2]) >= min_side:
            tensor = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))
            name = f"{entry.name}#{index}" if entry.cell else entry.name
            pictures.append(Picture(name, entry.source, projection, entry.gsd, tensor))
    return pictures


def _read(path: Path) -> np.ndarray:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except OSError as error:
        raise ImageryError(f"{path} cannot be read as an image ({error}).") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _cells(pixels: np.ndarray, cell: int) -> Iterator[np.ndarray]:
    if not cell:
        yield pixels
        return
    for y in range(0, pixels.shape[0] - cell + 1, cell):
        for x in range(0, pixels.shape[1] - cell + 1, cell):
            yield pixels[y : y + cell, x : x + cell]


@dataclass(frozen=True)
class Candidate:
    """A picture reduced by an integer factor, as one way to get a crop of a resolution band."""

    picture: Picture
    reduction: int

    @property
    def megapixels(self) -> float:
        """Its size after the reduction."""
        return self.picture.pixels.shape[1:].numel() / self.reduction**2 / 1e6

    def fills(self, size: int) -> bool:
        """Whether a crop need not be mirrored."""
        return min(self.picture.pixels.shape[1:]) >= size * self.reduction

    def cut(self, size: int, rng: random.Random) -> tuple[Tensor, float]:
        """A crop at random, float [3, size, size] on [-1, 1], and its metres per pixel; smaller pictures are mirrored."""
        pixels = self.picture.reduced(self.reduction)
        top, left = (_start(side, size, rng) for side in pixels.shape[1:])
        gsd = self.picture.ground_resolution((top + size / 2) * self.reduction)
        return to_unit(_window(pixels, top, left, size)), gsd * self.reduction


class Group:
    """The candidates of one source in one band: drawn by the square root of their size; the source by that of all of them, so
    that one large photograph is not shown a thousand times as often as a small one."""

    def __init__(self, candidates: list[Candidate]) -> None:
        self.candidates = candidates
        self.cumulative = list(itertools.accumulate(c.megapixels**0.5 for c in candidates))
        self.megapixels = sum(c.megapixels for c in candidates)
        share = SHARES.get(candidates[0].picture.source, 1.0)
        self.weight = share * (min(self.megapixels, 20.0) ** 0.5 + 0.1)

    def draw(self, rng: random.Random) -> Candidate:
        """One candidate."""
        return rng.choices(self.candidates, cum_weights=self.cumulative)[0]


class CropSampler(IterableDataset[tuple[Tensor, float, bool]]):
    """Endless crops (float [3, size, size] on [-1, 1], log2 of metres per pixel, whether it is whole): first a one-octave band
    of ground resolution is drawn, then a source that reaches it (box-averaging by 1, 2, 4 or 8), then an image, then a place.
    Smaller images are mirrored, see `MIRRORED`, and such crops are not whole."""

    def __init__(self, pictures: list[Picture], size: int, seed: int = 0) -> None:
        super().__init__()
        self.size, self.seed = size, seed
        bands: dict[int, dict[str, list[Candidate]]] = {}
        for picture in pictures:
            side = min(picture.pixels.shape[1:])
            reduction = 1
            while reduction <= MAX_REDUCTION and side * MIRRORED >= size * reduction:
                band = round(math.log2(picture.gsd * reduction))
                bands.setdefault(band, {}).setdefault(picture.source, []).append(Candidate(picture, reduction))
                reduction *= 2
        if not bands:
            raise ImageryError(
                f"No image has a side of at least {-(-size // MIRRORED)} px; use a smaller crop or larger images."
            )
        self.bands = {band: [Group(candidates) for candidates in bands[band].values()] for band in sorted(bands)}
        self._band_weights = [_band_weight(band, groups) for band, groups in self.bands.items()]

    def __iter__(self) -> Iterator[tuple[Tensor, float, bool]]:
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(self.seed * 1009 + (worker.id if worker else 0))
        while True:
            image, log2_gsd, _, whole = self.crop(rng)
            yield image, log2_gsd, whole

    def crop(self, rng: random.Random) -> tuple[Tensor, float, int, bool]:
        """One crop, its log2 ground resolution, the band it was drawn for, and whether it is whole. Nearly flat crops are
        mostly drawn again. A crop lent by another band passes for this one's: land looks alike over an octave or two."""
        while True:
            band = rng.choices(list(self.bands), self._band_weights)[0]
            lender = self._lender(band, rng)
            candidate = self.candidate(lender, rng)
            image, gsd = candidate.cut(self.size, rng)
            if image.std() < 0.015 and rng.random() < 0.8:
                continue
            image = self._augment(image, candidate.picture.source, rng)
            return image, math.log2(gsd) + band - lender, band, candidate.fills(self.size)

    def reduce_all(self) -> None:
        """Box-average all that crops are cut from now, not when it is first drawn: processes forked afterwards share it."""
        for group in itertools.chain.from_iterable(self.bands.values()):
            for candidate in group.candidates:
                candidate.picture.reduced(candidate.reduction)

    def candidate(self, band: int, rng: random.Random) -> Candidate:
        """A picture that reaches a band: a source by its weight, then an image of it."""
        groups = self.bands[band]
        return rng.choices(groups, [group.weight for group in groups])[0].draw(rng)

    def _lender(self, band: int, rng: random.Random) -> int:
        """The band that a crop for ``band`` is taken from."""
        lack = 1 - _megapixels(self.bands[band]) / THIN
        near = [other for other in (band - 2, band - 1, band + 1, band + 2) if other in self.bands]
        return rng.choice(near) if near and rng.random() < BORROWED * lack else band

    @staticmethod
    def _augment(image: Tensor, source: str, rng: random.Random) -> Tensor:
        gain = torch.full((3,), rng.uniform(0.75, 1.2))
        if source != COARSE:  # relief is lit from the north-west there, and the tone is the planet's own
            dims = [dim for dim in (1, 2) if rng.random() < 0.5]
            image = image.flip(dims) if dims else image
            if rng.random() < 0.5:
                image = image.transpose(1, 2)
            # Scenes come stretched and tinted, each in its way, and must not be known by it.
            mean = image.mean((1, 2), keepdim=True)
            image = mean + rng.uniform(0.6, 1.15) * (image - mean)
            gain = gain * torch.tensor([rng.gauss(0, 0.1) for _ in range(3)]).exp()
        shift = torch.tensor([rng.gauss(0, 0.04) for _ in range(3)])
        return (image + 1) * gain[:, None, None] - 1 + shift[:, None, None]


def _start(side: int, span: int, rng: random.Random) -> int:
    """Where a window of ``span`` starts on an axis of ``side``: within it, or, if it is longer, so that it holds all of it."""
    return rng.randrange(side - span + 1) if side >= span else -rng.randrange(span - side + 1)


def _window(pixels: Tensor, top: int, left: int, span: int) -> Tensor:
    """[C, span, span] of ``pixels``, mirrored beyond their edges."""
    height, width = pixels.shape[1:]
    if min(height - span, width - span) >= 0:
        return pixels[:, top : top + span, left : left + span]
    rows, cols = (mirror_rows(np.arange(start, start + span), side) for start, side in ((top, height), (left, width)))
    return pixels[:, torch.from_numpy(rows)[:, None], torch.from_numpy(cols)]


def _band_weight(band: int, groups: list[Group]) -> float:
    """Bands of the generated zooms (0.15 m to 2.4 km) count fully, coarser and finer ones a little; so do thin bands."""
    inside = 1.0 if -2.5 <= band <= 11.5 else 0.35
    return inside * math.sqrt(min(1.0, _megapixels(groups)))


def _megapixels(groups: list[Group]) -> float:
    return sum(group.megapixels for group in groups)
