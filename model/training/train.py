"""The training loop: from an imagery folder to a weights file, resumable at any time.

    python -m model.training.train --imagery FOLDER --out runs/earth --minutes 90

writes ``checkpoint.pt`` (all that is needed to go on), ``log.jsonl`` (loss by noise level and resolution) and
``ema.safetensors`` (the weights to ship). Started again with the same ``--out`` it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.contrast import Amplitudes
from model.denoiser import Denoiser, DenoiserConfig
from model.errors import WeightsError
from model.precision import autocast_type
from model.sampler import TUNED_CARRY
from model.training.balance import Balance
from model.training.calibrate import calibrate
from model.training.critic import Adversary
from model.training.energy import MARGIN, Run, captured_judge, energy_loss, judge
from model.training.habits import Habits
from model.training.imagery import CropSampler, ImageryError, Picture, load_pictures
from model.training.loss import LossTable, flow_loss
from model.training.planets import PlanetParents, acquaint, planet_loss
from model.training.train_config import ON_PLANETS, SMALL_CROP, SMALL_EVERY, TrainConfig
from model.training.warm_start import initial_amplitudes, load_initial, modules_named
from model.weights import TUNED_STEPS, save_weights

Batches = Iterator[tuple[Tensor, Tensor, Tensor]]
"""Crops [B, 3, size, size], log2 of their metres per pixel [B], and whether they are whole [B]."""


@dataclass
class Progress:
    """What a checkpoint counts: optimiser steps and seconds trained."""

    step: int = 0
    seconds: float = 0.0


class Trainer:
    """Network, optimiser, EMA and data of one run; `run` trains until the budget is spent."""

    def __init__(self, config: TrainConfig) -> None:
        config.check_critic()
        self.config = config
        self.progress = Progress()
        self.table = LossTable()
        self.notes: dict[str, float] = {}
        self.balance = Balance()
        self.habits = Habits()
        captured = config.compile and config.tune and config.device.startswith("cuda")
        self.judge = captured_judge(config.batch, config.crop, config.device) if captured else judge
        torch.manual_seed(config.seed)
        self.denoiser = Denoiser(DenoiserConfig()).to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.started_from = "random initialisation"
        self.amplitudes: Amplitudes | None = None
        if config.init is not None:
            self.denoiser.load_state_dict(load_initial(config.init, self.denoiser.config))
            self.started_from = config.init.name
            self.amplitudes = initial_amplitudes(config.init)
        self.ema = {name: value.detach().clone() for name, value in self.denoiser.state_dict().items()}
        for module in modules_named(self.denoiser, config.freeze):
            module.requires_grad_(False)
        # Of all parameters: it leaves those without gradients as they are, and a run can be resumed with others frozen.
        self.optimiser = torch.optim.AdamW(
            self.denoiser.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.adversary = Adversary(config.critic, config.device, autocast_type(config.device)) if config.critic else None
        self.parents = PlanetParents.load(config.planet_parents) if config.planet_parents else None
        self.checkpoint = config.out / "checkpoint.pt"
        if self.checkpoint.is_file():
            self._resume()
        elif self.adversary and config.critic_from:
            self.adversary.start_from(config.critic_from)
        # A resumed run must see new crops and noise, not those of its start.
        self.generator = torch.Generator(config.device).manual_seed(config.seed * 7919 + self.progress.step)

    def run(self) -> Path:
        """Train, log and checkpoint; returns the path of the EMA weights. Raises `ImageryError` for unusable imagery."""
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        # A chain's stages come in too many sizes.
        forward = torch.compile(self.denoiser) if config.compile and not config.tune else self.denoiser
        torch.backends.cudnn.benchmark = True  # few shapes, each met thousands of times
        autocast = autocast_type(config.device)
        pictures = load_pictures(config.imagery)
        batches, others = self._loaders(pictures)
        unit, total = ("min", config.minutes) if config.minutes else ("step", float(config.steps))
        if self.parents and not len(self.habits.real):
            self.habits.measure(batches, MARGIN, config.device)
        if self.adversary and self.parents and not self.progress.step:
            for _ in tqdm(range(config.critic_ahead), "critic", unit="step", dynamic_ncols=True):
                acquaint(self.adversary, self.parents, *self._drawn(batches), self.generator)
        began, before = time.monotonic(), self.progress.seconds
        bar = tqdm(total=round(total), unit=unit, initial=round(min(self._spent(), total)), dynamic_ncols=True)
        average: float | None = None
        while self._spent() < total:
            step = self.progress.step
            rate = self._rate(self._spent() / total)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            child, log2_gsd, whole = self._drawn(others if self._takes_others(step) else batches)
            loss, error, energy, t = self._loss(forward, child, log2_gsd, whole, autocast)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0)
            self.optimiser.step()
            self._average()
            self.progress.step += 1
            self.progress.seconds = before + time.monotonic() - began
            self.table.add(error, energy, t, log2_gsd)
            average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
            bar.n = min(round(self._spent(), 1), round(total))
            bar.set_postfix(step=self.progress.step, loss=f"{average:.4f}", lr=f"{rate:.1e}")
            if self.progress.step % config.log_every == 0:
                self._log(average, rate)
            if self.progress.step % config.checkpoint_every == 0:
                self._save()
            if config.keep_every and self.progress.step % config.keep_every == 0:
                self._save_weights(config.out / f"ema-{self.progress.step}.safetensors")
        bar.close()
        self._save()
        path = config.out / "ema.safetensors"
        if config.tune and config.calibration:
            calibrate(path, pictures, statistics.mode(config.tune), config.calibration, config.crop)
        return path

    def _drawn(self, batches: Batches) -> tuple[Tensor, Tensor, Tensor]:
        """The next batch, on the device."""
        child, log2_gsd, whole = (v.to(self.config.device, non_blocking=True).float() for v in next(batches))
        return child, log2_gsd, whole

    def _takes_others(self, step: int) -> bool:
        if self.config.tune:
            return self.config.generations(step) == 2
        return step % SMALL_EVERY == SMALL_EVERY - 1

    def _loss(
        self, forward: Callable[..., Tensor], child: Tensor, log2_gsd: Tensor, whole: Tensor, autocast: torch.dtype | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tune = self.config.tune
        if not tune:
            return flow_loss(forward, child, log2_gsd, self.generator, autocast)
        steps = tune[int(torch.randint(len(tune), (), generator=self.generator, device=self.generator.device))]
        generations = self.config.generations(self.progress.step)
        run = Run(forward, autocast, steps, TUNED_CARRY, self.judge)
        above, critic = self.amplitudes and self.balance.served(self.amplitudes), self.adversary
        if generations == ON_PLANETS and critic and self.parents:
            return planet_loss(run, child, log2_gsd, self.parents, self.generator, critic, self.habits, whole, above)
        return energy_loss(run, child, log2_gsd, self.generator, generations, above, critic, whole, self.notes, self.balance)

    def _loaders(self, pictures: list[Picture]) -> tuple[Batches, Batches]:
        """Batches of the run's crops, and of those that some steps take instead: small ones, or in tuning large ones."""
        config = self.config
        seed = config.seed + self.progress.step

        def loader(size: int, batch: int) -> Batches:
            sampler = CropSampler(pictures, size, seed)
            if config.workers:
                sampler.reduce_all()
            options = {"batch_size": batch, "num_workers": config.workers, "persistent_workers": config.workers > 0}
            return iter(DataLoader(sampler, pin_memory=config.device.startswith("cuda"), **options))  # type: ignore[arg-type]

        usual = loader(config.crop, config.batch)
        if config.tune:  # chains of three stages: crops of 64 px would have parents of 1 px
            return usual, loader(2 * config.crop, config.batch)
        return usual, loader(SMALL_CROP, config.batch * (config.crop // SMALL_CROP) ** 2)

    def _spent(self) -> float:
        return self.progress.seconds / 60 if self.config.minutes else float(self.progress.step)

    def _rate(self, done: float) -> float:
        warm = min(1.0, (self.progress.step + 1) / 100)
        return self.config.learning_rate * warm * (0.5 * (1 + math.cos(math.pi * min(done, 1.0))) * 0.97 + 0.03)

    @torch.no_grad()
    def _average(self) -> None:
        step = self.progress.step
        keep = min(self.config.ema, (step + 1) / (step + 10))
        for name, value in self.denoiser.state_dict().items():
            self.ema[name].lerp_(value, 1 - keep)

    def _log(self, loss: float, rate: float) -> None:
        record = {
            "step": self.progress.step,
            "minutes": round(self.progress.seconds / 60, 2),
            "loss": round(loss, 5),
            "lr": rate,
            "unexplained": self.table.rows(),
            **self.notes,
        }
        if self.config.tune:
            record |= {"contrast": self.balance.notes(), "habits": self.habits.notes()}
        if self.adversary:
            record["critic"] = {"gap": round(self.adversary.gap, 3), "ratio": self.adversary.ratio}
        with (self.config.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def _save(self) -> None:
        state = {
            "denoiser": self.denoiser.state_dict(),
            "ema": self.ema,
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
            "started_from": self.started_from,
            "adversary": self.adversary.state_dict() if self.adversary else None,
            "balance": self.balance.state_dict(),
            "habits": self.habits.state_dict(),
            "amplitudes": None if self.amplitudes is None else self.amplitudes.to_text(),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)
        self._save_weights(self.config.out / "ema.safetensors")

    def _save_weights(self, path: Path) -> None:
        tune, minutes = self.config.tune, self.progress.seconds / 60
        method = ("energy score" if tune else "flow matching") + (" and critic" if self.adversary else "")
        provenance = {
            "data": str(self.config.imagery.name),
            "license": "CC-BY-SA-4.0",
            "recipe": f"{method}, {self.progress.step} steps, {minutes:.0f} min, from {self.started_from}",
            "commit": _commit(),
        }
        if tune:
            provenance[TUNED_STEPS] = " ".join(map(str, sorted(set(tune))))
        save_weights(path, self.ema, self.denoiser.config, provenance)

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.config.device, weights_only=True)
        self.denoiser.load_state_dict(state["denoiser"])
        self.ema = state["ema"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        self.started_from = state["started_from"]
        self.amplitudes = Amplitudes.from_text(text) if (text := state.get("amplitudes")) else None
        for name, part in (("balance", self.balance), ("habits", self.habits), ("adversary", self.adversary)):
            if part and state.get(name):
                part.load_state_dict(state[name])


def train(config: TrainConfig) -> Path:
    """Train (or go on training) one run and return the path of its EMA weights."""
    return Trainer(config).run()


def _commit() -> str:
    try:
        return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.train``."""
    defaults = TrainConfig(Path(), Path())
    parser = argparse.ArgumentParser(description="Train the denoiser on a folder of imagery.")
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing one is resumed")
    parser.add_argument("--init", type=Path, help="weights file to start from")
    parser.add_argument("--minutes", type=float, help="training time over all resumes (default: --steps decides)")
    parser.add_argument("--tune", type=int, nargs="+", default=(), help="tune for these numbers of sampler steps")
    parser.add_argument("--freeze", nargs="+", default=(), help="modules that keep the weights of --init, such as middle")
    parser.add_argument("--keep-every", type=int, default=0, help="steps between weights that stay (default: none do)")
    for name in ("steps", "batch", "crop", "seed", "workers", "calibration"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name))
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--ema", type=float, default=defaults.ema, help="decay of the averaged weights")
    parser.add_argument("--critic", type=float, default=defaults.critic, help="in tuning: weight of a critic beside the score")
    parser.add_argument("--critic-from", type=Path, help="checkpoint of another run whose critic to start with")
    parser.add_argument("--critic-ahead", type=int, default=0, help="steps of the critic before the first, on those parents")
    parser.add_argument("--planet-parents", type=Path, help="parents from model.training.planets, for the critic to judge")
    parser.add_argument("--device", default=defaults.device)
    parser.add_argument("--compile", action="store_true", help="use torch.compile; in tuning on a GPU, a CUDA graph")
    try:
        path = train(TrainConfig(**vars(parser.parse_args(arguments))))
    except (ImageryError, WeightsError) as error:
        parser.exit(2, f"{error}\n")
    print(path)


if __name__ == "__main__":
    main()
