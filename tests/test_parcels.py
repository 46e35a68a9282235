"""The land register in the noise: the same at every zoom and in every window, and only where land is farmed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.grid import lonlat_to_pixel
from model.parcels import FARMED_MARGIN, Register, land_use, lay, shares_at, zoom_near
from model.stage import to_unit
from model.survey import rivers, survey

PLAIN = (83, 93, 65)  # Iowa's in the base picture


def parents(*colours: tuple[int, int, int], side: int = 8) -> Tensor:
    """Parents of one colour each, with their margins."""
    pixels = torch.tensor(colours, dtype=torch.uint8)[:, :, None, None]
    return to_unit(pixels.expand(-1, -1, side + 2 * FARMED_MARGIN, side + 2 * FARMED_MARGIN))


def white(count: int = 1, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


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
        "turbid sea": (77, 96, 78),
        "black": (0, 0, 0),
    }
    found = land_use(parents(*looks.values()))[:, :1]
    assert found.shape == (len(looks), 1, 32, 32)
    shares = dict(zip(looks, found.mean((1, 2, 3)).tolist(), strict=True))
    assert shares.pop("plain") == 1 and shares.pop("stubble") > 0.8
    assert set(shares.values()) == {0.0}, shares


def test_it_begins_smoothly_and_does_not_depend_on_the_window() -> None:
    wide = parents(PLAIN, side=24).clone()
    wide[..., 16:] = parents((45, 98, 163), side=24)[..., 16:]
    whole = land_use(wide)[:, :1]
    assert whole.diff(dim=3).abs().max() < 0.3 and whole.max() == 1 and whole.min() == 0
    part = land_use(wide[..., 4:28, 8:24])[:, :1]
    assert torch.allclose(part, whole[..., 16:80, 32:64], atol=1e-6)


def test_noise_is_laid_out_where_land_is_farmed_and_nowhere_else() -> None:
    rows = np.arange(90 << 14, (90 << 14) + 32)
    noise = white(3)
    site = (3, Register.of_picture(14), rows, rows)
    laid = lay(noise, parents(PLAIN, (45, 98, 163), PLAIN), [site, site, (3, None, rows, rows)])
    assert torch.equal(laid[1:], noise[1:])
    found = survey([3], [14], rows[None], rows[None])[0]
    fields, built = shares_at(14)
    share = fields * found[3] + built * found[4]
    assert not rivers([3], [14], rows[None], rows[None])[0, 4].any()
    assert torch.allclose(laid[0], (1 - share**2).sqrt() * noise[0] + share * found[:3], atol=1e-6)
    assert not torch.equal(laid[0], noise[0])
    assert lay(noise, parents(PLAIN, PLAIN, PLAIN), [(3, None, rows, rows)] * 3) is noise
    assert lay(noise, parents(*[(45, 98, 163)] * 3), [site] * 3) is noise


def test_none_is_where_it_is_cold_nor_where_fields_are_too_small_or_too_large_to_be_seen() -> None:
    def mild(zoom: int, lat: float) -> float:
        row = int(lonlat_to_pixel(0, lat, zoom)[1])
        register = Register.of_planet(zoom, np.arange(row, row + 8))
        return 0.0 if register is None else float(register.mild.mean())

    assert mild(12, 45) == mild(12, -50) == 1
    assert 0 < mild(12, 62.5) < 1 and mild(12, 66) == 0
    assert [mild(zoom, 45) for zoom in (6, 8)] == [0, 0]
    assert all(Register.of_picture(zoom) is None for zoom in (-3, 8, 21, 23))
    register = Register.of_picture(zoom_near(np.log2(27.6)))
    assert register is not None and register.zoom == 12
