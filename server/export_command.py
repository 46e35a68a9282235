"""`metaearth export`: an area to a COG, MBTiles or PMTiles file, gone on with after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model import Planet
from server.app import planet_from_settings
from server.caches import Caches
from server.errors import RenderError
from server.export_engine import Export, Progress, check_room
from server.export_errors import DiskFullError, ExportRequestError
from server.export_estimate import Estimate, Rates
from server.export_plan import FORMATS, ExportPlan, make_plan
from server.failures import BadOptionError, CommandError
from server.quantities import byte_text, time_text
from server.settings import Settings

FORMAT_OF = {"." + extension: name for name, (extension, _) in FORMATS.items()} | {".tiff": "cog"}


def export_to_file(settings: Settings, output: Path, bbox: str, asked: Mapping[str, Any], *, dry_run: bool) -> str:
    """Exports `bbox` (four numbers in a line) to `output` with a progress bar; `asked` are options of `make_plan`.

    What is finished lies in a directory beside `output` until all is, where the same command finds it. Returns a line
    about the file or, with `dry_run`, about the estimate. Raises `CommandError`, `CacheError` and `ModelError`.
    """
    format = FORMAT_OF.get(output.suffix.lower())
    if format is None:
        raise BadOptionError(f"{output} must end in .tif, .mbtiles or .pmtiles.")
    if not output.absolute().parent.is_dir():
        raise CommandError(f"The directory {output.parent} does not exist; create it or choose another.")
    try:
        box = [float(part) for part in bbox.split(",")]
    except ValueError as error:
        raise BadOptionError(f"--bbox must be four numbers W,S,E,N, not {bbox!r}.") from error

    def plan_of(planet: str) -> ExportPlan:
        return make_plan(box, format=format, planet=planet, attribution=settings.attribution, **asked)

    with _sentences():
        plan_of("")  # what is wrong with the options is said before the planet is opened
        caches = Caches.open(settings)
        try:
            planet = planet_from_settings(settings, caches.blocks)
            plan = plan_of(planet.identity)
            folder = settings.cache_dir / "exports"
            folder.mkdir(parents=True, exist_ok=True)
            rates = Rates(folder / "rates.json", planet.identity)
            if dry_run:
                return f"{output}: {_said(plan, _estimate(planet, plan, rates, settings))}"
            with _claimed(output, plan) as work:
                if not (work / "journal.sqlite").exists() and not (work / "growing.mbtiles").exists():
                    estimate = _estimate(planet, plan, rates, settings)
                    check_room(output.absolute().parent, estimate.bytes * (2 if format == "cog" else 1))
                size = _run(settings, planet, plan, rates, work, output)
                shutil.rmtree(work, ignore_errors=True)
        finally:
            caches.close()
    return f"{output}: {plan.width} x {plan.height} pixels at zoom {plan.maxzoom}, {plan.tiles} tiles, {byte_text(size)}"


def _run(settings: Settings, planet: Planet, plan: ExportPlan, rates: Rates, work: Path, output: Path) -> int:
    export = Export(
        plan,
        work,
        lambda *window: rates.read(planet, *window),
        lambda zoom: rates.side(zoom, planet.base_zoom),
        png_level=settings.png_level,
        threads=settings.encoder_threads,
    )
    size = 0
    with tqdm(total=plan.pixels, unit="px", unit_scale=True, desc=str(output)) as bar:

        def report(progress: Progress) -> None:
            nonlocal size
            if bar.n == 0 and size == 0:
                bar.initial = progress.done  # what a former run has done says nothing about this one's speed
            size = progress.size
            bar.update(progress.done - bar.n)

        export.run(output, report)
    rates.save()
    return size


def _estimate(planet: Planet, plan: ExportPlan, rates: Rates, settings: Settings) -> Estimate:
    return rates.estimate(planet, plan, rates.sample(planet, plan), settings.png_level)


def _said(plan: ExportPlan, estimate: Estimate) -> str:
    zooms = str(plan.maxzoom) if plan.minzoom == plan.maxzoom else f"{plan.minzoom} to {plan.maxzoom}"
    return (
        f"{plan.width} x {plan.height} pixels at zoom {plan.maxzoom}; zoom {zooms}: {estimate.pixels} pixels in "
        f"{estimate.tiles} tiles, about {byte_text(estimate.bytes)} and {time_text(estimate.seconds)} with nothing cached"
    )


@contextlib.contextmanager
def _claimed(output: Path, plan: ExportPlan) -> Iterator[Path]:
    """The directory of unfinished work beside `output`, locked against a second run of the same command."""
    work = output.absolute().with_name(output.name + ".partial")
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(f"Another process writes {output} now; wait for it or choose another file.") from error
        kept = work / "plan.json"
        if kept.exists():
            try:
                same = json.loads(kept.read_text()) == plan.to_json()
            except (OSError, ValueError):
                same = False
            if not same:
                raise CommandError(
                    f"{work} holds an unfinished export with other options or of another planet; "
                    "finish it with the options it was begun with, or delete the directory."
                )
        else:
            # Nothing was begun but, at most, by a process that died before it had said what.
            partial = work / "plan.json.partial"
            partial.write_text(json.dumps(plan.to_json()))
            partial.replace(kept)
        try:
            yield work
        except DiskFullError:
            # What cannot be finished should not keep the disk full; blocks that the cache has need no second rendering.
            shutil.rmtree(work, ignore_errors=True)
            raise


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """The errors of exports as those of the command line."""
    try:
        yield
    except ExportRequestError as error:
        raise BadOptionError(str(error)) from error
    except (DiskFullError, RenderError) as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt as error:
        raise CommandError("Stopped; the same command goes on where this one was.") from error
    except sqlite3.Error as error:
        raise CommandError(f"The disk failed ({error}); see whether it can be written, then start again.") from error
