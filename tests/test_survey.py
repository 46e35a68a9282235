"""The land register: the same at every zoom and in every window, with fields, roads and towns."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor

from model.survey import survey


def at(zoom: int, row: int, col: int, side: int = 128, seed: int = 3) -> Tensor:
    """The register of one window, [5, side, side]."""
    return survey([seed], [zoom], np.arange(row, row + side)[None], np.arange(col, col + side)[None])[0]


def test_a_field_is_where_it_was_at_every_zoom() -> None:
    for zoom in (10, 12, 14):
        coarse, fine = at(zoom, 100 << zoom, 90 << zoom), at(zoom + 2, 400 << zoom, 360 << zoom, 512)
        there = (coarse[4] == 0) & (fine[4, 2::4, 2::4] == 0)  # a pixel sees one house or another
        same = (coarse == fine[:, 2::4, 2::4]).all(0) | ~there
        # Only what lies at an edge, on a road that is a pixel wide or at a row of plants may differ.
        assert same.float().mean() > (0.6 if zoom == 10 else 0.85), zoom


def test_what_is_at_a_place_does_not_depend_on_the_window_or_on_company() -> None:
    whole = at(14, 5000, 7000)
    assert torch.equal(at(14, 5040, 7010, 64), whole[:, 40:104, 10:74])
    both = survey([3, 4], [14, 12], np.arange(5000, 5128)[None].repeat(2, 0), np.arange(7000, 7128)[None].repeat(2, 0))
    assert torch.equal(both[0], whole) and torch.equal(both[1], at(12, 5000, 7000, seed=4))
    assert not torch.equal(at(14, 5000, 7000, seed=4), whole)


def test_what_is_asked_for_at_some_pixels_is_what_all_have_there() -> None:
    whole = at(14, 5000, 7000)
    rows, cols = np.arange(5000, 5128)[None], np.arange(7000, 7128)[None]
    for where in (whole[0] > 0.3, torch.ones_like(whole[0]) > 0, torch.zeros_like(whole[0]) > 0):
        assert torch.equal(survey([3], [14], rows, cols, where=where[None])[0], whole * where)


def test_rows_and_columns_may_come_in_any_order() -> None:
    rows, cols = np.arange(5000, 5064), np.arange(7000, 7064)
    turned = survey([3], [14], rows[None, ::-1].copy(), cols[None, ::-1].copy())[0]
    assert torch.equal(turned.flip(1, 2), at(14, 5000, 7000, 64))


def test_the_register_is_the_one_of_its_recipe() -> None:
    digest = hashlib.sha256()
    for zoom in (10, 14, 18):
        digest.update(at(zoom, 90 << zoom, 135 << zoom).numpy().tobytes())
    assert digest.hexdigest()[:16] == "77ea3dcc8150837d"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_the_same_register_to_the_bit() -> None:
    rows = np.arange(90 << 14, (90 << 14) + 256)[None]
    assert torch.equal(survey([3], [14], rows, rows, "cuda").cpu(), survey([3], [14], rows, rows))


def test_fields_are_of_some_size_and_of_all_values() -> None:
    found = at(12, 90 << 12, 135 << 12, 1024)
    values, field = found[:3], found[3] == 1
    assert 0.6 < field.float().mean() < 0.85
    assert values[:, field].abs().max() < 1.9 and values.abs().max() < 2.2  # roofs vary
    assert values.mean().abs() < 0.15 and 0.5 < values.std() < 1.1
    edges = (values[0, :, 1:] != values[0, :, :-1])[field[:, 1:] & field[:, :-1]].float().mean().item()
    assert 0.03 < edges < 0.2  # a field is some 5 to 30 px wide


def test_towns_have_light_streets_roofs_and_dark_gardens() -> None:
    found = at(15, 90 << 15, 135 << 15, 1024)
    built = found[4] == 1
    assert 0.01 < built.float().mean() < 0.3 and not (built & (found[3] == 1)).any()
    grey = found[:3].mean(0)
    inside = built[:, 1:] & built[:, :-1]
    assert (grey[:, 1:] != grey[:, :-1])[inside].float().mean() > 0.15  # a house is 2 to 4 px wide
    light, dark = ((part & built).sum() / built.sum() for part in (grey > 0.4, grey < 0))
    assert 0.1 < light < 0.5 and dark > 0.4


def test_fields_have_rows_where_pixels_can_show_them() -> None:
    def changes(zoom: int) -> float:
        """Of steps from field to field those that change the value, along columns."""
        found = at(zoom, 90 << zoom, 135 << zoom, 512)
        within = (found[3, 1:] == 1) & (found[3, :-1] == 1)
        return float((found[0, 1:] != found[0, :-1])[within].float().mean())

    # Edges of fields alone are half as many with every zoom.
    assert changes(13) < 0.6 * changes(12) and changes(14) < 0.6 * changes(13)
    assert changes(16) > 2 * changes(14) and changes(18) > 2 * changes(17)
