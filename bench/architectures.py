"""What a wider, narrower or shallower denoiser, one without the 1/8 branch, or one told its surroundings' colour would bring.

    python -m bench.architectures --imagery FOLDER --steps 200 --out docs/logs/architectures.jsonl

Each is trained anew by flow matching for the same steps on the same crops, and judged on the same held-out crops and noise: the
share of the residual's energy that it leaves unexplained, and the loss. The cost is that of one call on a serving window in
float32 on one thread, as a ratio to the network that ships, measured in turns.
Lines are appended as networks are done, and those that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench.floor import SIDE
from bench.report import seconds
from model.denoiser import Denoiser, DenoiserConfig
from model.precision import autocast_type
from model.training.imagery import CropSampler, Picture, load_pictures
from model.training.loss import flow_loss

CROP, BATCH, LEARNING_RATE = 128, 6, 6e-4
SURROUNDINGS = 4
"""Side of what a crop's context is averaged over, in crops."""
JUDGED = 40
"""Batches of held-out crops."""


@dataclass(frozen=True)
class Candidate:
    """An architecture by name; ``told``: whether it has the mean colour around the crop as three more inputs."""

    name: str
    config: DenoiserConfig
    told: bool = False

    def build(self) -> Denoiser:
        """The network, untrained."""
        torch.manual_seed(0)
        denoiser = Denoiser(self.config)
        if self.told:  # the level's plane carries the context, so that nothing else has to know
            denoiser.enter = nn.Conv2d(denoiser.enter.in_channels + 3, self.config.quarter, 1)
        return denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


CANDIDATES = (
    Candidate("ships: 128, 192, 64 channels; 3, 4, 3, 2 blocks", DenoiserConfig()),
    Candidate("told the colour around", DenoiserConfig(), told=True),
    Candidate("narrower: 96, 128, 48", DenoiserConfig(quarter=96, eighth=128, half=48)),
    Candidate("half as deep: 2, 2, 1, 1 blocks", DenoiserConfig(before=2, middle=2, after=1, head=1)),
    Candidate("no blocks at 1/8", DenoiserConfig(middle=0)),
    Candidate("wider: 192, 256, 96", DenoiserConfig(quarter=192, eighth=256, half=96)),
)


def batches(pictures: list[Picture], seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Crops [B, 3, `CROP`, `CROP`], log2 of their metres per pixel [B], and the mean colour around them [B, 3, 1, 1]."""
    for wide, log2_gsd, _ in DataLoader(CropSampler(pictures, SURROUNDINGS * CROP, seed), BATCH):
        edge = (SURROUNDINGS - 1) * CROP // 2
        yield wide[..., edge:-edge, edge:-edge], log2_gsd.float(), wide.mean((2, 3), keepdim=True)


def step(
    candidate: Candidate, denoiser: Denoiser, batch: tuple[Tensor, Tensor, Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """`flow_loss` of one batch: (loss, squared error [B], energy [B])."""
    child, log2_gsd, around = batch

    def call(x: Tensor, parent: Tensor, level: Tensor, t: Tensor, gsd: Tensor) -> Tensor:
        if candidate.told:
            level = torch.cat([level, around.expand(-1, -1, *level.shape[2:])], 1)
        return denoiser(x, parent, level, t, gsd)  # type: ignore[no-any-return]

    return flow_loss(call, child, log2_gsd, generator, autocast_type("cpu"))[:3]


def trained(candidate: Candidate, pictures: list[Picture], steps: int) -> Denoiser:
    """The network after that many steps of training; the learning rate falls linearly to 0."""
    denoiser, generator = candidate.build(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    for done, batch in zip(range(steps), batches(pictures, 0), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (done + 1) / 50) * (1 - done / steps)
        optimiser.zero_grad(set_to_none=True)
        step(candidate, denoiser, batch, generator)[0].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimiser.step()
    return denoiser


@torch.no_grad()
def judge(candidate: Candidate, denoiser: Denoiser, heldout: list[Picture]) -> dict[str, float]:
    """Means over the same held-out crops, times and noise for all."""
    generator, losses, shares = torch.Generator().manual_seed(1), [], []
    for _, batch in zip(range(JUDGED), batches(heldout, 1), strict=False):
        loss, error, energy = step(candidate, denoiser, batch, generator)
        losses.append(loss.item())
        shares += (error / energy.clamp(min=1e-3)).clamp(max=2).tolist()
    return {"unexplained": round(statistics.mean(shares), 4), "loss": round(statistics.mean(losses), 4)}


@torch.inference_mode()
def cost(candidate: Candidate, rounds: int = 5) -> float:
    """Time of one call on a serving window as a ratio to the first candidate's."""
    x, parent = torch.randn(1, 3, SIDE, SIDE), torch.rand(1, 3, SIDE // 4, SIDE // 4)
    t, gsd = torch.full((1,), 0.7), torch.full((1, 1), 6.0)
    calls: list[Callable[[], Tensor]] = []
    for one in (CANDIDATES[0], candidate):
        level = F.pad(torch.zeros(1, 1, SIDE // 4, SIDE // 4), (0, 0, 0, 0, 0, 3 * one.told))
        calls.append(partial(one.build().eval(), x, parent, level, t, gsd))
    taken = [[seconds(call) for call in calls] for _ in range(rounds + 1)]
    return statistics.median(other / first for first, other in taken[1:])


def main() -> None:
    """Command line of ``python -m bench.architectures``."""
    parser = argparse.ArgumentParser(description="Train architectures for the same steps and judge them on held-out crops.")
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--steps", type=int, default=200, help="of training for each")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = options.out.read_text().splitlines() if options.out.is_file() else []
    done = {json.loads(line)["name"] for line in before}
    pictures, heldout = load_pictures(options.imagery), load_pictures(options.imagery, holdout=True)
    for candidate in CANDIDATES:
        if candidate.name in done:
            continue
        denoiser = trained(candidate, pictures, options.steps)
        parameters = sum(p.numel() for p in denoiser.parameters())
        row = {"name": candidate.name, "parameters": parameters, "steps": options.steps}
        row |= judge(candidate, denoiser, heldout) | {"cost": round(cost(candidate), 2)}
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
