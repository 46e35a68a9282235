"""The commands below `metaearth cache`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.failures import one_line_errors
from server.settings import load_settings

cache_app = typer.Typer(help="Shows, empties and verifies the caches: disk and Redis.", no_args_is_help=True)

CacheDir = Annotated[Path | None, typer.Option(help="directory of the caches")]
CacheUrl = Annotated[str | None, typer.Option(help="address of the shared Redis")]
Zoom = Annotated[int | None, typer.Option(min=0, max=20)]


@cache_app.command()
def info(cache_dir: CacheDir = None, cache_url: CacheUrl = None) -> None:
    """Entries, bytes, bounds and hits of every tier, with advice."""
    with one_line_errors():
        from server.cache_command import cache_info

        typer.echo(cache_info(load_settings(cache_dir=cache_dir, cache_url=cache_url)))


@cache_app.command()
def purge(
    identity: Annotated[str | None, typer.Option(help="only of the planet whose identity begins so (metaearth info)")] = None,
    minzoom: Zoom = None,
    maxzoom: Zoom = None,
    yes: Annotated[bool, typer.Option("--yes", help="do it; without this it is only counted")] = False,
    cache_dir: CacheDir = None,
    cache_url: CacheUrl = None,
) -> None:
    """Deletes tiles and blocks: all, or those of a planet or of some zooms."""
    with one_line_errors():
        from server import cache_command

        settings = load_settings(cache_dir=cache_dir, cache_url=cache_url)
        typer.echo(cache_command.purge(settings, cache_command.Selection(identity, minzoom, maxzoom), really=yes))


@cache_app.command()
def verify(cache_dir: CacheDir = None, cache_url: CacheUrl = None) -> None:
    """Reads every entry and drops those that are damaged."""
    with one_line_errors():
        from server import cache_command

        typer.echo(cache_command.verify(load_settings(cache_dir=cache_dir, cache_url=cache_url)))
