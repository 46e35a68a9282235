"""compose's nginx and Redis outside of containers: the same configuration files, with the places that only a container has
put elsewhere. For tests and benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent


def put(text: str, **places: tuple[str, str]) -> str:
    """`text` with the first of each pair replaced by the second wherever it stands.

    Raises:
        ValueError: if one does not occur, so that a configuration that has moved on is not half mapped.
    """
    for name, (old, new) in places.items():
        if old not in text:
            raise ValueError(f"The configuration has no {old!r} any more, which stood for its {name}.")
        text = text.replace(old, new)
    return text


def nginx_conf(folder: Path, port: int, server: str, **places: tuple[str, str]) -> Path:
    """Writes docker/nginx/nginx.conf for nginx on `port` of 127.0.0.1 before the tile server at `server` (host:port), all
    that it writes in `folder`; `places` are further replacements, as `put` takes them. Returns the file.

    nginx wants it by `-c`, with `-e` for a log of its start and `-g "daemon off;"`, as compose has it.
    """
    for name in ("tmp", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    text = put(
        (FOLDER / "nginx" / "nginx.conf").read_text(encoding="utf-8"),
        temporary=("/tmp/", f"{folder}/tmp/"),
        cache=("/var/cache/nginx", f"{folder}/cache"),
        server=("server tiles:8000", f"server {server}"),
        port=("listen 8080", f"listen 127.0.0.1:{port}"),
        log=("/dev/stdout", f"{folder}/access.log"),
        errors=("/dev/stderr", f"{folder}/error.log"),
        **places,
    )
    # The container's user is not root from the start; here the workers would become another who may not read `folder`.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(user + text, encoding="utf-8")
    return folder / "nginx.conf"


def redis_conf(folder: Path, port: int) -> Path:
    """Writes docker/redis/redis.conf for Redis on `port` of 127.0.0.1 with its snapshots in `folder`; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = put(
        (FOLDER / "redis" / "redis.conf").read_text(encoding="utf-8"),
        address=("bind * -::*", "bind 127.0.0.1"),
        port=("port 6379", f"port {port}"),
        snapshots=("dir /data", f"dir {folder}"),
    )
    (folder / "redis.conf").write_text(text, encoding="utf-8")
    return folder / "redis.conf"
