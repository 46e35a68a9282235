"""Checks of the measures themselves: real pictures against other real ones, and pictures spoilt in known ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from model.training.heldout import Reference
from model.training.measures import MEASURES, Pictures, colour_drift, detail

LIMIT = 0.3
"""Normalised measures beyond this have caught a picture; so have contrast outside 0.7 to 1.4 and a colour drift above 3."""
TINT = (7.0, -5.0, -6.0)


def spoilt(real: Pictures, bicubic: Pictures, seed: int = 0) -> dict[str, Pictures]:
    """Real pictures spoilt in ways that measures must notice.

    ``noise``: white noise of the real contrast in place of detail, on the bicubic pictures. ``phase-shuffled``: each picture's
    own amplitudes with random phases. ``oversmoothed``: detail finer than 2 px gone. ``tinted``: `TINT` added.
    """
    rng = np.random.default_rng(seed)
    return {
        "noise": _bytes(bicubic + rng.normal(0, detail(real) * 1.03, bicubic.shape)),
        "phase-shuffled": _shuffled(real, rng),
        "oversmoothed": _smooth(real),
        "tinted": _bytes(real + np.array(TINT)),
    }


def check_measures(reference: Reference, other_real: Pictures) -> dict[str, dict[str, float]]:
    """Scores of real pictures of other places, of bicubic ones, and of all that `spoilt` makes, at one resolution.

    ``other_real``: as many real pictures as the reference has, none at its places.
    """
    sets = {"other real": other_real, "bicubic": reference.bicubic} | spoilt(reference.real, reference.bicubic)
    rows = {}
    for name, made in sets.items():
        row = reference.score(made)
        # Other places have other colours: only pictures of the same ones can have drifted.
        drift = 0.0 if name == "other real" else max(map(abs, colour_drift(made, reference.real)))
        rows[name] = row | {"colour drift": drift}
    return rows


def caught_by(row: dict[str, float]) -> list[str]:
    """The measures that tell a row of `check_measures` from real imagery."""
    found = [name for name in MEASURES if row[name] > LIMIT]
    if not 0.7 <= row["contrast"] <= 1.4:
        found.append("contrast")
    return [*found, "colour drift"] if row["colour drift"] > 3 else found


def _shuffled(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    spectrum = np.fft.fft2(pictures.astype(np.float64), axes=(1, 2))
    # The phases of white noise are those of a real picture; one set for all channels keeps the colours.
    phases = np.angle(np.fft.fft2(rng.normal(size=pictures.shape[:3]), axes=(1, 2)))[..., None]
    turned = np.abs(spectrum) * np.exp(1j * phases)
    turned[:, 0, 0] = spectrum[:, 0, 0]
    return _bytes(np.fft.ifft2(turned, axes=(1, 2)).real)


def _smooth(pictures: Pictures) -> Pictures:
    image = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float()
    image = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2.0, mode="bicubic", align_corners=False)
    return _bytes(image.permute(0, 2, 3, 1).numpy())


def _bytes(values: NDArray[Any]) -> Pictures:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
