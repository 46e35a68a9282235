"""`metaearth train` and `metaearth evaluate`: the training and the measures of model/training, with options checked first."""

from __future__ import annotations

import math
import zipfile
from dataclasses import replace

from tqdm import tqdm

from model.precision import choose_compute, choose_steps
from model.training.evaluate import PARTS, EvaluateConfig, evaluate
from model.training.imagery import ImageryError
from model.training.train import train
from model.training.train_config import SMALL_CROP, TUNE_CROP, TrainConfig
from server.failures import BadOptionError, CommandError


def train_to_folder(config: TrainConfig) -> str:
    """Trains (or goes on with) the run in `config.out`; returns a line about it.

    `config.device` may be `auto`. Raises `BadOptionError` for options and imagery that cannot be used, `CommandError` and
    `ModelError`.
    """
    if config.minutes is not None and not (math.isfinite(config.minutes) and config.minutes > 0):
        raise BadOptionError(f"--minutes must be above 0, not {config.minutes}.")
    if not (math.isfinite(config.learning_rate) and config.learning_rate > 0):
        raise BadOptionError(f"--learning-rate must be above 0, not {config.learning_rate}.")
    for name, value, least in (
        ("steps", config.steps, 1),
        ("batch", config.batch, 1),
        ("workers", config.workers, 0),
        ("keep-every", config.keep_every, 0),
        ("critic-ahead", config.critic_ahead, 0),
    ):
        if value < least:
            raise BadOptionError(f"--{name} must be at least {least}, not {value}.")
    if config.crop < SMALL_CROP or config.crop % 8:
        raise BadOptionError(f"--crop must be a multiple of 8 and at least {SMALL_CROP}, not {config.crop}.")
    if not 0 <= config.ema < 1:
        raise BadOptionError(f"--ema must be at least 0 and below 1, not {config.ema}.")
    if not (math.isfinite(config.critic) and config.critic >= 0):
        raise BadOptionError(f"--critic must be at least 0, not {config.critic}.")
    try:
        config.check_critic()
    except ImageryError as error:
        raise BadOptionError(str(error)) from error
    if config.freeze and config.init is None:
        raise BadOptionError(f"--freeze {config.freeze[0]} keeps weights of --init; give that as well.")
    compute = choose_compute(config.device)
    for steps in config.tune:
        choose_steps(steps)
        if config.crop < TUNE_CROP or config.crop % 64:
            raise BadOptionError(f"--crop must be a multiple of 64 and at least {TUNE_CROP} with --tune, not {config.crop}.")
    device = str(compute.device)
    checkpoint = config.out / "checkpoint.pt"
    if checkpoint.is_file() and not zipfile.is_zipfile(checkpoint):
        raise CommandError(f"The checkpoint {checkpoint} is broken; remove it, or name another folder with --out.")
    try:
        path = train(replace(config, device=device))
    except ImageryError as error:
        raise BadOptionError(str(error)) from error
    return f"{path}: the weights, averaged over the run (see {config.out}/log.jsonl)"


def evaluate_to_folder(config: EvaluateConfig) -> str:
    """Measures weights on held-out imagery into `config.out`; returns the report in Markdown.

    Raises `BadOptionError` for options and imagery that cannot be used, and `ModelError`.
    """
    for part in config.parts:
        if part not in PARTS:
            raise BadOptionError(f"--part must be one of {', '.join(PARTS)}, not {part}.")
    if config.crops is not None and config.crops < 2:
        raise BadOptionError(f"--crops must be at least 2, not {config.crops}: one half of them is compared with the other.")
    choose_compute(config.device)  # a wrong one is told before the bar is drawn
    for steps in (*config.chosen_steps, config.world_steps):
        choose_steps(steps)
    with tqdm(unit="task", desc=str(config.out)) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            evaluate(config, progress)
        except ImageryError as error:
            raise BadOptionError(str(error)) from error
    return (config.out / "evaluation.md").read_text(encoding="utf-8")
