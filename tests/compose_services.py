"""docker-compose.yml as Docker Compose reads it: merged (YAML's <<) and with variables put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def load(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file with `variables`, or else each one's default, in its text values."""
    given = variables or {}
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if isinstance(value, str):
            # An empty variable counts as none: that is what the colon in ${A:-b} says.
            return VARIABLE.sub(lambda match: given.get(match[1]) or match[2] or "", value)
        return value

    filled: dict[str, Any] = fill(document)
    return filled


def started(document: dict[str, Any], *named: str, profiles: tuple[str, ...] = ()) -> set[str]:
    """The services that `docker compose up NAMED...` starts with these profiles: without names all enabled ones, with names
    those, whose profiles are then on, and what they depend on.

    Raises:
        ValueError: if a service depends on one that is not enabled; Compose calls such a project invalid.
    """
    services = document["services"]
    active = {*profiles, *(profile for name in named for profile in services[name].get("profiles", ()))}
    enabled = {name for name, service in services.items() if not service.get("profiles") or active & {*service["profiles"]}}
    waiting, found = list(named or enabled), set()
    while waiting:
        name = waiting.pop()
        if name not in enabled:
            raise ValueError(f"{name} is needed and not enabled")
        if name not in found:
            found.add(name)
            waiting += services[name].get("depends_on", {})
    return {name for name in found if int(services[name].get("deploy", {}).get("replicas", 1))}
