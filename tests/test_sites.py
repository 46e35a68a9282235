"""Places in the register that training gives its pictures: chains have the same fields at every stage."""

from __future__ import annotations

import numpy as np
import torch

from model.parcels import shares_at
from model.stage import to_unit
from model.survey import survey
from model.training.sites import Sites
from model.ways import ways
from tests.test_parcels import PLAIN


def test_crops_get_a_place_of_their_resolution() -> None:
    sites = Sites.draw(torch.tensor([4.76, 2.76, 12.0, 6.4]), torch.Generator().manual_seed(0))
    seeds, zooms, rows, columns = sites.table.T.tolist()
    assert zooms == [12, 14, 5, 10]
    assert len(set(seeds)) == len(set(rows)) == len(set(columns)) == 4
    assert all(place % 256 == 0 for place in (*rows, *columns))


def test_stages_above_lie_where_those_below_do() -> None:
    sites = Sites(torch.tensor([(5, 14, 512, 1024)]))
    assert sites.above(1).table.tolist() == [[5, 12, 128, 256]]
    assert sites.above(1).above(-1).table.tolist() == sites.table.tolist()
    assert sites.moved(8, torch.tensor([16])).table.tolist() == [[5, 14, 520, 1040]]
    assert sites.of(torch.tensor([0, 0])).first(1).table.shape == (1, 4)
    assert sites.table.tolist() == [[5, 14, 512, 1024]]  # unchanged by all that


def test_a_stage_and_the_one_below_draw_the_same_fields() -> None:
    sites = Sites(torch.tensor([(5, 14, 512, 1024), (6, 14, 512, 1024), (5, 4, 0, 0)]))
    parent = to_unit(torch.tensor(PLAIN, dtype=torch.uint8)[None, :, None, None].expand(3, -1, 32, 32))
    noise = torch.zeros(3, 3, 128, 128)
    laid = sites.lay(noise, parent)
    place = [5], [14], np.arange(512, 640)[None], np.arange(1024, 1152)[None]
    found, (fields, built, *_) = survey(*place)[0], shares_at(14)
    assert not ways(*place)[0, 4:].any()
    assert torch.allclose(laid[0], (fields * found[3] + built * found[4]) * found[:3])
    assert not torch.equal(laid[1], laid[0]) and not laid[2].any()
    above = sites.above(1).lay(noise, parent)[0]
    # A quarter of the side, and another share of the noise.
    same = (above[:, :32, :32] / shares_at(12).fields - laid[0][:, 2::4, 2::4] / fields).abs().amax(0) < 1e-5
    assert same.float().mean() > 0.8
    assert not sites.lay(noise, to_unit(torch.zeros(3, 3, 32, 32, dtype=torch.uint8))).any()  # nothing grows on black
