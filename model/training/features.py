"""Features of pictures from a small network of our own, for M4: trained to tell resolution, rotation and land type apart.

    python -m model.training.features --imagery FOLDER [--steps 1500]

writes ``model/weights/features.safetensors``. Held-out images are left out. No weights from elsewhere are needed (DESIGN
section 7), and what the network knows is what pictures from above differ in.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from model.errors import WeightsError
from model.stage import to_unit
from model.training.imagery import CropSampler, ImageryError, load_pictures
from model.training.landtypes import TYPES, land_type

FEATURES_FILE = Path(__file__).parent.parent / "weights" / "features.safetensors"
PATCH = 64
"""Side of the patches that features are taken of."""
WIDTH = 128
"""Features of a patch."""

FINEST, COARSEST = -3, 13
"""Resolutions told apart: log2 of metres per pixel, one class an octave."""


class FeatureNet(nn.Module):
    """Convolutions on 1/2, 1/4 and 1/8 resolution, the mean over the patch, and three linear heads."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(12, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, WIDTH, 2), (WIDTH, WIDTH, 1)]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=stride, padding=1) for a, b, stride in widths)
        self.resolution = nn.Linear(WIDTH, COARSEST - FINEST + 1)
        self.rotation = nn.Linear(WIDTH, 4)
        self.land = nn.Linear(WIDTH, len(TYPES))
        self.register_buffer("scale", torch.ones(WIDTH))
        self.scale: Tensor
        """Deviation of each feature over the imagery trained on. Over one resolution's pictures some hardly vary: in units of
        that, whatever is not just like them is far away from them."""

    def features(self, x: Tensor) -> Tensor:
        """x [B, 3, h, w] on [-1, 1], sides multiples of 8 -> [B, `WIDTH`]."""
        h = F.pixel_unshuffle(x, 2)
        for layer in self.layers:
            h = F.silu(layer(h))
        return h.mean((2, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of resolution, rotation and land type."""
        f = self.features(x)
        return self.resolution(f), self.rotation(f), self.land(f)


@cache
def load_features(path: Path = FEATURES_FILE) -> FeatureNet:
    """The trained network. Raises `WeightsError` if its file is missing or broken."""
    net = FeatureNet()
    try:
        net.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"The feature network {path} cannot be loaded ({reason}); make it with `python -m model.training.features`."
        ) from error
    return net.eval().requires_grad_(False)


@torch.inference_mode()
def features_of(pictures: NDArray[np.uint8]) -> Tensor:
    """Features [M, `WIDTH`] of all `PATCH` px patches of pictures uint8 [N, H, W, 3] (at least `PATCH` a side), in units of
    their deviation over the imagery that the network was trained on."""
    net = load_features()
    return net.features(_patches(pictures)) / net.scale


@torch.inference_mode()
def seen_resolution(pictures: NDArray[np.uint8]) -> float:
    """Mean log2 of metres per pixel that the network takes pictures uint8 [N, H, W, 3] for."""
    net = load_features()
    odds = net.resolution(net.features(_patches(pictures))).softmax(1)
    return float((odds @ torch.arange(FINEST, COARSEST + 1).float()).mean())


def _patches(pictures: NDArray[np.uint8]) -> Tensor:
    images = to_unit(torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2))
    rows, cols = images.shape[2] // PATCH, images.shape[3] // PATCH
    cut = images[..., : rows * PATCH, : cols * PATCH].unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, PATCH, PATCH).contiguous()


def draw_batch(sampler: CropSampler, rng: random.Random, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Patches [size, 3, P, P] with their classes of resolution, quarter turns and land type, each [size].

    Places are drawn as in training, but upright (turns would be unknowable otherwise) and with a milder change of tone.
    """
    images: list[Tensor] = []
    classes: list[tuple[int, int, int]] = []
    while len(images) < size:
        band = rng.choice(list(sampler.bands))
        candidate = sampler.candidate(band, rng)
        image, gsd = candidate.cut(PATCH, rng)
        if image.std() < 0.01:
            continue
        land = land_type(((image + 1) * 127.5).byte().permute(1, 2, 0).numpy(), gsd)
        turns = rng.randrange(4)
        tint = torch.tensor([rng.gauss(0, 0.03) for _ in range(3)])[:, None, None]
        images.append(torch.rot90(image, turns, (1, 2)) * rng.uniform(0.85, 1.15) + tint)
        octave = min(max(round(math.log2(gsd)), FINEST), COARSEST)
        classes.append((octave - FINEST, turns, TYPES.index(land)))
    resolution, turns_, land_ = (torch.tensor(column) for column in zip(*classes, strict=True))
    return torch.stack(images), resolution, turns_, land_


def train_features(imagery: Path, out: Path, steps: int = 1500, batch: int = 48, seed: int = 0) -> dict[str, float]:
    """Train the network and write it in half precision to ``out``; returns the shares right on fresh patches of held-out
    images (of the training images where none fits), by head. Raises `ImageryError`."""
    torch.manual_seed(seed)
    sampler, rng = CropSampler(load_pictures(imagery, min_side=PATCH), PATCH, seed), random.Random(seed)
    net = FeatureNet()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in (bar := tqdm(range(steps), desc="features", mininterval=5)):
        images, *targets = draw_batch(sampler, rng, batch)
        losses = [F.cross_entropy(logits, target) for logits, target in zip(net(images), targets, strict=True)]
        optimiser.zero_grad()
        loss = sum(losses[1:], losses[0])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    measure_scale(net, sampler, rng, 2000 if steps > 100 else 16)
    _save(net, out)
    with contextlib.suppress(ImageryError):
        sampler = CropSampler(load_pictures(imagery, holdout=True, min_side=PATCH), PATCH, seed)
    net.eval()
    with torch.inference_mode():
        images, *targets = draw_batch(sampler, rng, 512 if steps > 100 else 16)
        right = [
            (logits.argmax(1) == target).float().mean().item() for logits, target in zip(net(images), targets, strict=True)
        ]
    return dict(zip(("resolution", "rotation", "land type"), right, strict=True))


@torch.inference_mode()
def measure_scale(net: FeatureNet, sampler: CropSampler, rng: random.Random, patches: int = 2000) -> None:
    """Set the network's ``scale``, by that many patches."""
    found = net.features(draw_batch(sampler, rng, patches)[0])
    net.scale.copy_(found.std(0).clamp(min=1e-4))


def _save(net: FeatureNet, path: Path) -> None:
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"format": "metaearth-features-2", "license": "CC-BY-SA-4.0"})


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.features``."""
    parser = argparse.ArgumentParser(description="Train the feature network of M4 on a folder of imagery.")
    parser.add_argument("--imagery", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=FEATURES_FILE)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--scale-only", action="store_true", help="measure the features' scale of the file that is there anew")
    options = parser.parse_args(arguments)
    if options.scale_only:
        net = load_features(options.out)
        measure_scale(net, CropSampler(load_pictures(options.imagery, min_side=PATCH), PATCH, 0), random.Random(0))
        _save(net, options.out)
        return
    for head, right in train_features(options.imagery, options.out, options.steps).items():
        print(f"{head}: {right:.2f} right on held-out images")


if __name__ == "__main__":
    main()
