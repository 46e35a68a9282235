"""The project's frame: who imports whom, declared dependencies, and the viewer's pinned library."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VIEWER = ROOT / "server" / "viewer"
PACKAGES = ("server", "model", "cache")
# Import names that differ from the distribution's, or come with another one.
DISTRIBUTION = {
    "PIL": "pillow",
    "mpl_toolkits": "basemap-data",
    "opentelemetry": "opentelemetry-sdk",
    "pythonjsonlogger": "python-json-logger",
    "starlette": "fastapi",
}


def modules_after(statement: str) -> set[str]:
    """Top-level names in sys.modules of a new interpreter that ran `statement`."""
    program = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("package", "foreign"),
    [
        ("model", {"server", "cache", "fastapi", "starlette", "uvicorn", "pydantic", "redis"}),
        ("cache", {"server", "model", "torch", "numpy", "fastapi", "starlette", "uvicorn", "pydantic"}),
    ],
)
def test_imports_stay_in_their_layer(package: str, foreign: set[str]) -> None:
    """`model` knows no HTTP and no cache backend; `cache` knows neither HTTP nor torch (DESIGN section 5)."""
    modules = modules_after(f"import {package}")
    assert package in modules
    assert modules & foreign == set()


def imported(path: Path) -> set[str]:
    """Top-level names that a Python file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_every_import_is_declared() -> None:
    """What the packages import is the standard library, one of them, or in pyproject's dependencies, or in an extra that is
    for those who run a server."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["otel"]
    declared = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in lines}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name in imported(path) - set(sys.stdlib_module_names) - set(PACKAGES):
                assert DISTRIBUTION.get(name, name).lower().replace("_", "-") in declared, f"{path}: {name}"


def test_the_viewer_pins_one_version_of_maplibre() -> None:
    """package.json, its lock file and the CDN's addresses name the same version; the lock names no host."""
    pin = json.loads((VIEWER / "maplibre.json").read_text(encoding="utf-8"))
    wanted = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["dependencies"]["maplibre-gl"]
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert pin["version"] == wanted == lock["node_modules/maplibre-gl"]["version"]
    for part in ("js", "css"):
        assert pin[f"cdn_{part}"].startswith("https://")
        assert f"maplibre-gl@{wanted}/" in pin[f"cdn_{part}"]
    assert all("resolved" not in package for package in lock.values())


def test_the_integrity_hashes_are_those_of_the_npm_package() -> None:
    """What the CDN may send is byte for byte what npm installs (W3C Subresource Integrity)."""
    dist = ROOT / "node_modules" / "maplibre-gl" / "dist"
    if not dist.is_dir():
        pytest.skip("maplibre-gl is not installed (npm ci)")
    pin = json.loads((VIEWER / "maplibre.json").read_text(encoding="utf-8"))
    for part in ("js", "css"):
        digest = hashlib.sha384((dist / f"maplibre-gl.{part}").read_bytes()).digest()
        assert pin[f"integrity_{part}"] == "sha384-" + base64.b64encode(digest).decode()


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No inline script, style or handler, and no address of another host, so that a strict CSP can hold."""
    page = (VIEWER / "index.html").read_text(encoding="utf-8")
    assert page.count("<!--maplibre-->") == 1
    assert re.search(r"<script(?![^>]*\bsrc=)", page) is None
    assert re.search(r"<style|\sstyle=|\son[a-z]+=", page) is None
    for path in VIEWER.iterdir():
        if path.name != "maplibre.json":
            hosts = re.findall(r"(?:https?:)?//([a-z0-9.-]+\.[a-z]{2,})", path.read_text(encoding="utf-8"))
            assert set(hosts) <= {"www.w3.org"}, path.name


def test_what_the_page_links_exists() -> None:
    """Every local file that the page and its modules name is there, by a relative link that holds behind a prefix."""
    page = (VIEWER / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert not [link for link in links if link.startswith("/")]
    for name in re.findall(r'"viewer/([^"]+)"', page):
        assert (VIEWER / name).is_file()
    for script in VIEWER.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', script.read_text(encoding="utf-8")):
            assert (VIEWER / name).is_file()
