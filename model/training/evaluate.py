"""Evaluation on held-out images: one stage from true parents, beside bicubic and real, at each ground resolution.

    python -m model.training.evaluate --imagery FOLDER --weights FILE [--against FILE] --out DIR

writes ``evaluation.json``, ``evaluation.md`` and ``sheet.png`` (bicubic | each step count | real, by resolution).
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model.engine import HALO, PARENT_MARGIN, Engine, Window
from model.precision import choose_compute
from model.stage import enlarge, project, to_bytes, to_unit
from model.store import Pixels
from model.training.imagery import CropSampler, ImageryError, load_pictures
from model.training.measures import MEASURES, Pictures, contrast
from model.weights import load_weights

SIDE = 128
"""Side of the pictures compared; the margin and halo that a window needs lie around them."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate: a weights file, optionally a second one, at ``steps``, on ``crops`` places per resolution band."""

    imagery: Path
    weights: Path | None
    out: Path
    against: Path | None = None
    steps: tuple[int, ...] = (1, 2, 4, 16)
    crops: int = 24
    seed: int = 0
    device: str = "auto"


def evaluate(config: EvaluateConfig, progress: Callable[[int, int], None] | None = None) -> dict[str, object]:
    """Measure, write the table and the contact sheet into ``config.out``, and return the table.

    Every measure is normalised as (m - floor) / (bicubic - floor): 0 like other real imagery, 1 no detail; contrast: share
    of real detail. Raises `ImageryError` and `WeightsError`.
    """
    compute = choose_compute(config.device)
    margin = 4 * PARENT_MARGIN + HALO
    bands = _held_out(config, SIDE + 2 * margin)
    files = {"new": config.weights} | ({"old": config.against} if config.against else {})
    names = [f"{label} {steps}" for label in files for steps in config.steps]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    strips = []
    engines = {
        f"{label} {steps}": Engine(load_weights(path).denoiser, compute, config.seed, steps)
        for label, path in files.items()
        for steps in config.steps
    }
    done, total = 0, len(bands) * len(names)
    for band, wide in bands.items():
        real = _inside(wide, margin)
        half = len(real) // 2
        pictures = {"bicubic": _bicubic(wide, margin)}
        for name in names:
            pictures[name] = _generated(engines[name], wide, margin, band)
            done += 1
            if progress is not None:
                progress(done, total)
        # Made pictures of one half of the places against real ones of the other, as the floor is.
        row: dict[str, dict[str, float]] = {}
        for measure, function in MEASURES.items():
            floor = function(real[:half], real[half:])
            ceiling = function(pictures["bicubic"][:half], real[half:])
            span = max(ceiling - floor, 1e-6)
            row[measure] = {name: (function(pictures[name][:half], real[half:]) - floor) / span for name in names}
        row["contrast"] = {name: contrast(pictures[name], real) for name in names}
        rows[f"{2.0**band:g} m"] = row
        strips.append(np.concatenate([np.concatenate(list(p[:2]), 0) for p in (*pictures.values(), real)], 1))
    mean = {m: {n: float(np.mean([row[m][n] for row in rows.values()])) for n in names} for m in (*MEASURES, "contrast")}
    table: dict[str, object] = {"columns": names, "mean": mean, "by resolution": rows}
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "evaluation.json").write_text(json.dumps(table, indent=1))
    (config.out / "evaluation.md").write_text(_markdown(names, {"mean": mean, **rows}, files))
    Image.fromarray(np.concatenate(strips, 0)).save(config.out / "sheet.png")
    return table


def _held_out(config: EvaluateConfig, side: int) -> dict[int, Pictures]:
    """Held-out crops uint8 [N, side, side, 3] by log2 resolution, every second octave that has enough of them."""
    sampler = CropSampler(load_pictures(config.imagery, holdout=True, min_side=side), side, config.seed)
    chosen: dict[int, Pictures] = {}
    for band, groups in sampler.bands.items():
        if not -3 <= band <= 12 or band % 2:
            continue
        rng = random.Random(config.seed * 31 + band)
        crops = []
        for _ in range(config.crops):
            candidate = groups[rng.randrange(len(groups))].draw(rng)
            span = side * candidate.reduction
            pixels = candidate.picture.pixels
            top, left = rng.randrange(pixels.shape[1] - span + 1), rng.randrange(pixels.shape[2] - span + 1)
            image = to_unit(pixels[None, :, top : top + span, left : left + span])
            if candidate.reduction > 1:
                image = torch.nn.functional.avg_pool2d(image, candidate.reduction)
            crops.append(to_bytes(image)[0].permute(1, 2, 0).numpy())
        chosen[band] = np.stack(crops)
    if not chosen:
        raise ImageryError(f"No held-out image of {config.imagery} has a side of {side} px; see model/training/holdout.txt.")
    return chosen


def _parents(wide: Pictures) -> Pictures:
    """4x box means, uint8, as the cascade stores them."""
    return np.stack([to_bytes(torch.nn.functional.avg_pool2d(_tensor(p), 4))[0].permute(1, 2, 0).numpy() for p in wide])


def _generated(engine: Engine, wide: Pictures, margin: int, band: int) -> Pictures:
    window = []
    for place, parent in enumerate(_parents(wide)):
        child = np.arange(SIDE + 2 * HALO, dtype=np.int64) + place * 4096
        index = np.arange(len(parent), dtype=np.int64) + place * 1024
        window.append(Window(parent, child, child, index, index, 99, np.array([band], np.float32)))
    return np.stack([pixels[HALO:-HALO, HALO:-HALO] for pixels in engine.run(window)])


def _bicubic(wide: Pictures, margin: int) -> Pictures:
    made = []
    for parent in _parents(wide):
        low = to_unit(torch.from_numpy(parent.copy()).permute(2, 0, 1)[None])
        made.append(to_bytes(project(enlarge(low), low))[0].permute(1, 2, 0).numpy())
    return _inside(np.stack(made), margin)


def _inside(wide: Pictures, margin: int) -> Pictures:
    return wide[:, margin:-margin, margin:-margin]


def _tensor(picture: Pixels) -> torch.Tensor:
    return to_unit(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])


def _markdown(names: list[str], rows: dict[str, dict[str, dict[str, float]]], files: dict[str, Path | None]) -> str:
    weights = "; ".join(f"{label}: {path or 'the weights that ship'}" for label, path in files.items())
    lines = [f"One stage from true parents, held-out images. {weights}. Columns: sampler steps.", ""]
    lines += [f"| resolution | measure | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for resolution, row in rows.items():
        for measure, values in row.items():
            cells = " | ".join("-" if math.isnan(values[name]) else f"{values[name]:.2f}" for name in names)
            lines.append(f"| {resolution} | {measure} | {cells} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.evaluate``."""
    parser = argparse.ArgumentParser(description="Measure weights on held-out imagery.")
    parser.add_argument("--imagery", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="default: the weights that ship")
    parser.add_argument("--against", type=Path, help="a second weights file to compare with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 16])
    parser.add_argument("--crops", type=int, default=24)
    options = parser.parse_args(arguments)
    evaluate(EvaluateConfig(**{**vars(options), "steps": tuple(options.steps)}))
    print((options.out / "evaluation.md").read_text())


if __name__ == "__main__":
    main()
