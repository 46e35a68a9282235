"""Prometheus' and Grafana's files in docker/: well-formed, and about metrics that the server has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

DOCKER = Path(__file__).resolve().parents[1] / "docker"
PROMETHEUS, GRAFANA = DOCKER / "prometheus", DOCKER / "grafana"
DASHBOARD = GRAFANA / "dashboards" / "metaearth.json"
# A metric with what is asked of it: its name, and the selector behind it if there is one.
SELECTOR = re.compile(r"\b(metaearth_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def dashboard_expressions() -> list[str]:
    variables = [variable["query"]["query"] for variable in dashboard()["templating"]["list"] if variable["type"] == "query"]
    return variables + [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def alert_expressions() -> list[str]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def exported(shared_client: TestClient) -> dict[str, set[str]]:
    """Labels by every name that an expression may use, as a running server exports them after a tile."""
    shared_client.get("/2/1/1.png")
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(shared_client.get("/metrics").text):
        labels = {label for sample in family.samples for label in sample.labels}
        for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",)):
            names[family.name + suffix] = labels
    return names


def used(expressions: list[str]) -> Iterator[tuple[str, str]]:
    for expression in expressions:
        found = SELECTOR.findall(expression)
        assert found or "up{" in expression, expression
        yield from found


def test_every_metric_and_label_asked_for_is_exported(exported: dict[str, set[str]]) -> None:
    asked = list(used(dashboard_expressions() + alert_expressions()))
    assert len(asked) > 40
    for name, selector in asked:
        assert name in exported, name
        # Prometheus itself adds the first two. A metric of what this machine lacks has no samples to read labels from.
        unknown = set(LABEL.findall(selector)) - {"instance", "job"} - exported[name]
        assert not unknown or not exported[name], (name, unknown)


def test_every_metric_is_on_the_dashboard(exported: dict[str, set[str]]) -> None:
    def base(name: str) -> str:
        return re.sub("_(bucket|sum|count)$", "", name)

    shown = {base(name) for name, _ in used(dashboard_expressions())}
    assert {base(name) for name in exported} - shown == set()


def test_panels_do_not_overlap_and_have_titles() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert panel["title"]
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_grafana_is_told_of_both() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    assert (source["type"], source["access"], source["isDefault"]) == ("prometheus", "proxy", True)
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/metaearth.yml").read_text(encoding="utf-8"))
    assert providers["providers"][0]["options"]["path"] == "/var/lib/grafana/dashboards"
    variable = dashboard()["templating"]["list"][0]
    assert (variable["type"], variable["current"]["value"]) == ("datasource", source["uid"])


def test_prometheus_takes_its_files_and_all_expressions(tmp_path: Path) -> None:
    """promtool reads the configuration, the alert rules, and every expression of the dashboard."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    plain = [
        re.sub(r"\$__rate_interval", "5m", expression)
        for expression in dashboard_expressions()
        if not expression.startswith("label_values(")
    ]
    rules = {"groups": [{"name": "dashboard", "rules": [{"record": f"r{i}", "expr": e} for i, e in enumerate(plain)]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    checks = (
        ("config", PROMETHEUS / "prometheus.yml"),
        ("rules", PROMETHEUS / "alerts.yml"),
        ("rules", tmp_path / "rules.yml"),
    )
    for kind, path in checks:
        done = subprocess.run([promtool, "check", kind, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
