"""Settings from the environment: read, bounded, refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.settings import PREFIX, Settings, SettingsError, load_settings, unknown_variables

GOOD = {
    "HOST": ("0.0.0.0", "host", "0.0.0.0"),
    "PORT": ("9000", "port", 9000),
    "SEED": ("7", "seed", 7),
    "STEPS": ("16", "steps", 16),
    "METATILE": ("2", "metatile", 2),
    "DEVICE": ("cuda:1", "device", "cuda:1"),
    "PRECISION": ("fp32", "precision", "fp32"),
    "PUBLIC_URL": ("https://x.example/earth/", "public_url", "https://x.example/earth"),
    "CORS_ORIGINS": (
        "https://a.example, http://b.example:3000",
        "cors_origins",
        ("https://a.example", "http://b.example:3000"),
    ),
    "WEIGHTS": ("~/w.safetensors", "weights", Path.home() / "w.safetensors"),
    "LOG_LEVEL": ("debug", "log_level", "debug"),
}

BAD = {
    "PORT": ("99999", "http", "-1", "80.5"),
    "SEED": ("-1", "x", str(1 << 63)),
    "STEPS": ("0", "17", "many"),
    "METATILE": ("0", "3", "x"),
    "DEVICE": ("tpu", "cuda:x", "gpu"),
    "PRECISION": ("fp16", "BF16"),
    "PUBLIC_URL": ("tiles.example.org", "ftp://x", "https://x/{z}", "https://x/?a=b"),
    "CORS_ORIGINS": ("example.org", "https://x.example/path", "https://"),
    "TILE_MEMORY_MB": ("-1", "1.5"),
    "TILE_DISK_MB": ("-1",),
    "BLOCK_MEMORY_MB": ("0",),
    "MAX_AGE": ("-1", "31536001"),
    "PNG_LEVEL": ("10",),
    "JPEG_QUALITY": ("0", "101"),
    "WEBP_QUALITY": ("101",),
    "ENCODER_THREADS": ("0",),
    "LOG_LEVEL": ("loud",),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_values(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, field, value = GOOD[name]
    monkeypatch.setenv(PREFIX + name, text)
    assert getattr(load_settings(), field) == value


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_bad_values_are_one_line_that_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(PREFIX + name, text)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith(f"{PREFIX}{name}=")
    assert "\n" not in str(raised.value)


def test_every_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAEARTH_PORT", "x")
    monkeypatch.setenv("METAEARTH_STEPS", "99")
    with pytest.raises(SettingsError, match=r"METAEARTH_PORT=x: .*; METAEARTH_STEPS=99: "):
        load_settings()


def test_options_overrule_the_environment_and_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAEARTH_PORT", "9000")
    monkeypatch.setenv("METAEARTH_STEPS", "")
    assert load_settings(port=9001).port == 9001
    assert load_settings(port=None).port == 9000
    assert load_settings().steps is None


def test_cache_directory_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_settings().cache_dir == tmp_path / "metaearth"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert load_settings().cache_dir == Path.home() / ".cache" / "metaearth"


def test_misspelt_variables_are_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unknown_variables() == []
    monkeypatch.setenv("METAEARTH_PROT", "9000")
    monkeypatch.setenv("METAEARTH_BASE_PICTURE", "/a/file/that/model.base/reads.jpg")
    assert unknown_variables() == ["METAEARTH_PROT is not a setting; did you mean METAEARTH_PORT?"]


def test_every_setting_is_listed_in_the_readme() -> None:
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    missing = [name for field in Settings.model_fields if f"`{(name := PREFIX + field.upper())}`" not in readme]
    assert missing == []


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
