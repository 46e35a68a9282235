"""Smooth fields, relief and trees: the same in every window, endless, and lit from one side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.fields import distances, octave, smooth
from model.grid import MAX_ZOOM, world_size
from model.relief import MOST, relief
from model.trees import FINEST_ZOOM, trees

What = Callable[..., Tensor]


def at(what: What, zoom: int, row: int, col: int, side: int = 128, seed: int = 3) -> Tensor:
    """``what`` in one window, [2, side, side]."""
    return what([seed], [zoom], np.arange(row, row + side)[None], np.arange(col, col + side)[None])[0]


@pytest.mark.parametrize("cell", [3, 6])
def test_a_field_is_smooth_and_has_the_slopes_that_it_has(cell: int) -> None:
    places = np.arange(70_000, 70_400)
    value, down, right = octave(cell, places, places + 900, 5, 0, "cpu", slopes=True)
    assert value.abs().max() < 1 and value.std() > 0.15 and value.mean().abs() < 0.1
    for slopes, axis in ((down, 0), (right, 1)):
        assert slopes.abs().max() < 1.5
        change = value.diff(dim=axis) * (1 << cell)
        middle = (slopes.narrow(axis, 1, 399) + slopes.narrow(axis, 0, 399)) / 2
        assert (change - middle).abs().max() < 0.1
    assert torch.equal(octave(cell, places, places + 900, 5, 0, "cpu")[0], value)
    assert not torch.equal(octave(cell, places, places + 900, 5, 16, "cpu")[0], value)


def test_a_field_closes_where_the_world_does_and_takes_rows_in_any_order() -> None:
    size = world_size(MAX_ZOOM)
    rows = np.arange(5_000_000, 5_000_256)
    around = smooth(((8, 1.0),), rows, np.concatenate([np.arange(size - 128, size), np.arange(128)]), 7, 0, "cpu")
    steps = around.diff(dim=1).abs()
    assert steps[:, 127].max() <= 1.5 * steps[:, :127].max() and steps.max() < 0.01
    turned = smooth(((8, 1.0),), rows[::-1].copy(), np.arange(128), 7, 0, "cpu")
    assert torch.equal(turned.flip(0), around[:, 128:])


def test_lines_are_found_in_whatever_window_they_are_looked_for() -> None:
    octaves, rows = ((8, 1.0), (5, 0.1)), np.arange(90_000, 91_024)
    whole = distances(octaves, rows, rows, 9, 0, "cpu", 15.0)
    assert whole is not None and 0.01 < (whole < 15).float().mean() < 0.5
    nowhere = 0
    for part in (slice(i, i + 64) for i in range(0, 1024, 128)):
        for column in (slice(i, i + 64) for i in range(0, 1024, 128)):
            found = distances(octaves, rows[part], rows[column], 9, 0, "cpu", 15.0)
            if found is None:
                nowhere += 1
                assert whole[part, column].min() > 15
            else:
                assert torch.equal(found, whole[part, column])
    assert nowhere > 4


@pytest.mark.parametrize("what", [relief, trees])
def test_what_is_at_a_place_does_not_depend_on_the_window_or_on_company(what: What) -> None:
    whole = at(what, 17, 50_000, 70_000)
    assert torch.equal(at(what, 17, 50_040, 70_010, 64), whole[:, 40:104, 10:74])
    rows = np.arange(50_000, 50_128)[None].repeat(2, 0)
    both = what([3, 4], [17, 18], rows, rows + 20_000)
    assert torch.equal(both[0], whole) and torch.equal(both[1], at(what, 18, 50_000, 70_000, seed=4))
    assert not torch.equal(at(what, 17, 50_000, 70_000, seed=4), whole)


def test_relief_and_trees_are_those_of_their_recipes() -> None:
    digest = hashlib.sha256()
    for zoom in (6, 10, 14, 18):
        digest.update(at(relief, zoom, 90 << zoom, 135 << zoom).numpy().tobytes())
    for zoom in (16, 18, 20):
        digest.update(at(trees, zoom, 90 << zoom, 135 << zoom).numpy().tobytes())
    assert digest.hexdigest()[:16] == "ab6488cd03db629c"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("what", [relief, trees])
def test_a_gpu_has_the_same_to_the_bit(what: What) -> None:
    rows = np.arange(90 << 17, (90 << 17) + 256)[None]
    assert torch.equal(what([3], [17], rows, rows, "cuda").cpu(), what([3], [17], rows, rows))


@pytest.mark.parametrize("zoom", [8, 12, 16, 20])
def test_relief_is_alike_at_every_zoom_and_light_towards_the_south_east(zoom: int) -> None:
    height, rugged = at(relief, zoom, 90 << zoom, 135 << zoom, 512)
    assert height.mean().abs() < 0.15 and 1.1 < height.std() < 1.5 and height.abs().max() == pytest.approx(MOST)
    assert rugged.abs().max() < 1.5
    # Towards the sun neighbours differ more than across its light, where slopes are as light as each other.
    towards, across = height[1:, 1:] - height[:-1, :-1], height[1:, :-1] - height[:-1, 1:]
    assert towards.square().mean() > 1.2 * across.square().mean()


def test_valleys_of_a_zoom_are_there_two_zooms_deeper() -> None:
    coarse, fine = at(relief, 12, 90 << 12, 135 << 12)[0], at(relief, 14, 360 << 12, 540 << 12, 512)[0]
    mean = F.avg_pool2d(fine[None, None], 4)[0, 0]
    alike = torch.corrcoef(torch.stack([coarse.flatten(), mean.flatten()]))[0, 1]
    assert alike > 0.3
    apart = torch.corrcoef(torch.stack([coarse.flatten(), mean.flip(0).flatten()]))[0, 1]
    assert apart.abs() < 0.1


def test_crowns_are_round_apart_and_lit_from_the_south_east() -> None:
    value, density = at(trees, 19, 90 << 19, 135 << 19, 512)
    crowns = density < 5
    assert 0.2 < crowns.float().mean() < 0.7
    assert (density[crowns] < 0.1).float().mean() < (density[crowns] < 0.8).float().mean()
    assert value[~crowns].abs().max() == 0 and value[crowns].mean() < -0.5
    # Inside a crown it becomes lighter to the right and downwards.
    inside = crowns[:, 1:] & crowns[:, :-1] & (density[:, 1:] == density[:, :-1])
    assert (value[:, 1:] - value[:, :-1])[inside].min() > 0
    inside = crowns[1:] & crowns[:-1] & (density[1:] == density[:-1])
    assert (value[1:] - value[:-1])[inside].min() > 0
    assert not (at(trees, FINEST_ZOOM - 1, 90 << 15, 135 << 15)[1] < 5).any()
