"""The servers that bench/peers.py measures ours beside: what each needs, how it is started, where its tile is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.process import Server, free_port, metaearth_command, start

VENV_PACKAGES = ("titiler.application", "uvicorn", "MapProxy", "gunicorn")
NPM_PACKAGES = ("tileserver-gl-light",)
SEARCHED = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    open_file_cache max=1000;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=tiles:10m max_size=1g;
    types {{ image/jpeg jpg; }}
    upstream planet {{ server 127.0.0.1:{planet}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location /static/ {{ alias {folder}/static/; }}
        location / {{
            proxy_pass http://planet;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache tiles;
            proxy_cache_lock on;
        }}
    }}
}}
"""
MAPPROXY = """
services: {{tms: {{use_grid_names: true, origin: nw}}}}
layers: [{{name: earth, title: earth, sources: [kept]}}]
sources:
  planet:
    type: tile
    grid: GLOBAL_WEBMERCATOR
    url: http://127.0.0.1:{planet}/%(z)s/%(x)s/%(y)s.jpg
caches:
  kept:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [planet]
    format: image/jpeg
    meta_size: [1, 1]
    cache: {{type: file, directory: {folder}/cache}}
"""


class MissingError(Exception):
    """A peer cannot be had here; the text says why."""


@dataclass(frozen=True)
class Material:
    """The folder to work in, the port of our server, and what it made: a tile, and zooms 0 to 4 as COG and as MBTiles."""

    folder: Path
    planet: int
    tile: bytes
    cog: Path
    mbtiles: Path

    @classmethod
    def make(cls, folder: Path, planet: int, tile: bytes) -> Material:
        """Exports what is not there yet with `metaearth export`."""
        folder.mkdir(parents=True, exist_ok=True)
        code = metaearth_command()[:3]
        for name, options in (("world.tif", ["--zoom", "4"]), ("world.mbtiles", ["--minzoom", "0", "--maxzoom", "4"])):
            if not (folder / name).exists():
                box = ["--bbox=-180,-85,180,85", "--tile-format", "jpg", "-o", str(folder / name)]
                environment = {**os.environ, "METAEARTH_CACHE_DIR": str(folder / "ours")}
                subprocess.run([*code, "export", *options, *box], check=True, env=environment, stderr=subprocess.DEVNULL)
        return cls(folder, planet, tile, folder / "world.tif", folder / "world.mbtiles")


@dataclass(frozen=True)
class Peer:
    """`command(material, port)` starts it, `path` of the tile z/x/y answers when it runs."""

    name: str
    path: Callable[[Material, str], str]
    command: Callable[[Material, int], list[str]]

    @contextlib.contextmanager
    def running(self, material: Material) -> Iterator[Server]:
        """Raises `MissingError` if it cannot be installed or does not start."""
        port = free_port()
        command = self.command(material, port)
        server = start(command, {"OMP_NUM_THREADS": "1"}, port, material.folder / "log")
        try:
            try:
                server.wait(self.path(material, "0/0/0"), 60)
            except RuntimeError as error:
                raise MissingError(str(error).strip().splitlines()[-1][:200]) from error
            yield server
        finally:
            server.stop()


def nginx(material: Material, port: int) -> list[str]:
    """nginx with the tile as a file, and as a proxy with a cache before our server."""
    program = shutil.which("nginx", path=SEARCHED)
    if program is None:
        raise MissingError("nginx is not installed")
    folder = material.folder / "nginx"
    (folder / "static").mkdir(parents=True, exist_ok=True)
    for name in ("tile.jpg", "ready.jpg"):
        (folder / "static" / name).write_bytes(material.tile)
    user = "user root;" if os.geteuid() == 0 else ""
    config = NGINX.format(folder=folder, user=user, planet=material.planet, port=port)
    (folder / "nginx.conf").write_text(config)
    return ["sh", "-c", f'exec {program} -p "{folder}" -c "{folder}/nginx.conf" -e "{folder}/error.log"']


def titiler(material: Material, port: int) -> list[str]:
    """titiler's application under uvicorn."""
    return [
        str(_venv(material) / "bin" / "uvicorn"),
        "titiler.application.main:app",
        "--log-level",
        "error",
        "--port",
        str(port),
    ]


def mapproxy(material: Material, port: int) -> list[str]:
    """MapProxy under gunicorn with threads, its cache files that it fetched from our server."""
    folder = material.folder / "mapproxy"
    folder.mkdir(exist_ok=True)
    (folder / "mapproxy.yaml").write_text(MAPPROXY.format(folder=folder, planet=material.planet))
    program = f"from mapproxy.wsgiapp import make_wsgi_app\napplication = make_wsgi_app({str(folder / 'mapproxy.yaml')!r})\n"
    (folder / "peer.py").write_text(program)
    gunicorn = _venv(material) / "bin" / "gunicorn"
    options = f"--chdir {folder} --workers 1 --threads 4 --keep-alive 60 --log-level error"
    return ["sh", "-c", f"exec {gunicorn} {options} --bind 127.0.0.1:{port} peer:application"]


def tileserver(material: Material, port: int) -> list[str]:
    """tileserver-gl without its native renderer, which raster tiles from a file do not need."""
    folder = material.folder / "npm"
    program = folder / "node_modules" / ".bin" / "tileserver-gl"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise MissingError("npm is not installed")
        folder.mkdir(exist_ok=True)
        _install([npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *NPM_PACKAGES])
    config = material.folder / "tileserver.json"
    data = {"earth": {"mbtiles": material.mbtiles.name}}
    config.write_text(json.dumps({"options": {"paths": {"mbtiles": str(material.folder)}}, "data": data}))
    return ["sh", "-c", f"exec {program} --config {config} --bind 127.0.0.1 --port {port} --silent"]


def _venv(material: Material) -> Path:
    """A virtual environment beside ours with the Python peers."""
    folder = material.folder / "venv"
    if not (folder / "bin" / "gunicorn").exists():
        _install([sys.executable, "-m", "venv", str(folder)])
        _install([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *VENV_PACKAGES])
    return folder


def _install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise MissingError(f"{' '.join(command[:4])} failed: {lines[-1] if lines else done.returncode}")


PEERS = (
    Peer("nginx, static file", lambda _, tile: f"/static/{'ready' if tile == '0/0/0' else 'tile'}.jpg", nginx),
    Peer("nginx, proxy_cache before ours", lambda _, tile: f"/{tile}.jpg", nginx),
    Peer("tileserver-gl-light, MBTiles", lambda _, tile: f"/data/earth/{tile}.jpg", tileserver),
    Peer("MapProxy, file cache", lambda _, tile: f"/tiles/earth/GLOBAL_WEBMERCATOR/{tile}.jpeg", mapproxy),
    Peer("titiler, tile route (COG)", lambda m, tile: f"/cog/tiles/WebMercatorQuad/{tile}.jpg?url={m.cog}", titiler),
)
