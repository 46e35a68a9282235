"""Prints docker/requirements.txt: what the packages need at run time, at the versions installed in this environment.

    .venv/bin/python docker/lock.py > docker/requirements.txt

after an upgrade whose tests have passed. torch itself is not in the list, for the image chooses between its builds
(`TORCH` in the Dockerfile); what torch needs besides is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
HEADING = "# Made by docker/lock.py. Everything the image installs besides torch, at the versions the tests have run with."


#: Optional dependencies that the image has all the same, as far as pyproject.toml has them.
EXTRAS = ("otel",)


def runtime_requirements(path: Path = PROJECT) -> list[Requirement]:
    """The dependencies that pyproject.toml declares, and those of `EXTRAS`."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    return [
        Requirement(line) for lines in (project["dependencies"], *(optional.get(name, ()) for name in EXTRAS)) for line in lines
    ]


def closure(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Canonical names and installed versions of `requirements` and of all that they need in turn on this platform.

    Raises:
        importlib.metadata.PackageNotFoundError: if one of them is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key not in seen:
            seen.add(key)
            found[key[0]] = distribution(requirement.name).version
            waiting += needed(requirement)
    return found


def needed(by: Requirement) -> Iterator[Requirement]:
    """What the installed distribution that `by` names needs with the extras that it names, on this platform."""
    for requirement in map(Requirement, distribution(by.name).requires or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *by.extras)):
            yield requirement


def main() -> None:
    """Prints the file."""
    pins = closure(runtime_requirements())
    del pins["torch"]
    print(HEADING, *(f"{name}=={version}" for name, version in sorted(pins.items())), sep="\n")


if __name__ == "__main__":
    main()
