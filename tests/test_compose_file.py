"""docker-compose.yml against the Compose specification's schema, and what it promises: who starts when, who can be reached
from outside, and how little each may."""

from __future__ import annotations

import copy
import ipaddress
import json
import re
from importlib.resources import files
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from server.proxies import ProxyPolicy
from server.settings import Settings, load_settings
from tests.compose_services import ROOT, load, started

COMPOSE = load()
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVERS = ("server", "cpu")


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The Compose specification's own schema, as check-jsonschema ships it."""
    text = (files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def test_it_is_valid_as_written_and_with_its_variables(schema: Draft202012Validator) -> None:
    written = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    for document in (written, COMPOSE, load({"PORT": "80", "NETWORK": "10.9.8", "GPU": "0", "SERVER_MEMORY": "16g"})):
        assert [error.message for error in schema.iter_errors(document)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "nginx", "port"), ["80:80"]),
        (("services", "nginx", "ports"), "80:80"),
        (("services", "redis", "read_only"), [True]),
        (("services", "redis", "healthcheck", "intervall"), "10s"),
        (("services", "cpu", "depends_on", "redis", "condition"), "healthy"),
        (("services", "server", "deploy", "resources", "reservations", "devices"), [{"driver": "nvidia"}]),
        (("network",), {}),
    ],
)
def test_the_schema_finds_what_is_wrong(schema: Draft202012Validator, path: tuple[str, ...], value: Any) -> None:
    broken = copy.deepcopy(COMPOSE)
    place = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert list(schema.iter_errors(broken))


@pytest.mark.parametrize(
    ("named", "profiles", "variables", "services"),
    [
        ((), (), {}, {"server", "redis", "nginx"}),
        (("cpu",), (), {}, {"cpu", "redis", "nginx"}),
        ((), ("cpu",), {"GPU": "0"}, {"cpu", "redis", "nginx"}),
        ((), ("monitoring",), {}, {"server", "redis", "nginx", "prometheus", "grafana"}),
        (("cpu", "grafana"), (), {}, {"cpu", "redis", "nginx", "prometheus", "grafana"}),
    ],
)
def test_what_starts(named: tuple[str, ...], profiles: tuple[str, ...], variables: dict[str, str], services: set[str]) -> None:
    assert started(load(variables), *named, profiles=profiles) == services


def test_the_two_kinds_of_server_cannot_run_together() -> None:
    """For they have one address; and they are the same but for the device."""
    server, cpu = (copy.deepcopy(SERVICES[name]) for name in SERVERS)
    assert (
        server["networks"] == cpu["networks"] == {"inside": {"aliases": ["tiles", "metaearth"], "ipv4_address": "172.30.84.10"}}
    )
    assert [device["capabilities"] for device in server["deploy"]["resources"]["reservations"]["devices"]] == [["gpu"]]
    assert (server["environment"].pop("METAEARTH_DEVICE"), cpu["environment"].pop("METAEARTH_DEVICE")) == ("cuda", "cpu")
    for service in (server, cpu):
        for name in ("deploy", "profiles", "image", "build"):
            service.pop(name, None)
    assert server == cpu


def test_nginx_alone_is_published() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("nginx") == ["8000:8080"]
    assert published == {"grafana": ["127.0.0.1:3000:3000"]}  # on the host's loopback
    assert load({"PORT": "80"})["services"]["nginx"]["ports"] == ["80:8080"]


@pytest.mark.parametrize("name", list(SERVICES))
def test_each_may_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["restart"] == "unless-stopped"
    assert "inside" in service["networks"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        assert target.startswith("/")
        # A folder of ours is only read; what is written goes to a named volume.
        assert mode == ["ro"] if source.startswith("./") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", list(SERVICES))
def test_each_says_how_it_is(name: str) -> None:
    """Health checks: in the file, or in the image that is built here."""
    if name in SERVERS:
        assert "HEALTHCHECK" in (ROOT / SERVICES[name]["build"]["dockerfile"]).read_text(encoding="utf-8")
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert needed in SERVICES


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        assert "build" in service or re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-alpine)?", service["image"]), name


def test_mounted_files_exist() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                if not (ROOT / source).exists() and "monitoring" in service.get("profiles", ()):
                    pytest.skip(f"{source} is not here yet")
                assert (ROOT / source).exists(), name


def test_the_monitoring_finds_what_it_names() -> None:
    """Prometheus' targets are services by their names in the network, Grafana's folder is one that is mounted."""
    if not (ROOT / "docker" / "prometheus").is_dir():
        pytest.skip("docker/prometheus is not here yet")
    names = {*SERVICES, "localhost", *SERVICES["server"]["networks"]["inside"]["aliases"]}
    scrapes = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = [target for scrape in scrapes for config in scrape["static_configs"] for target in config["targets"]]
    assert {target.split(":")[0] for target in targets} <= names
    assert any(target.endswith(":8000") for target in targets)
    provisioning = ROOT / "docker" / "grafana" / "provisioning"
    (sources,) = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in provisioning.glob("datasources/*.y*ml"))
    assert {source["url"] for source in sources["datasources"]} == {"http://prometheus:9090"}
    (boards,) = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in provisioning.glob("dashboards/*.y*ml"))
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["grafana"]["volumes"]}
    (folder,) = {provider["options"]["path"] for provider in boards["providers"]}
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / mounted[folder] / home.removeprefix(f"{folder}/")).is_file()


@pytest.mark.parametrize("network", ["172.30.84", "10.9.8"])
def test_the_server_believes_the_proxies_in_its_network_only(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = load({"NETWORK": network})
    server = document["services"]["cpu"]
    assert document["services"]["nginx"]["extra_hosts"] == [f"tiles:{network}.10"]
    for name, value in server["environment"].items():
        if name.removeprefix("METAEARTH_").lower() in Settings.model_fields:
            monkeypatch.setenv(name, value)
    policy = ProxyPolicy(load_settings())
    (pool,) = document["networks"]["inside"]["ipam"]["config"]
    given_out = ipaddress.ip_network(pool["ip_range"])
    assert given_out.subnet_of(ipaddress.ip_network(pool["subnet"]))  # type: ignore[arg-type]
    assert ipaddress.ip_address(server["networks"]["inside"]["ipv4_address"]) not in given_out
    assert policy.trusts(str(given_out[5]))
    assert not policy.trusts("172.30.85.130")
    assert not policy.trusts("127.0.0.1")


def test_redis_keeps_below_what_its_container_has() -> None:
    """Twice, since a snapshot may copy what changes while it is written."""
    (limit,) = re.findall(r"^maxmemory (\d+)gb$", (ROOT / "docker/redis/redis.conf").read_text(encoding="utf-8"), re.M)
    assert SERVICES["redis"]["mem_limit"] == f"{2 * int(limit)}g"
