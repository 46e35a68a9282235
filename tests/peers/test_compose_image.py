"""The image's Dockerfile, carried out instruction by instruction, and what it makes run as compose runs it: read-only,
without a user's or the kernel's privileges, and without any network."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model import Planet
from tests.peers.compose_image import NEEDED, PATIENCE_S, Build, Stage

pytestmark = pytest.mark.timeout(4 * PATIENCE_S)

ROOT = Path(__file__).parents[2]
VOLUME = "/var/cache/metaearth"

# Runs inside: starts the server as the image says, asks the health check, then the server, then stops it.
VISIT = """
import base64, json, os, subprocess, sys, time, urllib.request
command, health = map(json.loads, sys.argv[1:])
server = subprocess.Popen(command, stdout=sys.stderr)
before = subprocess.call(health)
while subprocess.call(health):
    assert server.poll() is None, "the server ended"
    time.sleep(0.3)
def get(path):
    with urllib.request.urlopen("http://127.0.0.1:8000" + path) as answer:
        return base64.b64encode(answer.read()).decode()
def writable(folder):
    try:
        open(folder + "/probe", "w").close()
    except OSError:
        return False
    return True
status = dict(line.split(":", 1) for line in open(f"/proc/{server.pid}/status"))
seen = {name: get(path) for name, path in {"base": "/4/8/5.png", "made": "/6/33/20.png", "health": "/health",
    "page": "/", "script": "/viewer/vendor/maplibre-gl.js"}.items()}
seen |= {"before": before, "ids": [status["Uid"].split(), status["Gid"].split(), status["Groups"].split()],
    "caps": [status[name].strip() for name in ("CapEff", "CapBnd")], "no_new_privs": status["NoNewPrivs"].strip(),
    "writable": [folder for folder in ("/", "/opt", "/opt/venv", "/etc", "/tmp", "/var/cache/metaearth") if writable(folder)]}
server.terminate()
seen |= {"stopped": server.wait(60), "after": subprocess.call(health)}
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The last stage of docker/Dockerfile."""
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in NEEDED):
        pytest.skip(f"root, and the programs {', '.join(NEEDED)}, are needed to change the root directory")
    if sys.version_info[:2] != (3, 11) or "bookworm" not in Path("/etc/os-release").read_text():
        pytest.skip("only Debian 12 with Python 3.11 is like the image")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("image")
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-ec"]
    mount = f"cd {folder}; mkdir u w v; mount -t overlay overlay -o lowerdir=/,upperdir=u,workdir=w v"
    if (refused := subprocess.run([*probe, mount], capture_output=True, text=True)).returncode:
        pytest.skip(f"overlay mounts in a namespace are not allowed here ({refused.stderr.strip()})")
    try:
        urllib.request.urlopen("https://pypi.org/simple/hatchling/", timeout=10).close()
    except OSError as error:
        pytest.skip(f"the image's build needs PyPI, which does not answer ({error})")
    build = Build(ROOT / "docker" / "Dockerfile", ROOT, folder / "build")
    assert list(build.stages) == ["viewer", "build", "final"]
    assert build.ran.count("RUN") == 7
    return build.image


@pytest.fixture(scope="module")
def visit(image: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a visitor inside of the running container saw."""
    volume = tmp_path_factory.mktemp("volume") / "cache"
    # As Docker fills a new named volume: with what the image has there, and its owner.
    subprocess.run(["cp", "-a", f"{image.upper}{VOLUME}", volume], check=True)
    environment = dict(image.env)
    # Part of a planet's identity: pixels may differ by a grey level with other numbers of threads.
    image.env |= {"METAEARTH_STEPS": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    started = json.dumps(image.entrypoint + image.command), json.dumps(image.health)
    said = image.run(["python", "-c", VISIT, *started], sealed=True, binds={volume: VOLUME})
    image.env = environment
    seen: dict[str, Any] = json.loads(said.splitlines()[-1])
    return seen


def test_the_image_holds_the_package_the_viewer_and_the_base_picture(image: Stage) -> None:
    packages = image.upper / "opt/venv/lib/python3.11/site-packages"
    for name in ("model/weights/earth.safetensors", "server/viewer/index.html", "server/templates/landing.html.j2"):
        assert (packages / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (image.upper / "opt/venv/bin/pip").exists()
    kept = list((image.upper / VOLUME[1:]).iterdir())
    assert [path.name[:7] for path in kept] == ["base-4-"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in [*kept, kept[0].parent]} == {(10001, 10001)}
    assert image.volumes == [VOLUME]
    assert image.user == "10001:10001"


def test_it_starts_offline_and_serves_the_planet(visit: dict[str, Any], planet: Planet) -> None:
    for name, (zoom, x, y) in {"base": (4, 8, 5), "made": (6, 33, 20)}.items():
        tile = np.asarray(Image.open(io.BytesIO(base64.b64decode(visit[name]))))
        assert np.array_equal(tile, planet.read(zoom, x * 256, y * 256, 256, 256)), name
    assert json.loads(base64.b64decode(visit["health"]))["identity"] == planet.info().identity
    assert b"viewer/vendor/maplibre-gl.js" in base64.b64decode(visit["page"])
    script = ROOT / "node_modules" / "maplibre-gl" / "dist" / "maplibre-gl.js"
    if script.is_file():
        assert base64.b64decode(visit["script"]) == script.read_bytes()


def test_it_needs_no_privileges_and_writes_nowhere_else(visit: dict[str, Any]) -> None:
    assert visit["ids"] == [["10001"] * 4, ["10001"] * 4, []]
    assert visit["caps"] == ["0000000000000000"] * 2
    assert visit["no_new_privs"] == "1"
    assert visit["writable"] == ["/tmp", VOLUME]


def test_its_health_check_tells_up_from_down(visit: dict[str, Any]) -> None:
    assert visit["before"] == 1
    assert visit["stopped"] in (0, -signal.SIGTERM)  # uvicorn hands the signal on once it has drained
    assert visit["after"] == 1
