"""All settings, from environment variables with the prefix METAEARTH_; the command line's options overrule
them."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "METAEARTH_"
# A path prefix as it may stand in links: segments of unreserved characters (RFC 3986, 2.3), none of them dots only.
PREFIX_PATH = re.compile(r"(?:/(?!\.+(?:/|$))[A-Za-z0-9._~@-]+)+", re.ASCII)
# SHA-256 of an API key, as `metaearth key` prints it.
KEY_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
ALLOWED_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\]", re.ASCII)
# Read by `model.base`, which knows no settings class: a variable with our prefix that is not a field.
MODEL_VARIABLES = frozenset({"METAEARTH_BASE_PICTURE"})
MIB = 1 << 20


class SettingsError(Exception):
    """A setting has a value that it cannot have; the text is one line that names it and says what it may
    be."""


def default_cache_dir() -> Path:
    """The user's cache directory for MetaEarth, after the XDG Base Directory Specification."""
    from model.base import default_cache_dir as of_model  # here, for it brings torch along

    return of_model()


class Settings(BaseSettings):
    """Every setting of the server; each field is read from METAEARTH_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 for any free one")
    public_url: str | None = Field(
        None, description="address under which the world sees the server; by default that of the request"
    )
    root_path: str = Field("", description="path prefix under which a proxy serves us, stripped by it or not: /globe")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "::1"),
        description="addresses or networks whose X-Forwarded-* and Forwarded headers count, separated by commas; * for all, "
        "none for none",
    )
    planet: str = Field("earth", description="the planet to serve")
    seed: int = Field(0, ge=0, lt=1 << 63, description="another seed, another world below the base zoom")
    steps: int | None = Field(None, ge=1, le=16, description="sampler steps; 2 by default")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where the hardware has it")
    weights: Path | None = Field(None, description="weights file (.safetensors); by default the one shipped")
    cache_dir: Path = Field(default_factory=default_cache_dir, description="directory of the caches: ~/.cache/metaearth")
    tile_memory_mb: int = Field(256, ge=0, le=1 << 20, description="encoded tiles in memory, MiB")
    tile_disk_mb: int = Field(4096, ge=0, le=1 << 24, description="encoded tiles on disk, MiB; 0 for none")
    block_memory_mb: int = Field(256, ge=1, le=1 << 20, description="canonical blocks in memory, MiB")
    block_disk_mb: int = Field(4096, ge=0, le=1 << 24, description="canonical blocks on disk, MiB; 0 for none")
    cache_url: str | None = Field(
        None, description="a Redis that servers share: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://"
    )
    cache_ttl: int = Field(
        2592000, ge=0, le=315360000, description="seconds that Redis keeps a tile or block; 0 for as long as there is room"
    )
    max_age: int = Field(604800, ge=0, le=31536000, description="Cache-Control max-age of a tile, seconds")
    png_level: int = Field(1, ge=0, le=9, description="zlib level of PNG tiles")
    jpeg_quality: int = Field(85, ge=1, le=95, description="quality of JPEG tiles")
    webp_quality: int = Field(80, ge=1, le=100, description="quality of WebP tiles")
    webp_method: int = Field(0, ge=0, le=6, description="effort of WebP tiles: 0 fast, 6 small")
    avif_quality: int = Field(65, ge=1, le=100, description="quality of AVIF tiles")
    avif_speed: int = Field(8, ge=0, le=10, description="speed of AVIF tiles: 0 small, 10 fast")
    png8: bool = Field(False, description="PNG is 8-bit with a palette, as png8: half the size, colours near the planet's own")
    png8_colors: int = Field(256, ge=2, le=256, description="colours in the palette of 8-bit PNG tiles (png8)")
    encoder_threads: int = Field(2, ge=1, le=64, description="threads that encode tiles")
    metatile: Literal[1, 2, 4, 8] | None = Field(
        None, description="tiles a side rendered at one go; by default 1 on a CPU, 2 on a GPU"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",), description="origins that may read tiles, separated by commas; * for all"
    )
    attribution: str = Field(
        "Synthetic imagery by MetaEarth Tiles, after NASA Blue Marble: no record of any real place",
        description="the line that maps show",
    )
    workers: int = Field(1, ge=1, le=64, description="processes that serve; they share the caches and render in turns")
    render_slots: int = Field(1, ge=1, le=64, description="workers that may render at the same time")
    max_memory_mb: int | None = Field(
        None, ge=256, le=1 << 24, description="memory at which a worker is replaced by a new one, MiB; by default never"
    )
    queue_limit: int = Field(
        256, ge=1, le=1 << 16, description="tiles that may wait to be rendered in each worker; more get 503"
    )
    bulk_limit: int = Field(4, ge=1, le=1024, description="boxes rendered at a time in each worker; more get 503")
    max_requests: int = Field(
        1024, ge=1, le=1 << 16, description="requests other than for tiles at hand under way in each worker; more get 503"
    )
    max_connections: int = Field(
        4096, ge=1, le=1 << 20, description="open connections of each worker; one more closes the one idle for longest"
    )
    head_seconds: float = Field(
        10, gt=0, le=3600, description="time for a client to send the head of a request, and twice that for its body"
    )
    max_url: int = Field(8192, ge=256, le=65536, description="bytes of an address; longer ones get 414")
    max_body_kb: int = Field(4096, ge=1, le=1 << 20, description="KiB of a request's body; larger ones get 413")
    rate_limit: float = Field(
        0, ge=0, le=1e6, description="new pictures a second for each client, more get 429; 0 for no limit"
    )
    rate_burst: int = Field(200, ge=1, le=1 << 20, description="new pictures that a client may ask for at once")
    rate_limit_hits: bool = Field(False, description="whether METAEARTH_RATE_LIMIT counts every request, cached tiles too")
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="digests of the API keys that are let in, as `metaearth key` prints them, separated by commas"
    )
    api_keys_file: Path | None = Field(None, description="file of such digests, one a line, each with a name if you like")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",), description="names under which the server is known, separated by commas, such as *.example.org; * for any"
    )
    frame_ancestors: str = Field(
        "*", description="pages that may embed the viewer, a CSP source list: 'none', https://a.example"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="a line of text or a JSON object for each record")
    access_log: bool = Field(False, description="a line for each request, tiles from memory included")
    metrics: bool = Field(True, description="/metrics for Prometheus and the live figures at /admin")
    traces: bool = Field(False, description="OpenTelemetry traces, to where the OTEL_* variables say")

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not PREFIX_PATH.fullmatch(value):
            raise ValueError("must be a path such as /globe: a slash, then letters, digits and . _ ~ @ -")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            if proxy not in ("*", "none"):
                try:
                    ipaddress.ip_network(proxy, strict=False)
                except ValueError:
                    raise ValueError("must be addresses or networks such as 10.0.0.0/8, or * or none") from None
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(KEY_DIGEST.fullmatch(digest) for digest in value):
            # Whoever wrote a key here must not find it in a log.
            raise ValueError("must be digests, sha256: and 64 hexadecimal digits; `metaearth key` makes a key and its digest")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if host != "*" and not ALLOWED_HOST.fullmatch(host):
                raise ValueError("must be host names such as tiles.example.org or *.example.org, without ports, or *")
        return tuple(host.lower() for host in value)

    @field_validator("frame_ancestors")
    @classmethod
    def _check_ancestors(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9'*:/._ -]+", value):
            raise ValueError("must be a CSP source list such as 'none', 'self' or https://a.example")
        return value

    @field_validator("api_keys", "allowed_hosts", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, _, host = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not host or "/" in host):
                raise ValueError(f"{origin!r} is no origin; write * or such as https://maps.example.org")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            named = False
        if not named or parts.scheme not in ("http", "https") or any(c in value for c in " {}?#\"'<>"):
            raise ValueError("must be an address such as https://tiles.example.org/earth")
        return value.rstrip("/")

    @field_validator("cache_url")
    @classmethod
    def _check_cache_url(cls, value: str | None) -> str | None:
        if value is not None:
            from cache import CacheError  # here, for redis takes a while to import
            from cache.redis_url import RedisTarget

            try:
                RedisTarget.parse(value)
            except CacheError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        kind, _, index = value.partition(":")
        if value not in ("auto", "cpu", "cuda") and not (kind == "cuda" and index.isdecimal()):
            raise ValueError("must be auto, cpu, cuda or cuda:N")
        return value

    @field_validator("metatile", mode="before")
    @classmethod
    def _number_from_text(cls, value: Any) -> Any:
        # A Literal of integers does not take the "2" of an environment variable.
        return int(value) if isinstance(value, str) and value.strip().isdecimal() else value

    @field_validator("cache_dir", "weights", "api_keys_file")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment, those given (and not None) instead of the environment's.

    Raises:
        SettingsError: if any has a bad value; one line that names each such variable.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(detail) for detail in error.errors())) from error


def unknown_variables() -> list[str]:
    """One sentence for each variable of the environment that has our prefix and is no setting: most are
    misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | MODEL_VARIABLES
    sentences = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1)
            sentences.append(f"{variable} is not a setting" + (f"; did you mean {near[0]}?" if near else "."))
    return sentences


def _sentence(detail: Any) -> str:
    name = PREFIX + str(detail["loc"][0]).upper() if detail["loc"] else "settings"
    text = detail["msg"].removeprefix("Value error, ")
    # Of an address with a password only what follows the @ may be shown, and nothing of what should have been a digest.
    shown = "..." if name == f"{PREFIX}API_KEYS" else re.sub(r"(?<=//).*@", "***@", str(detail["input"]))
    return f"{name}={shown}: {text[0].lower()}{text[1:]}"
