"""Evaluation on held-out images: DESIGN section 7's M1 to M9, for one weights file or two side by side (docs/evaluation.md).

    python -m model.training.evaluate --imagery FOLDER --weights FILE [--against FILE] [--quick] --out DIR

writes ``evaluation.json``, ``evaluation.md`` and contact sheets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from model.precision import choose_compute, choose_steps
from model.store import Pixels
from model.training.heldout import Reference, held_out_pictures, references
from model.training.measures import Pictures
from model.training.parts import (
    Candidate,
    check_the_measures,
    measure_diversity,
    measure_drift,
    measure_guidance,
    measure_stages,
    name_of,
    table_of_drift,
    table_of_stages,
)
from model.training.report import Report, Task
from model.training.sheets import Sheet
from model.training.world import (
    World,
    draw_all_zooms,
    draw_strips,
    measure_base_chain,
    measure_cost,
    measure_purity,
    measure_seams,
)
from model.weights import load_weights

PARTS = ("stages", "drift", "world", "seams", "purity", "cost", "variety", "checks")
"""What an evaluation consists of; see docs/evaluation.md."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate: a weights file (None: the one that ships), optionally a second one beside it.

    ``steps``: sampler steps of the one-stage tables; ``world_steps``: of chains and planets (default: the device's).
    ``crops``: places per resolution. ``parts``: some of `PARTS`. ``quick``: smaller samples, under 10 minutes on two cores.
    """

    imagery: Path
    weights: Path | None
    out: Path
    against: Path | None = None
    quick: bool = False
    steps: tuple[int, ...] | None = None
    world_steps: int | None = None
    crops: int | None = None
    parts: tuple[str, ...] = PARTS
    seed: int = 0
    device: str = "auto"

    @property
    def chosen_steps(self) -> tuple[int, ...]:
        """``steps`` or their default."""
        return self.steps or ((1, 2, 4) if self.quick else (1, 2, 3, 4, 8, 16))

    @property
    def chosen_crops(self) -> int:
        """``crops`` or their default."""
        return self.crops or (8 if self.quick else 32)


class Evaluation:
    """One evaluation under way: what is measured, the report so far, and pictures for the sheets."""

    def __init__(self, config: EvaluateConfig) -> None:
        self.config = config
        self.compute = choose_compute(config.device)
        self.world_steps = choose_steps(config.world_steps)
        pictures, left_out = held_out_pictures(config.imagery)
        images = {picture.name.split("#")[0] for picture in pictures}
        self.references = references(pictures, config.chosen_crops, config.seed)
        self.pictures = pictures
        files = {"new": config.weights} | ({"old": config.against} if config.against else {})
        self.candidates = [Candidate(name, path, load_weights(path), self.compute) for name, path in files.items()]
        self.report = Report(
            {candidate.label: f"{candidate.weights.path} ({candidate.weights.digest[:12]})" for candidate in self.candidates}
            | {
                "device": self.compute.description,
                "chains and planets": f"{self.world_steps} sampler steps",
                "places": f"{config.chosen_crops} per resolution, from {len(images)} held-out images",
                "held out but not used, for their region is trained on": ", ".join(left_out) or "none",
            }
        )
        self.made: dict[tuple[str, float, str], Pictures] = {}

    def tasks(self) -> list[Task]:
        """Everything to do, in order."""
        config, report, out = self.config, self.report, self.config.out
        parts = set(config.parts)
        tasks: list[Task] = []
        for reference, candidate in product(self.references, self.candidates):
            at = f"{candidate.label} {name_of(reference.resolution)}"
            if "stages" in parts:
                for steps in config.chosen_steps:
                    tasks.append((f"{at}, {steps} steps", partial(self._stage, reference, candidate, steps)))
            if "drift" in parts:
                for depth in (1, 2, 3):
                    tasks.append((f"{at}, {depth} stages", partial(self._drift, reference, candidate, depth)))
            if "variety" in parts:
                count, seeds = (4, 2) if config.quick else (16, 4)
                args = (report, reference, candidate, self.world_steps, count, seeds)
                tasks.append((f"{at}, seeds", partial(measure_diversity, *args)))
        for candidate in self.candidates:
            if "variety" in parts:
                fine = min(self.references, key=lambda reference: abs(reference.resolution - 2.4))
                tasks.append(
                    ("guidance", partial(measure_guidance, report, fine, candidate, self.world_steps, out)),
                )
            if parts & {"world", "seams", "purity", "cost"}:
                tasks += self._world_tasks(World(candidate, self.world_steps), parts)
        if "checks" in parts:
            every = 3 if config.quick else 1
            tasks.append(("measures", partial(check_the_measures, report, self.pictures, config.seed + 1, out, every)))
        return tasks

    def _world_tasks(self, world: World, parts: set[str]) -> list[Task]:
        config, report = self.config, self.report
        label = world.candidate.label
        tasks: list[Task] = []
        if "world" in parts:
            places = world.places(1 if config.quick else 6)
            tasks += [(f"{label} {place.name}", partial(world.descend, place)) for place in places]
            tasks.append((f"{label} from base", partial(measure_base_chain, report, self.references, world)))
            tasks.append((f"{label} strips", partial(draw_strips, world, config.out)))
            if not config.quick:
                tasks.append((f"{label} all zooms", partial(draw_all_zooms, world, config.out)))
        if "seams" in parts:
            real = [reference.real for reference in self.references]
            blocks = 4 if config.quick else 10
            tasks.append((f"{label} seams", partial(measure_seams, report, world, blocks, real)))
        if "purity" in parts:
            steps = 1 if config.quick else world.steps
            tasks.append((f"{label} determinism", partial(measure_purity, report, world.candidate, steps)))
        if "cost" in parts:
            zooms = (8, 16) if config.quick else (6, 8, 10, 12, 16, 20)
            tasks.append((f"{label} cost", partial(measure_cost, report, world, zooms)))
        return tasks

    def _stage(self, reference: Reference, candidate: Candidate, steps: int) -> None:
        made = measure_stages(self.report, reference, candidate, steps)
        self.made["stages", reference.resolution, f"{candidate.label} {steps}"] = made

    def _drift(self, reference: Reference, candidate: Candidate, depth: int) -> None:
        made = measure_drift(self.report, reference, candidate, self.world_steps, depth)
        self.made["drift", reference.resolution, f"{candidate.label} {depth}"] = made

    def draw_sheets(self) -> None:
        """The contact sheets by resolution and land type: one stage, and chains."""
        for part, title in (("stages", "One stage: weights and steps"), ("drift", "Chains: weights and generated stages")):
            columns = list(dict.fromkeys(column for kind, _, column in self.made if kind == part))
            sheet = Sheet(title, ["bicubic", *columns, "real"], 128)
            for reference in self.references:
                for number in _one_of_each(reference):
                    crop = reference.crops[number]
                    row: list[Pixels] = [self.made[part, reference.resolution, c][number] for c in columns]
                    name = f"{name_of(reference.resolution)}\n{crop.land}"
                    sheet.add(name, [reference.bicubic[number], *row, reference.real[number]])
            if columns:
                sheet.write(self.config.out / f"{part}.png")


def _one_of_each(reference: Reference) -> list[int]:
    """The first place of every land type."""
    lands = [crop.land for crop in reference.crops]
    return sorted(lands.index(land) for land in set(lands))


def evaluate(config: EvaluateConfig, progress: Callable[[int, int], None] | None = None) -> Report:
    """Measure all of ``config.parts``, write tables and sheets into ``config.out``, and return the report.

    ``progress`` is called with (tasks done, tasks in all). Raises `ImageryError` and `ModelError`.
    """
    began = time.monotonic()
    evaluation = Evaluation(config)
    tasks = evaluation.tasks()
    for done, (_, work) in enumerate(tasks):
        if progress is not None:
            progress(done, len(tasks))
        work()
    report = evaluation.report
    raw = frozenset({"floor", "ceiling"})
    table_of_stages(report).add_means("mean", raw)
    table_of_drift(report).add_means("mean")
    report.facts["took"] = f"{time.monotonic() - began:.0f} s"
    evaluation.draw_sheets()
    report.write(config.out)
    if progress is not None:
        progress(len(tasks), len(tasks))
    return report


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.evaluate``."""
    parser = argparse.ArgumentParser(description="Measure weights on held-out imagery.")
    parser.add_argument("--imagery", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="default: the weights that ship")
    parser.add_argument("--against", type=Path, help="a second weights file to compare with")
    parser.add_argument("--quick", action="store_true", help="smaller samples")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--world-steps", type=int)
    parser.add_argument("--crops", type=int)
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--device", default="auto")
    options = vars(parser.parse_args(arguments))
    options |= {name: tuple(options[name]) for name in ("steps", "parts") if options[name]}
    print(evaluate(EvaluateConfig(**options)).markdown())


if __name__ == "__main__":
    main()
