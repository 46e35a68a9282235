"""The parts of an evaluation that read whole planets: chains from the base picture, seams, purity and cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.grid import lonlat_to_pixel
from model.planet import Planet, open_planet
from model.store import BLOCK, Pixels
from model.training.cost import floor_share, tile_costs
from model.training.heldout import Crop, Reference
from model.training.homes import place_for, zoom_like
from model.training.measures import Pictures
from model.training.parts import Candidate, name_of, put_contrast_by_land, table_of_drift
from model.training.places import ZOOMS, Descent, Place, cross_zoom, descend, fixed_places, places_by_land
from model.training.purity import purity
from model.training.report import Report, Table
from model.training.seams import seams
from model.training.sheets import Sheet

_SEAM_PLACES = ((8, 7.85, 46.35), (12, 10.6, 45.1), (16, -93.6, 42.1))
_EQUATOR = 156543.034


@dataclass
class World:
    """A candidate's planet and what was read of it."""

    candidate: Candidate
    steps: int
    planet: Planet = field(init=False)
    descents: list[Descent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.planet = self.fresh()

    def fresh(self) -> Planet:
        """The same planet with nothing cached."""
        return open_planet(steps=self.steps, weights=self.candidate.path, device=str(self.candidate.compute.device))

    def places(self, each: int) -> list[Place]:
        """The fixed places, and as many more of each land type as are needed for ``each``."""
        fixed = fixed_places(self.planet)
        more = [
            place
            for place in places_by_land(self.planet, each)
            if int(place.name.split()[1]) > sum(known.land == place.land and abs(known.lat) < 50 for known in fixed)
        ]
        return fixed + more

    def descend(self, place: Place) -> None:
        """Read a place at all zooms."""
        self.descents.append(descend(self.planet, place))


def measure_base_chain(report: Report, references: list[Reference], world: World) -> None:
    """Pictures all the way from the base picture against real ones of each resolution, and M6 by zoom."""
    column = f"{world.candidate.label} from base"
    drift = table_of_drift(report)
    places = [descent.place for descent in world.descents]
    for reference in references:
        pictures = np.stack(
            [_counterpart(world.planet, crop, place_for(crop, places, n)) for n, crop in enumerate(reference.crops)]
        )
        put_contrast_by_land(report, reference, pictures, [crop.land for crop in reference.crops], column)
        drift.put_all((name_of(reference.resolution),), column, reference.score(pictures))
    note = (
        "M6: box-averaged children against their parents, PSNR by level (45 dB is rounding only), over all places; and the mean"
        " colour that the levels down to there have added to the base picture's (the channel furthest off, in grey levels)."
    )
    table = report.table("Cross-zoom", note, ("zoom", "measure"))
    levels = cross_zoom(world.descents)
    for zoom_name, figures in levels.items():
        table.put_all((zoom_name,), world.candidate.label, figures)
    for reference in references:
        drifted = levels[f"z{zoom_of(reference.resolution)}"]["colour drift from base"]
        drift.put((name_of(reference.resolution), "colour drift"), column, drifted)


def zoom_of(resolution: float) -> int:
    """The generated zoom that is nearest to a ground resolution at the equator."""
    return 2 * round(math.log2(_EQUATOR / resolution) / 2)


def _counterpart(planet: Planet, crop: Crop, place: Place) -> Pixels:
    """What the planet shows at a real picture's place, at the zoom of its resolution."""
    zoom = zoom_like(crop, place)
    return planet.read(zoom, *place.corner(zoom), BLOCK, BLOCK)


def draw_strips(world: World, out: Path) -> None:
    """The zoom strips of the fixed places."""
    side = BLOCK
    sheet = Sheet(f"Zoom strips, {world.candidate.label}, {world.steps} steps", [f"z{zoom}" for zoom in ZOOMS], side)
    for descent in world.descents:
        if not descent.place.name[-1].isdigit():
            metres = descent.place.metres(8)
            name = f"{descent.place.name}\n({descent.place.land})\nz8: {metres:.0f} m"
            sheet.add(name.replace(" ", "\n", 1) if len(descent.place.name) > 16 else name, list(descent.blocks.values()))
    sheet.write(out / f"strips_{world.candidate.label}.png")


def draw_all_zooms(world: World, out: Path, side: int = 256) -> None:
    """The fixed places at every zoom from 4 to 20, tiles of ``side`` px: for the full evaluation."""
    zooms = range(4, 21)
    sheet = Sheet(f"Every zoom, {world.candidate.label}, {world.steps} steps", [f"z{zoom}" for zoom in zooms], side)
    for place in fixed_places(world.planet):
        row = []
        for zoom in zooms:
            x, y = (int(value) - side // 2 for value in lonlat_to_pixel(place.lon, place.lat, zoom))
            row.append(world.planet.read(zoom, x, y, side, side))
        sheet.add(place.name.replace(" ", "\n"), row)
    sheet.write(out / f"zooms_{world.candidate.label}.jpg")


def _planet_table(report: Report) -> Table:
    note = (
        "M5: largest difference E of one pixel through different windows (aim 0), steps over block borders in standard errors"
        " against lines of the same phase (|z| < 3), sharpness near borders (1; feathered is less), autocorrelation at the"
        " block period (|z| < 3), and steps over every 4th and 8th line over those elsewhere (`real`: in real imagery). M8:"
        " number of different hashes of the same windows on fresh planets, in another order, by other windows and in"
        " another process (aim 1). M9: cost on this machine, and the share of a denoiser call that its bare convolutions take."
    )
    return report.table("Seams, determinism, cost", note, ("measure", "at"))


def measure_seams(report: Report, world: World, blocks: int, real: list[Pictures]) -> None:
    """M5 over ``blocks`` x ``blocks`` canonical blocks at three zooms, beside the lattice of ``real`` pictures."""
    table = _planet_table(report)
    pictures = {}
    for zoom, lon, lat in _SEAM_PLACES:
        x, y = (int(value) // BLOCK * BLOCK for value in lonlat_to_pixel(lon, lat, zoom))
        pictures[f"z{zoom}"] = world.planet.read(zoom, x, y, blocks * BLOCK, blocks * BLOCK)
    found = {"all": seams(list(pictures.values()))} | {at: seams([picture]) for at, picture in pictures.items()}
    for at, figures in found.items():
        for name, value in figures.items():
            table.put((f"M5 {name}", at), world.candidate.label, value)
    flat = [picture for pictures_ in real for picture in pictures_]
    for name in ("lattice 4", "lattice 8"):
        table.put((f"M5 {name}", "all"), "real", seams(flat)[name])


def measure_purity(report: Report, candidate: Candidate, steps: int) -> None:
    """M8, and E of M5."""
    table = _planet_table(report)
    for name, value in purity(candidate.path, steps, str(candidate.compute.device)).items():
        if isinstance(value, float):
            table.put((name, "five places"), candidate.label, value)
        else:
            report.facts[f"hash of {candidate.label}"] = value


def measure_cost(report: Report, world: World, zooms: tuple[int, ...]) -> None:
    """M9."""
    table = _planet_table(report)
    for zoom, figures in tile_costs(world.fresh, zooms).items():
        for name, value in figures.items():
            table.put((name, zoom), world.candidate.label, value)
    compute = world.candidate.compute
    for name, value in floor_share(world.planet).items():
        table.put((name, f"{compute.precision}, {compute.threads} threads"), world.candidate.label, value)
