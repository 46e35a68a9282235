"""Rivers and roads: where they were at every zoom and in every window, without ends, and of the colours of water and woods."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model import ways as module
from model.context import Context
from model.denoiser import RESIDUAL_SCALE
from model.grid import MAX_ZOOM, world_size
from model.noise import Indices
from model.parcels import Register, lay, shares_at
from model.stage import to_unit
from model.ways import CALM, RIVERS, coloured, ways

ROAD, CLEARED, WET, BANKS = 3, 4, 5, 6
SEED = 3


def at(zoom: int, row: int, col: int, side: int = 128) -> Tensor:
    """Those of one window, [7, side, side]."""
    return along(zoom, np.arange(row, row + side), np.arange(col, col + side))


def along(zoom: int, rows: Indices, cols: Indices) -> Tensor:
    return ways([SEED], [zoom], rows[None], cols[None])[0]


def river_at(zoom: int, least: float = 0.99) -> tuple[int, int]:
    """Row and column of a pixel of ``zoom`` that is in a river."""
    for start in range(90 << 10, 110 << 10, 1024):
        found = at(10, start, start, 1024)[WET] > least
        if found.any():
            row, col = (int(v) + start for v in found.nonzero()[0])
            return ((row << MAX_ZOOM - 10) + 512) >> MAX_ZOOM - zoom, ((col << MAX_ZOOM - 10) + 512) >> MAX_ZOOM - zoom
    raise AssertionError("no river was found")


@pytest.mark.parametrize("zoom", [6, 8, 10, 13, 16])
def test_what_is_at_a_place_does_not_depend_on_the_window(zoom: int) -> None:
    row, col = (start - 64 for start in river_at(zoom))
    whole = at(zoom, row, col, 192)
    assert whole[WET].any()
    for top, left in ((0, 0), (32, 96), (128, 100)):
        assert torch.equal(at(zoom, row + top, col + left, 64), whole[:, top : top + 64, left : left + 64])
    turned = along(zoom, np.arange(row, row + 192)[::-1].copy(), np.arange(col, col + 192))
    assert torch.equal(turned.flip(1), whole)


def test_they_are_those_of_their_recipe() -> None:
    digest = hashlib.sha256()
    for zoom in (6, 8, 10, 14):
        row, col = river_at(zoom)
        digest.update(at(zoom, row - 64, col - 64).numpy().tobytes())
    assert digest.hexdigest()[:16] == "5a906f3aa38e5f5e"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_the_same_to_the_bit() -> None:
    rows = np.arange(90 << 10, (90 << 10) + 256)[None]
    assert torch.equal(ways([SEED], [10], rows, rows, "cuda").cpu(), ways([SEED], [10], rows, rows))


@pytest.mark.parametrize("zoom", [10, 12, 14])
def test_a_pixel_has_as_much_of_a_river_as_its_children(zoom: int) -> None:
    row, col = river_at(zoom)
    coarse, fine = at(zoom, row - 32, col - 32, 64), at(zoom + 2, 4 * row - 128, 4 * col - 128, 256)
    means = F.avg_pool2d(fine, 4)
    land = (coarse[ROAD] == 0) & (means[ROAD] == 0)  # a bridge is a pixel wide at least
    assert coarse[WET][land].max() > 0.9
    off = (coarse[WET] - means[WET])[land].abs()
    assert off.mean() < 0.02 and (off > 0.3).float().mean() < 0.01


def test_rivers_have_no_ends() -> None:
    """Of their pixels all have others beside them on two sides at least, but for those at the border of the picture."""
    found = at(10, 90 << 10, 135 << 10, 1024)
    there = (found[WET] > 0.05) | (found[ROAD] == 1)
    assert 0.003 < (found[WET] > 0.5).float().mean() < 0.1
    beside = F.conv2d(there[None, None].float(), torch.ones(1, 1, 3, 3), padding=1)[0, 0] - 1
    assert ((beside < 2) & there)[2:-2, 2:-2].sum() <= 0.01 * there.sum()


def test_the_largest_are_seen_first_and_banks_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[bool]] = {}
    for zoom in (4, 6, 8, 10):
        for river in RIVERS:
            monkeypatch.setattr(module, "RIVERS", (river,))
            found = at(zoom, 90 << zoom, 90 << zoom, 1024 if zoom > 4 else 256)
            seen.setdefault(zoom, []).append(bool(found[WET].any()))
            assert found[WET].min() >= 0 and found[WET].max() <= min(1, 2.8 * river.half / (1 << MAX_ZOOM - zoom)) + 1e-6
            assert bool(found[BANKS].any()) == (river.half > 0.5 * (1 << MAX_ZOOM - zoom) and bool(found[WET].any()))
    assert seen[4] == [False] * 3 and seen[6] == [True, False, False]
    assert seen[8] == [True, True, False] and all(seen[10])
    assert shares_at(4).ways == 0 < shares_at(6).ways < shares_at(8).ways


def test_there_are_no_parcels_in_rivers_nor_on_their_banks() -> None:
    row, col = river_at(12)
    found = at(12, row - 64, col - 64)
    assert found[CLEARED][(found[WET] > 0) | (found[ROAD] > 0) | (found[BANKS] > 0.6)].eq(1).all()
    assert found[CLEARED].mean() < 0.9


def test_they_close_where_the_world_does() -> None:
    size = world_size(14)
    cols = np.concatenate([np.arange(size - 64, size), np.arange(64)])
    banks = torch.cat([along(14, np.arange(row, row + 64), cols)[BANKS] for row in range(4000, 9000, 250)])
    steps = banks.diff(dim=1).abs().mean(0)
    assert banks.any() and steps[63] <= 2 * torch.cat([steps[:63], steps[64:]]).max() and steps[63] <= 3 * steps.mean() + 0.01


def test_a_river_takes_on_the_colour_of_water_and_banks_become_darker_alone() -> None:
    upper, detail = torch.full((1, 3, 8, 8), 0.2), torch.zeros(1, 3, 8, 8)
    rivers = torch.zeros(1, 2, 8, 8)
    assert torch.equal(coloured(detail, upper, rivers), detail)
    rivers[:, 0, 2:4], rivers[:, 1, 2:6] = 1, 1
    found = upper + RESIDUAL_SCALE * coloured(detail, upper, rivers)
    river, bank, land = ((found[0, :, row, 0] + 1) * 127.5 for row in (2, 5, 7))
    assert (river < bank).all() and (bank < land).all() and river.mean() < 70 and bank[1] == bank.max()
    dark = torch.full((1, 3, 8, 8), -0.8)
    assert torch.equal(coloured(detail, dark, rivers)[:, :, 5], detail[:, :, 5])  # darker woods than those of banks stay


def test_planets_have_them_on_land_and_pictures_of_none_have_no_colours() -> None:
    zoom, half = 12, 16
    row, col = river_at(zoom)
    rows, cols = (np.arange(at - 2 * half, at + 2 * half) for at in (row, col))
    wet = along(zoom, rows, cols)[WET]
    assert wet.max() == 1
    here = Register.of_planet(zoom, rows, cols, Context(np.full((4096, 4096, 3), (90, 110, 70), np.uint8)))
    noise = torch.randn(1, 3, 4 * half, 4 * half, generator=torch.Generator().manual_seed(0))

    def laid(colour: tuple[int, int, int], register: Register | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        parents = to_unit(torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(1, -1, half + 8, half + 8))
        return lay(noise, parents, [(SEED, register, rows, cols)])

    for colour in ((90, 110, 70), (105, 108, 104)):  # fields, and what is as grey as a town
        found, strength, rivers = laid(colour, here)
        assert rivers is not None and strength is not None
        assert torch.allclose(rivers[0, 0], wet, atol=1e-5)
        inside = wet == 1
        assert found[0, 0][inside].mean() < -0.8 and strength[0, 0][inside].max() <= 1.5 * (1 - CALM)
    for colour in ((45, 98, 163), (240, 240, 245), (230, 210, 170)):  # sea, snow and sand
        rivers = laid(colour, here)[2]
        assert rivers is None or rivers.max() < 0.05
    assert laid((90, 110, 70), Register.of_picture(zoom))[2] is None
