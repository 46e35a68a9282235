"""From an imagery folder to weights that can be served, in one command that may be stopped at any time.

    python -m model.training.recipe --imagery FOLDER --out runs/mine --minutes 600

goes through the `PHASES`: flow matching, tuning for few steps by the energy score, the same with a critic, and that below
parents that were read from planets of the weights so far. What a phase has made stays in the folder under its name, and a
phase whose weights are there is not run again; one that was interrupted goes on from its own checkpoint. In the end
``weights.safetensors`` is there, with amplitudes.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import open_planet
from model.errors import WeightsError
from model.training.imagery import ImageryError
from model.training.planets import read_parents
from model.training.train import train
from model.training.train_config import TUNE_CROP, TrainConfig

TUNED = {"tune": (2, 2, 1), "crop": TUNE_CROP}
PHASES: dict[str, tuple[float, dict[str, Any]]] = {
    "flow": (0.45, {"learning_rate": 6e-4}),
    "score": (0.2, {**TUNED, "learning_rate": 2e-4, "ema": 0.997}),
    "critic": (0.15, {**TUNED, "learning_rate": 1.5e-4, "ema": 0.995, "critic": 0.25}),
    "planets": (0.2, {**TUNED, "learning_rate": 1.5e-4, "ema": 0.99, "critic": 1.0}),
}
"""Phases, each from the weights of the one before: their shares of the minutes, and what makes them differ."""
FLOW_CROPS = 8 / 3
"""Crops a step of flow matching, for each of tuning: those of 160 px that take as much time and memory."""


@dataclass(frozen=True)
class RecipeConfig:
    """``minutes``: of training, over all phases and resumes; measuring amplitudes and reading planets come on top. ``batch``:
    crops a step of tuning. ``init``: weights that flow matching starts from. ``places``: that parents are read at.
    ``calibration``: crops that amplitudes are measured on. All others as for `TrainConfig`."""

    imagery: Path
    out: Path
    minutes: float
    batch: int = 3
    seed: int = 0
    init: Path | None = None
    workers: int = 0
    device: str = TrainConfig.device
    compile: bool = False
    places: int = 140
    calibration: int = TrainConfig.calibration

    def check(self) -> None:
        """Raises `ImageryError` for numbers that no run could use."""
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise ImageryError(f"--minutes must be above 0, not {self.minutes:g}.")
        for name, least in (("batch", 1), ("workers", 0), ("places", 1), ("calibration", 4)):
            if getattr(self, name) < least:
                raise ImageryError(f"--{name} must be at least {least}, not {getattr(self, name)}.")


def make_weights(config: RecipeConfig) -> Path:
    """Goes on with the recipe in ``config.out`` until its weights are there, and returns their path. Raises `ImageryError` and
    `WeightsError` for what cannot be used."""
    config.check()
    config.out.mkdir(parents=True, exist_ok=True)
    before, parents = config.init, config.out / "parents.npz"
    for index, (name, (share, differs)) in enumerate(PHASES.items()):
        made = config.out / f"{name}.safetensors"
        if not made.is_file():
            if name == "planets":
                _read_planets(config, before, parents)
                differs = {**differs, "planet_parents": parents, "critic_from": config.out / "critic" / "checkpoint.pt"}
            run = TrainConfig(
                config.imagery,
                config.out / name,
                minutes=share * config.minutes,
                batch=config.batch if "tune" in differs else round(FLOW_CROPS * config.batch),
                seed=config.seed + index,
                init=before,
                device=config.device,
                workers=config.workers,
                compile=config.compile,
                calibration=config.calibration,
                **differs,
            )
            _put(train(run), made)
        before = made
    weights = config.out / "weights.safetensors"
    _put(made, weights)
    return weights


def _read_planets(config: RecipeConfig, weights: Path | None, path: Path) -> None:
    if not path.is_file():
        planet = open_planet(seed=config.seed, weights=weights, device=config.device)
        partial = path.with_suffix(".partial.npz")
        read_parents(planet, config.places, config.seed).save(partial)
        os.replace(partial, path)


def _put(source: Path, path: Path) -> None:
    """A copy under another name, whole or not at all: what is there is taken for finished."""
    partial = path.with_suffix(".partial")
    shutil.copyfile(source, partial)
    os.replace(partial, path)


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.recipe``."""
    parser = argparse.ArgumentParser(description="Make weights from a folder of imagery, through all phases of training.")
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of the recipe; an existing one is gone on with")
    parser.add_argument("--minutes", type=float, required=True, help="of training, over all phases and resumes")
    parser.add_argument("--batch", type=int, default=RecipeConfig.batch, help="crops a step of tuning (default 3; 80 on a GPU)")
    parser.add_argument("--seed", type=int, default=RecipeConfig.seed, help="of crops, noise, planets and new weights")
    parser.add_argument("--init", type=Path, help="weights to start from (default: new ones)")
    parser.add_argument("--workers", type=int, default=RecipeConfig.workers, help="processes that cut crops")
    parser.add_argument("--places", type=int, default=RecipeConfig.places, help="places on planets to read parents at")
    parser.add_argument("--calibration", type=int, default=RecipeConfig.calibration, help="crops to measure amplitudes on")
    parser.add_argument("--device", default=RecipeConfig.device)
    parser.add_argument("--compile", action="store_true", help="use torch.compile; in tuning on a GPU, a CUDA graph")
    try:
        path = make_weights(RecipeConfig(**vars(parser.parse_args(arguments))))
    except (ImageryError, WeightsError) as error:
        parser.exit(2, f"{error}\n")
    print(path)


if __name__ == "__main__":
    main()
