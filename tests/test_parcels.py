"""The land register in the noise: what is laid where, by the colour of the parent and by how rugged land is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.context import Context
from model.grid import lonlat_to_pixel
from model.land_use import LAND_MARGIN, land_use
from model.parcels import TREES_SHARE, Laid, Register, lay, shares_at, zoom_near
from model.relief import relief
from model.stage import to_unit
from model.strength import FIELDS, LEVEL, RUGGED, WOODS, ZOOM_KNOTS
from model.survey import survey
from model.trees import trees
from model.ways import ways

PLAIN = (83, 93, 65)  # Iowa's in the base picture


def parents(*colours: tuple[int, int, int], side: int = 8) -> Tensor:
    """Parents of one colour each, with their margins."""
    pixels = torch.tensor(colours, dtype=torch.uint8)[:, :, None, None]
    return to_unit(pixels.expand(-1, -1, side + 2 * LAND_MARGIN, side + 2 * LAND_MARGIN))


def white(count: int = 1, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


LOOKS = {
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


@pytest.mark.parametrize(
    ("kind", "all_of", "some_of"),
    [
        ("farmed", {"plain", "stubble"}, set()),
        ("arable", {"plain", "stubble", "steppe", "red desert"}, set()),
        ("open", {"plain", "stubble", "steppe", "red desert", "woods"}, set()),
        ("wild", {"plain", "stubble", "woods", "sand", "steppe", "red desert", "snow", "rock", "turbid sea"}, set()),
        ("woods", {"woods"}, set()),
        ("watered", {"plain", "stubble", "steppe", "red desert", "woods", "rock", "turbid sea"}, set()),
    ],
)
def test_land_is_used_by_its_colour(kind: str, all_of: set[str], some_of: set[str]) -> None:
    found: Tensor = getattr(land_use(parents(*LOOKS.values())), kind)
    assert found.shape == (len(LOOKS), 1, 32, 32)
    shares = dict(zip(LOOKS, found.mean((1, 2, 3)).tolist(), strict=True))
    assert {look for look, share in shares.items() if share > 0.95} == all_of, shares
    assert {look for look, share in shares.items() if 0 < share <= 0.95} == some_of, shares


def test_it_begins_smoothly_and_does_not_depend_on_the_window() -> None:
    wide = parents(PLAIN, side=24).clone()
    wide[..., 16:] = parents((45, 98, 163), side=24)[..., 16:]
    part = land_use(wide[..., 4:28, 8:24])
    for whole, there in zip(land_use(wide)[:4], part, strict=False):
        assert whole.diff(dim=3).abs().max() < 0.3 and whole.max() == 1 and whole.min() == 0
        assert torch.allclose(there, whole[..., 16:80, 32:64], atol=1e-6)


ROWS, COLS = np.arange(90 << 14, (90 << 14) + 32), np.arange(100 << 14, (100 << 14) + 32)


def laid_at(zoom: int, colour: tuple[int, int, int], rows: NDArray[np.int64] = ROWS, cols: NDArray[np.int64] = COLS) -> Tensor:
    """White noise on land of one ``colour`` with what is laid in it, and a picture at sea beside it, left alone."""
    noise, site = white(2), (3, Register.of_picture(zoom), rows, cols)
    laid, strength, rivers = lay(noise, parents(colour, (45, 98, 163)), [site, site])
    assert strength is None and rivers is None  # of pictures of no planet
    assert torch.equal(laid[1], noise[1])
    return laid[0]


def test_noise_is_laid_out_where_land_is_farmed_and_nowhere_else() -> None:
    found, shares = survey([3], [14], ROWS[None], COLS[None])[0], shares_at(14)
    assert not ways([3], [14], ROWS[None], COLS[None])[0, 4:].any()
    share = shares.fields * found[3] + shares.built * found[4]
    assert torch.allclose(laid_at(14, PLAIN), (1 - share**2).sqrt() * white(2)[0] + share * found[:3], atol=1e-6)
    noise, site = white(3), (3, Register.of_picture(14), ROWS, COLS)
    assert lay(noise, parents(PLAIN, PLAIN, PLAIN), [(3, None, ROWS, COLS)] * 3).noise is noise
    assert lay(noise, parents(*[(45, 98, 163)] * 3), [site] * 3).noise is noise


def test_wild_land_has_relief_and_more_of_it_where_it_is_rugged() -> None:
    shares = {}
    for columns in (COLS + (at << 16) for at in range(40)):
        (height, rugged) = relief([3], [14], ROWS[None], columns[None])[0]
        laid = laid_at(14, LOOKS["sand"], cols=columns)
        # Of noise and relief, which are about independent, by least squares.
        share = ((laid - white(2)[0]) * height).mean() / height.square().mean()
        shares[rugged.mean().item()] = share.item()
    level, hills = ([s for r, s in shares.items() if low < r < high] for low, high in ((-2, -0.3), (0.2, 2)))
    assert len(level) > 1 and len(hills) > 1
    assert max(level) < 0.88 and min(hills) > 0.9 and max(hills) < 1  # 0.95, and 0.9 of it


def test_steppe_is_farmed_where_it_is_level_alone() -> None:
    for columns in (COLS + (at << 16) for at in range(40)):
        rugged = relief([3], [14], ROWS[None], columns[None])[0, 1]
        if ways([3], [14], ROWS[None], columns[None])[0, 4:].any():
            continue
        found, laid = survey([3], [14], ROWS[None], columns[None])[0], laid_at(14, LOOKS["steppe"], cols=columns)
        fields = (found[3] == 1).expand(3, -1, -1)
        if rugged.max() < -0.16 and fields.any():
            share = shares_at(14).fields
            kept = (laid - share * found[:3])[fields] / (1 - share**2) ** 0.5
            assert torch.allclose(kept, white(2)[0][fields], atol=1e-5)
            break
    else:
        raise AssertionError("no level land was found")
    bare = parents(LOOKS["sand"])
    assert land_use(bare).arable.max() == 0


def test_there_are_crowns_in_woods_and_few_on_open_land() -> None:
    rows, cols = ROWS << 4, COLS << 4
    assert not ways([3], [18], rows[None], cols[None])[0, 4:].any()
    crown, density = trees([3], [18], rows[None], cols[None])[0]
    laid, share = laid_at(18, (46, 58, 30), rows, cols), TREES_SHARE
    there = (density < 0.8).expand(3, -1, -1)
    assert 0.03 < there.float().mean() < 0.6
    kept = (laid - share * crown)[there] / (1 - share**2) ** 0.5
    assert torch.allclose(kept, white(2)[0][there], atol=1e-5)


def laid_in(rugged: float, city: float, colour: tuple[int, int, int], zoom: int = 14) -> Laid:
    """White noise on land of one ``colour`` on a planet, where its context is the same everywhere."""
    told = np.stack([np.full((32, 32), value, np.float32) for value in (rugged, city)])
    site = (3, Register(zoom, np.ones(1, np.float32), told), ROWS, COLS)
    return lay(white(), parents(colour), [site])


def test_planets_are_calm_where_land_is_level_and_fields_are_at_depth() -> None:
    def mean(rugged: float, colour: str, zoom: int = 14, city: float = 0.0) -> float:
        strength = laid_in(rugged, city, LOOKS[colour], zoom).strength
        return 1.0 if strength is None else strength.mean().item()

    knots = list(ZOOM_KNOTS)
    assert mean(-2, "sand") == pytest.approx(LEVEL[knots.index(14)]) and mean(2, "sand") == pytest.approx(
        RUGGED[knots.index(14)]
    )
    assert mean(-2, "sand") < mean(0.2, "sand") < mean(2, "sand")
    assert mean(-2, "woods") == pytest.approx(WOODS[knots.index(14)]) and mean(0, "sea") == 1
    assert mean(-2, "plain", 16) == pytest.approx(FIELDS[knots.index(16)]) and mean(-2, "plain", 16, city=1) == 1


def test_green_mountains_are_not_farmed_and_cities_are_built_up() -> None:
    plain, mountains = (laid_in(rugged, 0, PLAIN).noise for rugged in (-0.3, 0.7))
    height = relief([3], [14], ROWS[None], COLS[None])[0, 0]
    share = ((mountains - white())[0] * height).mean() / height.square().mean()
    assert share > 0.8 and not torch.equal(plain, mountains)
    city = survey([3], [14], ROWS[None], COLS[None], cities=torch.ones(1, 32, 32))[0]
    assert city[4].all() and not survey([3], [14], ROWS[None], COLS[None])[0, 4].all()
    for colour in ("plain", "woods", "rock"):
        built = shares_at(14).built
        expected = (1 - built**2) ** 0.5 * white()[0] + built * city[:3]
        assert torch.allclose(laid_in(0, 1, LOOKS[colour]).noise[0], expected, atol=1e-5), colour


def test_none_is_where_it_is_cold_nor_where_fields_are_too_small_or_too_large_to_be_seen() -> None:
    nowhere = Context(np.zeros((4096, 4096, 3), np.uint8))

    def mild(zoom: int, lat: float) -> float:
        row = int(lonlat_to_pixel(0, lat, zoom)[1])
        register = Register.of_planet(zoom, np.arange(row, row + 8), np.arange(8), nowhere)
        return 0.0 if register is None else float(register.mild.mean())

    assert mild(12, 45) == mild(12, -50) == 1
    assert 0 < mild(12, 62.5) < 1 and mild(12, 66) == 0
    assert [mild(zoom, 45) for zoom in (4, 5)] == [0, 0]
    assert all(Register.of_picture(zoom) is None for zoom in (-3, 5, 21, 23))
    register = Register.of_picture(zoom_near(np.log2(27.6)))
    assert register is not None and register.zoom == 12
