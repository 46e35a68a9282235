"""How strong generated detail is: by ground resolution, by how rough and of what colour the parent is around a pixel, and by
how strong it is there beside what lies around.

Few steps of a network of finite size hedge: rough places come out too faint and smooth ones too strong, and woods and meadows
as rough as rock, which a cascade multiplies stage by stage. `model.training.calibrate` measures by how much, on imagery that is
trained on, and the weights file carries the `Amplitudes`. They are pure functions of the resolution, of the parent's pixels
within `ROUGHNESS_REACH` and a few more, and of the detail's within some 10, which the halo covers, so that they have no seams.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.stage import enlarge_smoothly, ramp, saturation

RECIPE = 7
"""Goes up when anything here changes what is generated; part of a planet's identity."""

ROUGHNESS_REACH = 2
"""Parent pixels around a pixel that its roughness and its colour depend on."""
GSD_KNOTS = np.arange(-2.0, 13.0, 2.0)
"""log2 of the child's metres per pixel; constant beyond the first and the last."""
ROUGHNESS_KNOTS = np.arange(-1.0, 5.5, 1.0)
"""log2 of the parent's standard deviation around a pixel, in grey levels; constant beyond the first and the last."""
SPARSITY_KNOTS = np.arange(-2.0, 12.5, 1.0)
"""Those of sparsity, which changes from one octave to the next: coarse imagery is sparse, and so is that of fields; what lies
between, of which there is little, is not."""
LIGHT_KNOTS = np.arange(5.0, 8.5, 1.0)
"""log2 of the parent's mean around a pixel, in grey levels: of all that looks alike at a distance dark land is the calmest."""
TINT_KNOTS = np.array([-0.1, 0.0, 0.1, 0.2])
"""By how much green exceeds the mean of the three channels there, as a share of it: woods and fields; below 0 by how much blue
does: water."""

SNOW_LIGHT, SNOW_TINT = (150.0, 200.0), (0.16, 0.08)
"""Of the parent's mean around a pixel: grey levels, and `saturation`, from which on it may be snow, and from which on it is.
Sand and fields have more colour."""
SNOW_MOST = 1.0
"""Amplitude that snow has at most. Little of what is raised there fits below white (`model.stage.project`): chains ask for as
much as they can have, and what they get is salt and pepper."""

NEAR, AROUND = 3, 9
"""Sides of the squares in which detail's own energy counts for its `gathering`, in cells of 2 px."""
_FAINT = 0.01
"""Added to these energies, in squared units of the residual: fainter ones are alike."""

SMOOTH_MARGIN = 2
AMPLITUDE_MARGIN = ROUGHNESS_REACH + SMOOTH_MARGIN
"""Parent pixels that `Amplitudes.of` needs beyond a window."""

Table = NDArray[np.float32]
SHAPES = {
    "roughness": (len(GSD_KNOTS), len(ROUGHNESS_KNOTS)),
    "cover": (len(GSD_KNOTS), len(LIGHT_KNOTS), len(TINT_KNOTS)),
    "sparsity": (len(SPARSITY_KNOTS),),
}


def _filled(name: str, value: float) -> Table:
    return np.full(SHAPES[name], value, np.float32)


@dataclass(frozen=True, eq=False)
class Amplitudes:
    """What detail is multiplied by, at knots of ground resolution (`GSD_KNOTS`): ``roughness``, by `ROUGHNESS_KNOTS`, times
    ``cover``, by `LIGHT_KNOTS` and `TINT_KNOTS`, times `gathering` by the power ``sparsity``, at `SPARSITY_KNOTS`. As they
    stand by themselves they change nothing."""

    roughness: Table = field(default_factory=lambda: _filled("roughness", 1))
    cover: Table = field(default_factory=lambda: _filled("cover", 1))
    sparsity: Table = field(default_factory=lambda: _filled("sparsity", 0))

    def scale(self, detail: Tensor, wide: Tensor, log2_gsd: Tensor) -> Tensor:
        """Generated ``detail`` [B, 3, 4h, 4w] times all of them; the other arguments as for `of`."""
        amplitude = self.of(wide, log2_gsd)
        if self.sparsity.any():
            power = _at(self.sparsity, log2_gsd, detail, SPARSITY_KNOTS)
            if power.shape[2] > 1:  # rows of resolutions have 8 px, cells of energy 2
                power = power.repeat_interleave(4, 2)
            amplitude = amplitude * gathering(detail, power)
        return detail * amplitude

    def of(self, wide: Tensor, log2_gsd: Tensor) -> Tensor:
        """Amplitudes of the detail of children [B, 1, 4h, 4w], smooth from one parent pixel to the next. With a resolution for
        each row the 4 outermost pixels depend on where the border is: they belong to the halo.

        ``wide``: parents [B, 3, h + 2 m, w + 2 m] on [-1, 1] with m = `AMPLITUDE_MARGIN`. ``log2_gsd`` [B, R]: log2 of metres
        per child pixel, R = 1 or h / 2.
        """
        coarse = (shares(roughness(wide), ROUGHNESS_KNOTS) * _by_row(self.roughness, log2_gsd, wide)).sum(1, keepdim=True)
        colours = F.avg_pool2d(wide, 2 * ROUGHNESS_REACH + 1, stride=1)
        coarse = coarse * (colour_shares(colours) * _by_row(self.cover, log2_gsd, wide)).sum(1, keepdim=True)
        # Not by lerp: it may fuse its steps for some pixels and not for those at an end, and windows must agree.
        coarse = coarse + snow(colours) * (coarse.clamp(max=SNOW_MOST) - coarse)
        return enlarge_smoothly(coarse, SMOOTH_MARGIN)

    def to_text(self) -> str:
        """As it stands in the metadata of a weights file."""
        return json.dumps({name: getattr(self, name).astype(float).round(4).tolist() for name in SHAPES})

    @staticmethod
    def from_text(text: str) -> Amplitudes:
        """Of `to_text`, or of a bare table by roughness or with a sparsity at `GSD_KNOTS`, as older weights have them. Raises
        `ValueError` if ``text`` is neither, or of the wrong shape, or holds what is no finite number."""
        found = json.loads(text)
        tables = found if isinstance(found, dict) else {"roughness": found}
        try:
            given = {name: np.array(values, np.float32) for name, values in tables.items()}
            if "sparsity" in given and given["sparsity"].shape == GSD_KNOTS.shape:
                given["sparsity"] = np.interp(SPARSITY_KNOTS, GSD_KNOTS, given["sparsity"]).astype(np.float32)
            if any(given[name].shape != SHAPES[name] or not np.isfinite(given[name]).all() for name in given):
                raise ValueError(f"the amplitudes are not finite numbers in tables of {SHAPES}")
            return Amplitudes(**given)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the amplitudes are not tables by {', '.join(SHAPES)} ({error})") from error


def gathering(detail: Tensor, power: Tensor) -> Tensor:
    """What ``detail`` [B, 3, h, w] in units of the residual is to be multiplied by, [B, 1, h, w], to lie in fewer places: the
    ``power`` (a number for each row of cells of 2 px, [B, 1, h / 2 or 1, 1]) of its deviation near a pixel over that around it.

    Real detail is a texture times a scale that varies from place to place (Gaussian scale mixtures, Wainwright and Simoncelli
    2000); that of few steps varies less, and is grain where real ground is smooth between edges. Below 0 it is spread out.
    """
    energy = F.avg_pool2d(detail.mean(1, keepdim=True).square(), 2)
    near, around = (
        (F.avg_pool2d(energy, side, stride=1, padding=side // 2, count_include_pad=False) + _FAINT).log2()
        for side in (NEAR, AROUND)
    )
    # By exp2 and log2: pow rounds by where in memory a pixel is, and windows must agree.
    return F.interpolate(power / 2 * (near - around), scale_factor=2, mode="bilinear", align_corners=False).exp2()


def roughness(wide: Tensor) -> Tensor:
    """log2 of the standard deviation of luminance within `ROUGHNESS_REACH`, in grey levels, bounded by the knots.

    ``wide``: parents [B, 3, h + 2 `ROUGHNESS_REACH`, w + 2 `ROUGHNESS_REACH`] on [-1, 1]. Returns [B, 1, h, w].
    """
    side = 2 * ROUGHNESS_REACH + 1
    grey = wide.mean(1, keepdim=True) * 127.5
    mean = F.avg_pool2d(grey, side, stride=1)
    # About a constant: squares of grey levels far from 0 would lose the small variances.
    variance = F.avg_pool2d(grey.square(), side, stride=1) - mean.square()
    return _bounded((variance.clamp(min=0) + 1e-3).log2().div(2), ROUGHNESS_KNOTS)


def snow(colours: Tensor) -> Tensor:
    """How far ``colours`` [B, 3, h, w] on [-1, 1] are those of snow, 0 to 1: [B, 1, h, w]."""
    levels = (colours + 1) * 127.5
    light = levels.mean(1, keepdim=True)
    tint = saturation(levels, light.clamp(min=1))
    return ramp(light, *SNOW_LIGHT) * ramp(tint, *SNOW_TINT)


def colour_shares(colours: Tensor) -> Tensor:
    """What each pair of `LIGHT_KNOTS` and `TINT_KNOTS` counts for at ``colours`` [B, 3, h, w] on [-1, 1]: [B, L x T, h, w]."""
    levels = (colours + 1) * 127.5
    mean = levels.mean(1, keepdim=True)
    light = _bounded((mean.clamp(min=0) + 1).log2(), LIGHT_KNOTS)
    # The colour of what is nearly black is rounding.
    excess = ((levels[:, 1:] - mean) / (mean + 5)).clamp(min=0)
    tint = _bounded(excess[:, :1] - excess[:, 1:], TINT_KNOTS)
    pairs = shares(light, LIGHT_KNOTS)[:, :, None] * shares(tint, TINT_KNOTS)[:, None]
    return pairs.flatten(1, 2)


def shares(values: Tensor, knots: NDArray[np.float64]) -> Tensor:
    """What each knot counts for linear interpolation at ``values`` [B, 1, h, w] between even knots: [B, K, h, w]."""
    at = torch.from_numpy(knots.astype(np.float32)).to(values.device)[:, None, None]
    return (1 - (values - at).abs() / float(knots[1] - knots[0])).clamp(min=0)


def _bounded(values: Tensor, knots: NDArray[np.float64]) -> Tensor:
    return values.clamp(float(knots[0]), float(knots[-1]))


def _by_row(table: Table, log2_gsd: Tensor, wide: Tensor) -> Tensor:
    """``table`` [G, ...] at resolutions [B, R], for what has two rows of parents for each of these: [B, K, 1 or h, 1]."""
    by_knot = _at(table, log2_gsd, wide)
    if by_knot.shape[2] > 1:
        by_knot = F.pad(by_knot.repeat_interleave(2, 2), (0, 0, SMOOTH_MARGIN, SMOOTH_MARGIN), mode="replicate")
    return by_knot


def _at(table: Table, log2_gsd: Tensor, like: Tensor, knots: NDArray[np.float64] = GSD_KNOTS) -> Tensor:
    """``table`` [G, ...] of ``knots`` at resolutions [B, R], where ``like`` is: [B, K, R, 1]."""
    gsd = log2_gsd.double().cpu().numpy()
    found = np.stack([np.interp(gsd, knots, column) for column in table.reshape(len(knots), -1).T], 1)
    return torch.from_numpy(found.astype(np.float32)).to(like.device)[..., None]
