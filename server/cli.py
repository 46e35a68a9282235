"""The command line `metaearth`. Commands import what they need when they run: torch takes seconds to
import."""

from __future__ import annotations

import contextlib
import logging
import socket
from pathlib import Path
from typing import Annotated

import typer

from server.cache_cli import cache_app
from server.failures import CommandError, one_line_errors
from server.settings import Settings, load_settings, unknown_variables
from server.training_cli import evaluate, train

app = typer.Typer(
    name="metaearth",
    help="A synthetic Earth, zoom 0 to 20. Every setting is also an environment variable METAEARTH_...",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cache_app, name="cache")

Seed = Annotated[int | None, typer.Option(help="another seed, another world")]
Steps = Annotated[int | None, typer.Option(help="sampler steps, 1 to 16")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")]
Precision = Annotated[str | None, typer.Option(help="auto, bf16 or fp32")]
WeightsFile = Annotated[Path | None, typer.Option(help="weights file (.safetensors)")]
CacheDir = Annotated[Path | None, typer.Option(help="directory of the caches")]
Output = Annotated[Path, typer.Option("--output", "-o", help="file to write: .png, .jpg, .webp or .avif")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on; 0.0.0.0 for all")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on; 0 for any free one")] = None,
    root_path: Annotated[str | None, typer.Option(help="path prefix behind a proxy, such as /globe")] = None,
    public_url: Annotated[str | None, typer.Option(help="address under which the world sees the server")] = None,
    workers: Annotated[int | None, typer.Option(help="processes that serve")] = None,
    seed: Seed = None,
    steps: Steps = None,
    device: Device = None,
    precision: Precision = None,
    weights: WeightsFile = None,
    cache_dir: CacheDir = None,
) -> None:
    """Serves tiles, TileJSON and the viewer over HTTP."""
    with one_line_errors(), contextlib.ExitStack() as undone_by_failure:
        settings = load_settings(
            host=host,
            port=port,
            root_path=root_path,
            public_url=public_url,
            workers=workers,
            seed=seed,
            steps=steps,
            device=device,
            precision=precision,
            weights=weights,
            cache_dir=cache_dir,
        )
        _configure_logging(settings)
        # First of all: a taken port is known at once, and whoever connects while weights load waits instead
        # of failing.
        listener = undone_by_failure.enter_context(_listen(settings.host, settings.port))
        address, bound = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address

        def started(what: str) -> None:
            typer.echo(what)
            typer.echo(f"MetaEarth Tiles on http://{shown}:{bound}  (cache {settings.cache_dir}; Ctrl+C stops)")

        if settings.workers > 1 or settings.max_memory_mb is not None:
            from server.metrics_workers import shared_metrics
            from server.supervisor import Supervisor

            undone_by_failure.pop_all()
            with shared_metrics():
                raise typer.Exit(Supervisor(settings, listener, started).run())

        from server.app import create_app
        from server.run import run_server, what_serves

        application = create_app(settings)
        undone_by_failure.pop_all()
    started(what_serves(application))
    with contextlib.suppress(KeyboardInterrupt):
        run_server(application, listener)


@app.command()
def key() -> None:
    """Makes an API key, for a client, and its digest, for METAEARTH_API_KEYS."""
    from server.keys import digest_of, new_key

    made = new_key()
    typer.echo(f"key     {made}")
    typer.echo(f"digest  {digest_of(made)}")


@app.command()
def render(
    output: Output,
    bbox: Annotated[str | None, typer.Option(help="W,S,E,N in degrees; E below W crosses the antimeridian")] = None,
    zoom: Annotated[int | None, typer.Option(help="zoom of the picture of --bbox")] = None,
    tile: Annotated[str | None, typer.Option(help="Z/X/Y: one tile instead of a box")] = None,
    seed: Seed = None,
    steps: Steps = None,
    device: Device = None,
    precision: Precision = None,
    weights: WeightsFile = None,
    cache_dir: CacheDir = None,
) -> None:
    """Renders a box or a tile to a file."""
    with one_line_errors():
        settings = load_settings(
            seed=seed, steps=steps, device=device, precision=precision, weights=weights, cache_dir=cache_dir
        )
        _configure_logging(settings)

        from server.render_command import PixelBox, render_to_file

        box = PixelBox.from_options(bbox, zoom, tile)
        typer.echo(render_to_file(settings, box, output))


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write: .tif (COG), .mbtiles or .pmtiles")],
    bbox: Annotated[str, typer.Option(help="W,S,E,N; E below W crosses the antimeridian")],
    bbox_crs: Annotated[str | None, typer.Option(help="CRS of --bbox, such as EPSG:3857; default degrees")] = None,
    zoom: Annotated[int | None, typer.Option(help="the one zoom to export")] = None,
    minzoom: Annotated[int | None, typer.Option(help="first zoom of .mbtiles and .pmtiles")] = None,
    maxzoom: Annotated[int | None, typer.Option(help="last zoom, instead of --zoom")] = None,
    resolution: Annotated[float | None, typer.Option(help="metres per pixel on the ground, instead of a zoom")] = None,
    tile_format: Annotated[str | None, typer.Option(help="png (lossless, the default), jpg or webp")] = None,
    quality: Annotated[int | None, typer.Option(help="1 to 95, of jpg and webp")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say how large it gets and how long it takes")] = False,
    seed: Seed = None,
    steps: Steps = None,
    device: Device = None,
    precision: Precision = None,
    weights: WeightsFile = None,
    cache_dir: CacheDir = None,
) -> None:
    """Writes an area of up to 4 gigapixels; the same command goes on where a stopped one was (docs/exports.md)."""
    with one_line_errors():
        settings = load_settings(
            seed=seed, steps=steps, device=device, precision=precision, weights=weights, cache_dir=cache_dir
        )
        _configure_logging(settings)

        from server.export_command import export_to_file

        asked = {
            "bbox_crs": bbox_crs,
            "zoom": zoom,
            "minzoom": minzoom,
            "maxzoom": maxzoom,
            "resolution": resolution,
            "tile_format": tile_format,
            "quality": quality,
        }
        typer.echo(export_to_file(settings, output, bbox, asked, dry_run=dry_run))


@app.command()
def seed(
    bbox: Annotated[str | None, typer.Option(help="W,S,E,N in degrees; E below W crosses the antimeridian")] = None,
    geojson: Annotated[Path | None, typer.Option(help="GeoJSON file: the tiles that touch its polygons")] = None,
    view: Annotated[str | None, typer.Option(help="the viewer's address, or its #zoom/lat/lon: what a map shows there")] = None,
    center: Annotated[str | None, typer.Option(help="LON,LAT: what a map shows around there, with --zoom-view")] = None,
    zoom_view: Annotated[float | None, typer.Option(help="the zoom that the map at --center shows")] = None,
    size: Annotated[str, typer.Option(help="size of that map in pixels")] = "1280x800",
    zoom: Annotated[int | None, typer.Option(help="the one zoom to seed; by default that of --view or --zoom-view")] = None,
    minzoom: Annotated[int | None, typer.Option(help="first zoom of a range; 0 by default")] = None,
    maxzoom: Annotated[int | None, typer.Option(help="last zoom of a range")] = None,
    tile_format: Annotated[
        list[str] | None, typer.Option("--format", help="png (the default), jpg, webp, avif, png8; several with commas")
    ] = None,
    tilesize: Annotated[list[int] | None, typer.Option(help="256 (the default) or 512 (@2x); may be given twice")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="tiles under way at a time")] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say how many tiles, how large and how long")] = False,
    url: Annotated[str | None, typer.Option(help="have the server at this address make them, over HTTP")] = None,
    header: Annotated[list[str] | None, typer.Option(help="NAME:VALUE sent to --url; may be given several times")] = None,
    planet_seed: Annotated[int | None, typer.Option("--seed", help="another seed, another world")] = None,
    steps: Steps = None,
    device: Device = None,
    precision: Precision = None,
    weights: WeightsFile = None,
    cache_dir: CacheDir = None,
) -> None:
    """Fills the cache before anybody asks; the same command goes on where a stopped one was (docs/seeding.md)."""
    with one_line_errors():
        settings = load_settings(
            seed=planet_seed, steps=steps, device=device, precision=precision, weights=weights, cache_dir=cache_dir
        )
        _configure_logging(settings)

        from server.seed_command import seed_server, seed_tiles
        from server.seed_plan import make_plan
        from server.seed_source import parse_headers

        plan = make_plan(
            bbox=bbox,
            geojson=geojson,
            view=view,
            center=center,
            zoom_view=zoom_view,
            size=size,
            zoom=zoom,
            minzoom=minzoom,
            maxzoom=maxzoom,
            formats=tile_format or (),
            tile_sizes=tilesize or (),
        )
        headers = parse_headers(header or ())
        if url is not None:
            typer.echo(seed_server(url, headers, plan, concurrency, dry_run=dry_run))
        else:
            typer.echo(seed_tiles(settings, plan, concurrency, dry_run=dry_run))


@app.command()
def enhance(
    image: Annotated[Path, typer.Argument(help="any picture that Pillow reads")],
    gsd: Annotated[float, typer.Option(help="its ground resolution, metres per pixel")],
    output: Output,
    stages: Annotated[int, typer.Option(help="the picture becomes 4**N times larger a side")] = 1,
    steps: Steps = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    weights: WeightsFile = None,
) -> None:
    """Adds plausible detail to any picture seen from above: stages of the cascade, edges mirrored."""
    with one_line_errors():
        settings = load_settings(seed=seed, steps=steps, device=device, precision=precision, weights=weights)
        _configure_logging(settings)

        from server.enhance_command import enhance_file

        typer.echo(enhance_file(settings, image, gsd, stages, output))


app.command()(train)
app.command()(evaluate)


@app.command()
def info(
    seed: Seed = None,
    steps: Steps = None,
    device: Device = None,
    precision: Precision = None,
    weights: WeightsFile = None,
    cache_dir: CacheDir = None,
) -> None:
    """Shows device, precision, weights and caches."""
    with one_line_errors():
        settings = load_settings(
            seed=seed, steps=steps, device=device, precision=precision, weights=weights, cache_dir=cache_dir
        )
        _configure_logging(settings)

        from server.info_command import describe

        typer.echo(describe(settings))


def _configure_logging(settings: Settings) -> None:
    from server.logs import configure_logging

    configure_logging(settings)
    for sentence in unknown_variables():
        logging.getLogger(__name__).warning(sentence)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises `CommandError` if there cannot be one."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as undone_by_failure:
            listener = undone_by_failure.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
            undone_by_failure.pop_all()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(
            f"Cannot listen on port {port} of {host} ({reason}); "
            "choose another with --port and --host, or METAEARTH_PORT and METAEARTH_HOST."
        ) from error
    return listener


if __name__ == "__main__":
    app()
