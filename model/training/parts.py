"""The parts of an evaluation that compare with real pictures: one stage, chains below real parents, and the measures' check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.engine import Engine
from model.precision import Compute
from model.training.chains import chains, one_stage
from model.training.heldout import OTHERS, Reference, references
from model.training.imagery import Picture
from model.training.landtypes import TYPES
from model.training.measures import MEASURES, Pictures, colour_drift, contrast
from model.training.report import Report, Table, mean_of
from model.training.selfcheck import caught_by, check_measures, spoilt
from model.training.sheets import Sheet
from model.training.variety import diversity, guidance
from model.weights import Weights


@dataclass(frozen=True, eq=False)
class Candidate:
    """A weights file under evaluation: its name in the tables, the file (None: the one that ships), what was loaded."""

    label: str
    path: Path | None
    weights: Weights
    compute: Compute

    def engine(self, steps: int, seed: int = 0) -> Engine:
        """An engine of these weights."""
        return Engine.of(self.weights, self.compute, seed, steps)


def name_of(resolution: float) -> str:
    """A resolution in the tables."""
    return f"{resolution:g} m"


def table_of_stages(report: Report) -> Table:
    """One stage: every resolution, measure and number of steps."""
    note = (
        "One generated stage below real parents. M1 to M4 are normalised, 0 like other real imagery and 1 like bicubic; the"
        " columns `floor` and `ceiling` hold what was normalised by: real against other real, and bicubic. Contrast,"
        " spread (of local energies) and direction are shares of real ones; colour is in grey levels. Columns: weights and"
        " sampler steps. -: bicubic cannot be told from real. M3 error: the standard error of M3 by the choice of places."
    )
    return report.table("One stage", note, ("resolution", "measure"))


def measure_stages(report: Report, reference: Reference, candidate: Candidate, steps: int) -> Pictures:
    """One stage at one resolution and number of steps; returns the pictures."""
    table, name = table_of_stages(report), name_of(reference.resolution)
    for column, raw, pictures in (
        ("floor", reference.floor, reference.real),
        ("ceiling", reference.ceiling, reference.bicubic),
    ):
        row = {m: raw[m] for m in MEASURES} | reference.shares(pictures) | {"colour": raw["colour"]}
        table.put_all((name,), column, row)
    made = one_stage(candidate.engine(steps), reference.crops)
    table.put_all((name,), f"{candidate.label} {steps}", reference.score(made))
    return made


def table_of_drift(report: Report) -> Table:
    """Chains: every resolution, measure and depth."""
    note = (
        "Chains: 1, 2 and 3 generated stages below real held-out images box-averaged by 4, 16 and 64, and all the way from the"
        " base picture, where these images were taken, at the zoom nearest to their resolution. Measures and floors as for one"
        " stage; colour drift: mean colour less that of the real parent (the base picture), the channel furthest off, in grey"
        " levels."
    )
    return report.table("Drift", note, ("resolution", "measure"))


def measure_drift(report: Report, reference: Reference, candidate: Candidate, steps: int, depth: int) -> Pictures:
    """Chains of ``depth`` stages at one resolution; returns the pictures."""
    engine = candidate.engine(steps)
    made = chains(engine, reference.crops, depth) if depth > 1 else one_stage(engine, reference.crops)
    drift = colour_drift(made, reference.real)
    row = reference.score(made) | {"colour drift": max(drift, key=abs)}
    column = f"{candidate.label} {depth} stage{'s' * (depth > 1)}"
    table_of_drift(report).put_all((name_of(reference.resolution),), column, row)
    put_contrast_by_land(report, reference, made, [crop.land for crop in reference.crops], column)
    return made


def put_contrast_by_land(report: Report, reference: Reference, made: Pictures, lands: list[str], column: str) -> None:
    """Contrast of the two newest octaves of ``made`` (with their land types) over that of real pictures of the same type."""
    note = (
        "Contrast in the two newest octaves as a share of that of real held-out imagery of the same resolution and land type"
        " (by rules on colour and texture). Aim: 0.7 to 1.4 after three stages."
    )
    table = report.table("Contrast by land type", note, ("resolution", "land type"))
    real = [crop.land for crop in reference.crops]
    for land in TYPES:
        here, there = ([i for i, name in enumerate(names) if name == land] for names in (lands, real))
        if here and there:
            value = contrast(made[here], reference.real[there])
            table.put((name_of(reference.resolution), land), column, value)


def measure_diversity(report: Report, reference: Reference, candidate: Candidate, steps: int, crops: int, seeds: int) -> None:
    """M7 at one resolution: ``crops`` places, ``seeds`` times each."""
    note = (
        "M7: how far pictures of different seeds are from each other, over how far they are from the real picture of the place"
        " (detail below 4 px). 1: as varied as nature; 0: always the same. Aim: 0.7 to 1.2."
    )
    chosen = reference.crops[:crops]
    samples = [one_stage(candidate.engine(steps, seed), chosen) for seed in range(seeds)]
    value = diversity(samples, reference.real[: len(chosen)])
    report.table("Diversity", note, ("resolution",)).put((name_of(reference.resolution),), candidate.label, value)


def measure_guidance(report: Report, reference: Reference, candidate: Candidate, steps: int, out: Path) -> None:
    """The ablation of resolution guidance, with its sheet."""
    note = (
        f"The same parents ({name_of(reference.resolution)}) rendered as 10 m and as 1 m per pixel: the measures between the"
        " two sets of pictures, not normalised. `same`: between two renderings as 1 m with other noise, which is all that would"
        " remain without guidance."
    )
    row, pictures = guidance(candidate.engine(steps), reference.crops)
    report.table("Resolution guidance", note, ("figure",)).put_all((), candidate.label, row)
    sheet = Sheet(f"Resolution guidance: the same parents, {candidate.label}", ["bicubic", *pictures, "real"], 128)
    for i, crop in enumerate(reference.crops[:8]):
        sheet.add(crop.land, [reference.bicubic[i], *(made[i] for made in pictures.values()), reference.real[i]])
    sheet.write(out / f"guidance_{candidate.label}.png")


def check_the_measures(report: Report, pictures: list[Picture], seed: int, out: Path, every: int = 1) -> None:
    """The measures on real pictures of other places and on spoilt ones, mean over every ``every``-th resolution, with a sheet.

    Takes many places, for no network is called: with few, real pictures differ from other real ones.
    """
    pairs = list(zip(references(pictures, OTHERS, seed), references(pictures, OTHERS, seed + 1), strict=True))
    pairs = pairs[every // 2 :: every] or pairs
    note = (
        "The measures on pictures of which the truth is known, mean over resolutions: real pictures of other places are near 0,"
        " bicubic ones are 1, and each spoilt set is caught (`caught by` counts the measures that do): M1 to M4 above"
        " 0.3, contrast outside 0.7 to 1.4, or a colour drift above 3."
    )
    found = [check_measures(reference, other.real) for reference, other in pairs]
    table = report.table("The measures themselves", note, ("pictures",))
    for name in found[0]:
        rows = [rows[name] for rows in found]
        means = {measure: mean_of(measure, [row[measure] for row in rows]) for measure in rows[0]}
        for measure, value in means.items():
            table.put((name,), measure, value)
        table.put((name,), "caught by", float(len(caught_by(means))))
    sheet = Sheet("Pictures that the measures must tell from real ones", [], 128)
    for reference, _ in pairs:
        real, bicubic = reference.real[:1], reference.bicubic[:1]
        sets = {"real": real, "bicubic": bicubic} | spoilt(real, bicubic)
        sheet.columns = list(sets)
        sheet.add(name_of(reference.resolution), [pictures[0] for pictures in sets.values()])
    sheet.write(out / "checks.png")
