"""Parents as planets make them, for a critic to judge what lies below: there is no real picture of these places.

A chain below training crops starts at most three stages above; on a planet zoom 18 lies seven stages below the base picture,
and its parents are like none that training has shown. So parents are read from planets beforehand, at every zoom, and a critic
says how real the stage below them looks, beside real crops of the same ground resolution and about the same colour.

    python -m model.training.planets --out runs/parents.npz --places 150
"""

from __future__ import annotations

import argparse
import random
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from model.contrast import Amplitudes
from model.grid import MAX_ZOOM, ground_resolution, lonlat_to_pixel, pixel_to_lonlat, world_size
from model.planet import Planet, open_planet
from model.stage import to_bytes, to_unit
from model.training.critic import Adversary
from model.training.energy import MARGIN, REACH_EVERY, REACH_WEIGHT, Inputs, Run, reach
from model.training.habits import Habits
from model.training.imagery import ImageryError
from model.training.landtypes import land_shares
from model.training.places import base_patch
from model.training.sites import Sites

SIDE = 128
"""Of the parents that are kept, in px."""
WATER = 0.1
"""Share of the places that are at sea: there is little to learn from it."""
FURTHEST = 65.0
"""Degrees of latitude within which places are drawn."""
COARSEST = 11.5
"""log2 of metres per pixel below which all parents are generated: those of zoom 4 are coarser as far as places are drawn."""
FINEST = -1.0
"""log2 of metres per pixel of the finest pictures that become parents: those of zoom 18, the last ones, have about that."""
ALIKE = 12
"""Parents of the resolution, the nearest in colour, of which one is drawn."""
OCTAVES = 1.0
"""By how many a parent's resolution may differ from the one that is asked for: zooms of parents are two apart."""


HABITS_WEIGHT = 2.0
"""Of what differs from real habits (`model.training.habits`): its gradients are then about as large as a critic's."""
RENEWED = 16
"""Of a batch's pictures that become parents of later ones (`PlanetParents.renew`)."""


@dataclass(frozen=True, eq=False)
class PlanetParents:
    """``pixels`` uint8 [N, 3, `SIDE`, `SIDE`], log2 of their metres per pixel, [N], and where they lie; `renew` changes all."""

    pixels: Tensor
    log2_gsd: Tensor
    sites: Sites

    @cached_property
    def colours(self) -> Tensor:
        """Their means on [-1, 1], [N, 3]."""
        return torch.stack([to_unit(pixels).mean((1, 2)) for pixels in self.pixels])

    @cached_property
    def generated(self) -> PlanetParents:
        """Those that stages made: all but the base picture's. Raises `ImageryError` if there are none."""
        below = self.log2_gsd < COARSEST
        if not below.any():
            raise ImageryError("All parents are of the base picture; make finer ones by model.training.planets.")
        return PlanetParents(self.pixels[below], self.log2_gsd[below], self.sites.of(below))

    @staticmethod
    def load(path: Path) -> PlanetParents:
        """What `save` wrote. Raises `ImageryError` if it is none of that."""
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                pixels, log2_gsd = torch.from_numpy(file["pixels"]), torch.from_numpy(file["log2_gsd"]).float()
                sites = Sites(torch.from_numpy(file["sites"]))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ImageryError(f"{path} holds no parents; make them by model.training.planets ({error}).") from error
        if (
            pixels.dtype != torch.uint8
            or pixels.shape != (len(sites.table), 3, SIDE, SIDE)
            or sites.table.shape != (len(log2_gsd), 4)
        ):
            raise ImageryError(f"{path} holds no parents of {SIDE} px; make them by model.training.planets.")
        return PlanetParents(pixels, log2_gsd, sites)

    def save(self, path: Path) -> None:
        """Writes them to ``path``, an .npz, for `load`."""
        np.savez(path, pixels=self.pixels.numpy(), log2_gsd=self.log2_gsd.numpy(), sites=self.sites.table.numpy())

    def like(self, parent: Tensor, log2_gsd: Tensor, generator: torch.Generator) -> tuple[Tensor, Sites]:
        """For each of the real parents [B, 3, h, w] of resolutions [B], h and w at most `SIDE`, a window of one of about the
        same resolution and colour: on [-1, 1], on the device of ``parent``, and where they lie. Raises `ImageryError` for
        larger ones."""
        height, width = parent.shape[2:]
        if max(height, width) > SIDE:
            raise ImageryError(f"Parents from planets have {SIDE} px: give crops of {4 * SIDE} px at most.")
        drawn, at = [], []
        for wanted, gsd in zip(parent.mean((2, 3)).cpu(), log2_gsd.cpu(), strict=True):
            off = (self.log2_gsd - gsd).abs()
            unlike = (self.colours - wanted).square().sum(1) + 1e3 * (off - max(OCTAVES, float(off.min()))).clamp(min=0)
            near = unlike.topk(min(ALIKE, len(unlike)), largest=False).indices
            index, top, left = (
                int(torch.randint(count, (), generator=generator, device=generator.device))
                for count in (len(near), SIDE - height + 1, SIDE - width + 1)
            )
            drawn.append(to_unit(self.pixels[near[index], :, top : top + height, left : left + width]))
            at.append((int(near[index]), top, left))
        which, rows, columns = torch.tensor(at).unbind(1)
        return torch.stack(drawn).to(parent.device), self.sites.of(which).moved(rows, columns)

    def renew(self, made: Tensor, log2_gsd: Tensor, sites: Sites, generator: torch.Generator) -> None:
        """Puts the middles of pictures ``made`` [B, 3, S, S] at ``sites``, of resolutions [B], in the place of parents of about
        theirs: what a network makes changes as it learns, and parents that it made before are not those it will have. Those of
        the base picture stay, and so do all where S is too small for no border to show."""
        edge = (made.shape[2] - SIDE) // 2
        if edge < MARGIN:
            return
        fresh = to_bytes(made[..., edge : edge + SIDE, edge : edge + SIDE]).cpu()
        for pixels, gsd, site in zip(fresh, log2_gsd.cpu(), sites.moved(edge, edge).table, strict=True):
            like = ((self.log2_gsd - gsd).abs() < OCTAVES) & (self.log2_gsd < COARSEST) & (gsd > FINEST)
            if found := like.nonzero().flatten().tolist():
                index = found[int(torch.randint(len(found), (), generator=generator, device=generator.device))]
                self.pixels[index], self.log2_gsd[index] = pixels, gsd
                self.colours[index] = to_unit(pixels).mean((1, 2))
                self.sites.table[index] = site


def acquaint(
    adversary: Adversary,
    parents: PlanetParents,
    real: Tensor,
    log2_gsd: Tensor,
    whole: Tensor,
    generator: torch.Generator,
) -> None:
    """A step of the critic alone: ``parents`` below the base picture are what planets have made, beside the crops ``real``
    [B, 3, S, S] of resolutions [B]. It costs a fifth of `planet_loss`, for no stage is run."""
    made, _ = parents.generated.like(real[..., :SIDE, :SIDE].repeat(2, 1, 1, 1), log2_gsd.repeat(2), generator)
    adversary.pull(None, _grey(real[..., :SIDE, :SIDE]), _grey(made), log2_gsd, generator, whole)


def planet_loss(
    run: Run,
    real: Tensor,
    log2_gsd: Tensor,
    parents: PlanetParents,
    generator: torch.Generator,
    adversary: Adversary,
    habits: Habits,
    whole: Tensor | None = None,
    amplitudes: Amplitudes | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss of one batch of ``run`` below ``parents``, two for each of the crops ``real`` [B, 3, S, S], which the critic
    compares with what lies below: its gradients, what differs from real ``habits``, and how far the network reaches. That is
    without amplitudes, like all that is judged: what the critic finds too loud with them the network makes fainter, and
    measured anew they raise it again. Some of it, as it is served with ``amplitudes``, is put among the ``parents``
    (`PlanetParents.renew`). Returns what `energy_loss` does, with scores of 0."""
    twice = log2_gsd.repeat(2)
    parent, sites = parents.like(F.avg_pool2d(real, 4).repeat(2, 1, 1, 1), twice + 2, generator)
    sites = sites.above(-1)
    inputs = Inputs.draw(parent, twice, generator, sites=sites)
    residual = run.residual(inputs)
    some = inputs.first(RENEWED)
    parents.renew(run.picture(some, residual[:RENEWED].detach(), amplitudes), some.log2_gsd, sites.first(RENEWED), generator)
    pictures = run.picture(inputs, residual), real
    made, child = (_grey(image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]) for image in pictures)
    pulled = (made * adversary.pull(None, child, made.detach(), log2_gsd, generator, whole)).sum()
    pulled = pulled + HABITS_WEIGHT * habits.pull(made, twice)
    corner = int(torch.randint(4, (), generator=generator, device=generator.device))
    far = reach(run, inputs.first(-(-len(real) // REACH_EVERY)), corner)
    none = torch.zeros_like(log2_gsd)
    return pulled - pulled.detach() + REACH_WEIGHT * far, none, none, torch.ones_like(none)


def _grey(image: Tensor) -> Tensor:
    """Without colour: of that planets have less than scenes as they come, and made up it is confetti."""
    return image.mean(1, keepdim=True).expand(-1, 3, -1, -1)


def read_parents(planet: Planet, places: int, seed: int) -> PlanetParents:
    """Parents at all zooms of ``places`` places at random, few of them at sea."""
    rng, size = random.Random(seed), world_size(planet.base_zoom)
    pixels, resolutions, sites = [], [], []
    with tqdm(total=places, unit="place", dynamic_ncols=True) as bar:
        while bar.n < places:
            lon, lat = pixel_to_lonlat(rng.uniform(0, size), rng.uniform(0, size), planet.base_zoom)
            at_sea = land_shares(base_patch(planet, lon, lat), 9800.0)["water"] > 0.5
            if abs(lat) > FURTHEST or (at_sea and rng.random() > WATER):
                continue
            for zoom in range(planet.base_zoom, MAX_ZOOM - 1, 2):
                x, y = (int(value) // SIDE * SIDE for value in lonlat_to_pixel(lon, lat, zoom))
                pixels.append(planet.read(zoom, x, y, SIDE, SIDE).transpose(2, 0, 1))
                resolutions.append(np.log2(ground_resolution(zoom, y + SIDE // 2)))
                sites.append((planet.seed, zoom, y, x))
            bar.update()
    log2_gsd = torch.tensor(resolutions, dtype=torch.float32)
    return PlanetParents(torch.from_numpy(np.stack(pixels)), log2_gsd, Sites(torch.tensor(sites)))


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.planets``."""
    parser = argparse.ArgumentParser(description="Read parents from planets, for model.training.train --planet-parents.")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .npz")
    parser.add_argument("--weights", type=Path, help="weights of the planets (default: those that ship)")
    parser.add_argument("--places", type=int, default=150, help="places, each read at every zoom")
    parser.add_argument("--seed", type=int, default=1, help="of the planet and of the places")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    planet = open_planet(seed=options.seed, weights=options.weights, device=options.device)
    parents = read_parents(planet, options.places, options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    parents.save(options.out)


if __name__ == "__main__":
    main()
