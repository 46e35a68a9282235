"""The land register in the noise: the same at every zoom and in every window, and only where land is farmed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor

from model.grid import lonlat_to_pixel
from model.parcels import FARMED_MARGIN, Register, farmed, lay, parcels, zoom_near
from model.stage import to_unit

PLAIN = (83, 93, 65)  # Iowa's in the base picture


def at(zoom: int, row: int, col: int, side: int = 128, seed: int = 3) -> Tensor:
    """The register of one window, [4, side, side]."""
    return parcels([seed], [zoom], np.arange(row, row + side)[None], np.arange(col, col + side)[None])[0]


def parents(*colours: tuple[int, int, int], side: int = 8) -> Tensor:
    """Parents of one colour each, with their margins."""
    pixels = torch.tensor(colours, dtype=torch.uint8)[:, :, None, None]
    return to_unit(pixels.expand(-1, -1, side + 2 * FARMED_MARGIN, side + 2 * FARMED_MARGIN))


def white(count: int = 1, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_a_field_is_where_it_was_at_every_zoom() -> None:
    for zoom in (10, 12, 14, 16):
        coarse, fine = at(zoom, 100 << zoom, 90 << zoom), at(zoom + 2, 400 << zoom, 360 << zoom, 512)
        same = (coarse == fine[:, 2::4, 2::4]).all(0)
        # Only what lies at an edge, or on a road that is a pixel wide, may differ.
        assert same.float().mean() > (0.6 if zoom == 10 else 0.85), zoom


def test_what_is_at_a_place_does_not_depend_on_the_window_or_on_company() -> None:
    whole = at(14, 5000, 7000)
    assert torch.equal(at(14, 5040, 7010, 64), whole[:, 40:104, 10:74])
    both = parcels([3, 4], [14, 12], np.arange(5000, 5128)[None].repeat(2, 0), np.arange(7000, 7128)[None].repeat(2, 0))
    assert torch.equal(both[0], whole) and torch.equal(both[1], at(12, 5000, 7000, seed=4))
    assert not torch.equal(at(14, 5000, 7000, seed=4), whole)


def test_the_register_is_the_one_of_its_recipe() -> None:
    digest = hashlib.sha256()
    for zoom in (10, 14, 18):
        digest.update(at(zoom, 90 << zoom, 135 << zoom).numpy().tobytes())
    assert digest.hexdigest()[:16] == "e305f53e117ea9b6"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_the_same_register_to_the_bit() -> None:
    rows = np.arange(90 << 14, (90 << 14) + 256)[None]
    assert torch.equal(parcels([3], [14], rows, rows, "cuda").cpu(), parcels([3], [14], rows, rows))


def test_fields_are_of_some_size_and_of_all_values() -> None:
    found = at(12, 90 << 12, 135 << 12, 1024)
    values, field = found[:3], found[3]
    assert field.mean().item() == pytest.approx(0.82, abs=0.06)
    assert values.abs().max() < 1.9 and values.mean().abs() < 0.15 and 0.5 < values.std() < 1.1
    edges = (values[0, :, 1:] != values[0, :, :-1]).float().mean().item()
    assert 0.03 < edges < 0.2  # a field is some 5 to 30 px wide


def test_only_what_has_the_colour_of_farmland_is_farmed() -> None:
    looks = {
        "plain": PLAIN,
        "stubble": (119, 111, 84),
        "woods": (40, 58, 35),
        "sand": (215, 185, 140),
        "steppe": (146, 132, 111),
        "red desert": (155, 103, 74),
        "snow": (235, 238, 242),
        "rock": (110, 108, 106),
        "sea": (45, 98, 163),
        "black": (0, 0, 0),
    }
    found = farmed(parents(*looks.values()))
    assert found.shape == (len(looks), 1, 32, 32)
    shares = dict(zip(looks, found.mean((1, 2, 3)).tolist(), strict=True))
    assert shares.pop("plain") == 1 and shares.pop("stubble") > 0.8
    assert set(shares.values()) == {0.0}, shares


def test_it_begins_smoothly_and_does_not_depend_on_the_window() -> None:
    wide = parents(PLAIN, side=24).clone()
    wide[..., 16:] = parents((45, 98, 163), side=24)[..., 16:]
    whole = farmed(wide)
    assert whole.diff(dim=3).abs().max() < 0.3 and whole.max() == 1 and whole.min() == 0
    part = farmed(wide[..., 4:28, 8:24])
    assert torch.allclose(part, whole[..., 16:80, 32:64], atol=1e-6)


def test_noise_is_laid_out_where_land_is_farmed_and_nowhere_else() -> None:
    rows = np.arange(90 << 14, (90 << 14) + 32)
    noise = white(3)
    site = (3, Register.of_picture(14), rows, rows)
    laid = lay(noise, parents(PLAIN, (45, 98, 163), PLAIN), [site, site, (3, None, rows, rows)])
    assert torch.equal(laid[1:], noise[1:])
    fields = at(14, 90 << 14, 90 << 14, 32)
    assert torch.allclose(laid[0], (1 - (0.6 * fields[3]) ** 2).sqrt() * noise[0] + 0.6 * fields[3] * fields[:3], atol=1e-6)
    assert not torch.equal(laid[0], noise[0])
    assert lay(noise, parents(PLAIN, PLAIN, PLAIN), [(3, None, rows, rows)] * 3) is noise


def test_none_is_where_it_is_cold_nor_where_fields_are_too_small_or_too_large_to_be_seen() -> None:
    def share(zoom: int, lat: float) -> float:
        row = int(lonlat_to_pixel(0, lat, zoom)[1])
        register = Register.of_planet(zoom, np.arange(row, row + 8))
        return 0.0 if register is None else float(register.share.mean())

    assert share(12, 45) == share(12, -50) == pytest.approx(0.75)
    assert 0 < share(12, 62.5) < 0.75 and share(12, 66) == 0
    assert [share(zoom, 45) for zoom in (6, 8, 20)] == [0, 0, 0]
    assert all(Register.of_picture(zoom) is None for zoom in (-3, 8, 20, 23))
    register = Register.of_picture(zoom_near(np.log2(27.6)))
    assert register is not None and register.zoom == 12
