"""The commands `metaearth train` and `metaearth evaluate`: from imagery to weights, and what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.failures import one_line_errors

Imagery = Annotated[Path, typer.Option(help="folder of imagery with a manifest.csv")]


def train(
    imagery: Imagery,
    out: Annotated[Path, typer.Option(help="folder of the run; an existing one is resumed")],
    init: Annotated[Path | None, typer.Option(help="weights file to start from")] = None,
    minutes: Annotated[float | None, typer.Option(help="training time over all resumes; without it --steps decides")] = None,
    steps: Annotated[int, typer.Option(help="optimiser steps over all resumes")] = 20_000,
    batch: Annotated[int, typer.Option(help="crops a step")] = 8,
    crop: Annotated[int, typer.Option(help="side of a crop, pixels: a multiple of 8, with --tune of 64")] = 160,
    learning_rate: Annotated[float, typer.Option(help="its highest value")] = 6e-4,
    seed: Annotated[int, typer.Option(help="of crops, noise and new weights")] = 0,
    workers: Annotated[int, typer.Option(help="processes that cut crops; 0 for none besides this one")] = 0,
    tune: Annotated[list[int] | None, typer.Option(help="tune for so many sampler steps; may be given several times")] = None,
    critic: Annotated[float, typer.Option(help="with --tune: what a critic counts for beside the score; 0: none")] = 0.0,
    critic_from: Annotated[Path | None, typer.Option(help="checkpoint of another run, whose critic to start with")] = None,
    planet_parents: Annotated[Path | None, typer.Option(help="parents that a critic alone judges below")] = None,
    critic_ahead: Annotated[int, typer.Option(help="steps of the critic before the first, on what planets have made")] = 0,
    freeze: Annotated[
        list[str] | None, typer.Option(help="module that keeps the weights of --init; may be given several times")
    ] = None,
    ema: Annotated[float, typer.Option(help="decay of the averaged weights")] = 0.9995,
    keep_every: Annotated[int, typer.Option(help="steps between copies of the averaged weights that stay; 0: none")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    compile: Annotated[bool, typer.Option("--compile", help="use torch.compile (on a CPU it needs a C++ compiler)")] = False,
) -> None:
    """Trains the denoiser on a folder of imagery (docs/training.md)."""
    with one_line_errors():
        from model.training.train_config import TrainConfig
        from server.train_command import train_to_folder

        config = TrainConfig(
            imagery,
            out,
            minutes=minutes,
            steps=steps,
            batch=batch,
            crop=crop,
            learning_rate=learning_rate,
            seed=seed,
            init=init,
            device=device,
            workers=workers,
            compile=compile,
            tune=tuple(tune or ()),
            critic=critic,
            critic_from=critic_from,
            planet_parents=planet_parents,
            critic_ahead=critic_ahead,
            freeze=tuple(freeze or ()),
            ema=ema,
            keep_every=keep_every,
        )
        typer.echo(train_to_folder(config))


def evaluate(
    imagery: Imagery,
    out: Annotated[Path, typer.Option(help="folder to write evaluation.md, evaluation.json and contact sheets to")],
    weights: Annotated[Path | None, typer.Option(help="weights file (.safetensors)")] = None,
    against: Annotated[Path | None, typer.Option(help="a second weights file, measured beside the first")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="smaller samples: under 10 minutes on two cores")] = False,
    steps: Annotated[list[int] | None, typer.Option(help="sampler steps of single stages; may be given several times")] = None,
    world_steps: Annotated[int | None, typer.Option(help="sampler steps of chains and planets")] = None,
    crops: Annotated[int | None, typer.Option(help="places at each ground resolution")] = None,
    part: Annotated[list[str] | None, typer.Option(help="only this part; may be given several times")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
) -> None:
    """Measures weights on held-out imagery and prints the tables (docs/evaluation.md)."""
    with one_line_errors():
        from model.training.evaluate import PARTS, EvaluateConfig
        from server.train_command import evaluate_to_folder

        config = EvaluateConfig(
            imagery,
            weights,
            out,
            against=against,
            quick=quick,
            steps=tuple(dict.fromkeys(steps)) if steps else None,
            world_steps=world_steps,
            crops=crops,
            parts=tuple(dict.fromkeys(part)) if part else PARTS,
            device=device,
        )
        typer.echo(evaluate_to_folder(config))
