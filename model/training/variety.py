"""M7: diversity over seeds, and what resolution guidance does: the same parent pixels told to be of 10 m and of 1 m."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from model.engine import Engine
from model.training.chains import one_stage
from model.training.features import seen_resolution
from model.training.heldout import Crop
from model.training.measures import MEASURES, Pictures, contrast, describe, detail_of

COARSE_GSD, FINE_GSD = 10.0, 1.0


def diversity(samples: list[Pictures], real: Pictures) -> float:
    """Distance of samples (the same places, different seeds) from each other over their distance from the real pictures.

    Root mean square over the detail that 4x4 averaging removes. A sampler that draws as nature does is as far from nature as
    from itself: 1. One that always draws the mean, or fog: 0. One that adds noise of its own: up to 1.4.
    """
    details = [detail_of(sample) for sample in samples]
    truth = detail_of(real)
    among = np.mean([((a - b) ** 2).mean() for a, b in combinations(details, 2)])
    from_real = np.mean([((sample - truth) ** 2).mean() for sample in details])
    return math.sqrt(float(among) / max(float(from_real), 1e-9))


def guidance(engine: Engine, crops: list[Crop]) -> tuple[dict[str, float], dict[str, Pictures]]:
    """What guidance alone changes: the crops' parents rendered as `COARSE_GSD` and as `FINE_GSD`, and the pictures.

    Each measure between the two sets; beside it (``... same``) between two renderings at one resolution with other noise, the
    floor, which is what would remain without guidance. ``contrast 1 m / 10 m``; ``seen as``: metres per pixel that the
    feature network takes each set for.
    """
    pictures = {
        "10 m": one_stage(engine, crops, COARSE_GSD),
        "1 m": one_stage(engine, crops, FINE_GSD),
        "1 m, other noise": one_stage(engine, crops, FINE_GSD, place=1 << 20),
    }
    coarse, fine, again = (describe(made) for made in pictures.values())
    row: dict[str, float] = {}
    for name, function in MEASURES.items():
        row[name] = function(coarse, fine)
        row[f"{name} same"] = function(again, fine)
    row["contrast 1 m / 10 m"] = contrast(pictures["1 m"], pictures["10 m"])
    row["10 m seen as, m"] = 2 ** seen_resolution(pictures["10 m"])
    row["1 m seen as, m"] = 2 ** seen_resolution(pictures["1 m"])
    return row, pictures
