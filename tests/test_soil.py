"""Soil is brown, and stays so down a cascade; nothing else changes colour."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.soil import BROWN, browner, light_browner
from model.stage import to_bytes, to_unit

PINK, RUST = (228, 182, 170), (150, 100, 84)


def pixel(colour: tuple[int, int, int]) -> Tensor:
    return to_unit(torch.tensor(colour, dtype=torch.uint8))[None, :, None, None]


def hue(image: Tensor) -> float:
    red, green, blue = image.flatten().tolist()
    return float((green - blue) / (red - blue))


@pytest.mark.parametrize("colour", [PINK, RUST])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_red_soil_gets_its_share_of_what_it_lacks_and_keeps_its_light(colour: tuple[int, int, int], share: float) -> None:
    before, after = pixel(colour), browner(pixel(colour), share)
    assert hue(after) == pytest.approx(hue(before) + share * (BROWN - hue(before)), abs=1e-3)
    assert after.mean().item() == pytest.approx(before.mean().item(), abs=1e-6) and after[0, 0] == before[0, 0]


@pytest.mark.parametrize(
    "colour", [(210, 190, 130), (60, 90, 50), (120, 120, 120), (40, 80, 140), (90, 80, 120), (255, 255, 255), (0, 0, 0)]
)
def test_sand_plants_rock_and_water_stay_as_they_are(colour: tuple[int, int, int]) -> None:
    assert torch.equal(browner(pixel(colour), 1.0), pixel(colour))


def test_there_is_no_edge_where_soil_begins_to_be_red() -> None:
    """Neighbours by one grey level are not further apart than a few afterwards: what is bf16's rounding stays that."""
    levels = torch.arange(256)
    for green, blue in ((100, 99), (100, 130), (140, 139), (60, 20)):
        line = torch.stack([levels, torch.full_like(levels, green), torch.full_like(levels, blue)])[None, :, None].byte()
        assert to_bytes(browner(to_unit(line))).int().diff(dim=-1).abs().max() <= 3


def test_what_is_generated_becomes_browner_where_it_is_light() -> None:
    assert torch.equal(light_browner(pixel((70, 40, 32))), pixel((70, 40, 32)))
    assert hue(light_browner(pixel(PINK))) > hue(pixel(PINK)) + 0.1
