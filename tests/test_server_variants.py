"""The forms a tile comes in: formats and their settings, 512 px, @2x, and the addresses that mean each."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.fastpath import FastPath
from server.tilekey import TileKey
from tests.conftest import MakeSettings, Readings
from tests.test_server_tiles import decode

Z, X, Y = 3, 4, 2
AT = f"{Z}/{X}/{Y}"


def silence(app: FastPath) -> None:
    """From now on only the fast path answers."""

    async def nobody(*_: Any) -> None:
        raise AssertionError("a hit went past the fast path")

    app.app = nobody


def picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("extension", "media_type", "format_", "error"),
    [
        ("jpeg", "image/jpeg", "JPEG", 8),
        ("avif", "image/avif", "AVIF", 8),
        ("png8", "image/png", "PNG", 5),
        ("webp", "image/webp", "WEBP", 8),
    ],
)
def test_formats(
    shared_client: TestClient, planet: Planet, extension: str, media_type: str, format_: str, error: float
) -> None:
    exact = planet.read(Z, X * 256, Y * 256, 256, 256).astype(int)
    for path in (f"/{AT}.{extension}", f"/earth/{AT}.{extension}"):
        answer = shared_client.get(path)
        assert answer.headers["content-type"] == media_type
        assert picture(answer.content).format == format_
        assert np.abs(decode(answer.content) - exact).mean() < error


def test_png8_has_a_palette_of_as_many_colours_as_the_setting_allows(make_settings: MakeSettings, planet: Planet) -> None:
    sizes = []
    for colors in (256, 16):
        with TestClient(create_app(make_settings(png8_colors=colors), planet)) as client:
            content = client.get(f"/{AT}.png8").content
            tile = picture(content)
            assert tile.mode == "P"
            assert 4 < len(tile.getcolors(1 << 16) or ()) <= colors
            assert content[24] == (8 if colors == 256 else 4), "bits a pixel, in IHDR"
            sizes.append(len(content))
            assert len(content) < 0.8 * len(client.get(f"/{AT}.png").content)
    assert sizes[1] < sizes[0]


def test_png_has_a_palette_where_the_setting_says_so(make_settings: MakeSettings, planet: Planet) -> None:
    """The server's png is then png8, with another ETag than without; pictures with transparent pixels stay as they are."""
    etags = []
    for png8 in (False, True):
        with TestClient(create_app(make_settings(png8=png8), planet)) as client:
            tile = client.get(f"/{AT}.png")
            etags.append(tile.headers["etag"])
            assert Image.open(io.BytesIO(tile.content)).mode == ("P" if png8 else "RGB")
            assert (tile.content == client.get(f"/{AT}.png8").content) is png8
            polar = client.get("/bbox/0,80,10,90.png?width=8")
            assert Image.open(io.BytesIO(polar.content)).mode == "RGBA"
    assert etags[0] != etags[1]


def test_jpeg_is_jpg(client: TestClient, readings: Readings) -> None:
    first, second = client.get(f"/{AT}.jpg"), client.get(f"/{AT}.jpeg")
    assert first.content == second.content
    assert first.headers == second.headers
    assert len(readings.calls) == 1


@pytest.mark.parametrize(("z", "x", "y"), [(0, 0, 0), (3, 4, 2), (3, 7, 7)])
def test_2x_is_made_of_the_pixels_of_the_next_zoom(shared_client: TestClient, planet: Planet, z: int, x: int, y: int) -> None:
    answer = shared_client.get(f"/{z}/{x}/{y}@2x.png")
    pixels = decode(answer.content)
    assert pixels.shape == (512, 512, 3)
    assert np.array_equal(pixels, planet.read(z + 1, x * 512, y * 512, 512, 512))
    four = [decode(shared_client.get(f"/{z + 1}/{2 * x + i}/{2 * y + j}.png").content) for j in (0, 1) for i in (0, 1)]
    assert np.array_equal(pixels, np.block([[[four[0]], [four[1]]], [[four[2]], [four[3]]]]))


def test_every_address_of_a_512_px_tile_is_one_tile(client: TestClient, app: FastPath, readings: Readings) -> None:
    paths = [
        f"/{AT}@2x.png",
        f"/{AT}.png?tilesize=512",
        f"/earth/{AT}@2x.png?tilesize=512",
        f"/earth/{AT}.png?v=1&tilesize=512",
    ]
    paths += [f"/{AT}.png?tile%73ize=512", f"/{AT}.png?tilesize=256&tilesize=512", f"/{AT}@2x", f"/{AT}?tilesize=512"]
    answers = [client.get(path) for path in paths]
    silence(app)
    answers += [client.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == len({answer.headers["etag"] for answer in answers}) == 1
    assert len(readings.calls) == 1
    etag = answers[0].headers["etag"]
    for path in paths:
        assert client.get(path, headers={"if-none-match": etag}).status_code == 304


def test_256_px_may_be_said_and_other_parameters_are_not_ours(client: TestClient, app: FastPath) -> None:
    plain = client.get(f"/{AT}.png")
    silence(app)
    for query in ("tilesize=256", "v=3", "key=a%20b", ""):
        assert client.get(f"/{AT}.png?{query}").content == plain.content, query


def test_each_variant_has_an_etag_and_an_entry_on_disk_of_its_own(
    make_settings: MakeSettings, planet: Planet, readings: Readings
) -> None:
    settings = make_settings()
    names = [f"/{AT}{scale}.{extension}" for scale in ("", "@2x") for extension in ("png", "jpg", "webp", "avif", "png8")]
    with TestClient(create_app(settings, planet)) as client:
        first = [client.get(name) for name in names]
    assert len({answer.headers["etag"] for answer in first}) == len({answer.content for answer in first}) == len(names)
    count = len(readings.calls)
    with TestClient(create_app(settings, planet)) as client:
        assert [client.get(name).content for name in names] == [answer.content for answer in first]
    assert len(readings.calls) == count


@pytest.mark.parametrize(
    ("extension", "setting", "values"),
    [
        ("png", "png_level", (0, 9)),
        ("jpg", "jpeg_quality", (90, 30)),
        ("webp", "webp_quality", (90, 30)),
        ("webp", "webp_method", (0, 6)),
        ("avif", "avif_quality", (90, 30)),
        ("avif", "avif_speed", (10, 6)),
    ],
)
def test_quality_settings_change_the_bytes_and_the_etag(
    make_settings: MakeSettings, planet: Planet, extension: str, setting: str, values: tuple[int, int]
) -> None:
    answers = []
    for value in values:
        with TestClient(create_app(make_settings(**{setting: value}), planet)) as client:
            answers.append(client.get(f"/{AT}.{extension}"))
    assert answers[0].content != answers[1].content
    assert answers[0].headers["etag"] != answers[1].headers["etag"]
    if "speed" not in setting:
        assert len(answers[0].content) > len(answers[1].content)


def test_metatiles_of_512_px_tiles_have_as_many_pixels(make_settings: MakeSettings, planet: Planet, readings: Readings) -> None:
    with TestClient(create_app(make_settings(metatile=4), planet)) as client:
        tiles = [decode(client.get(f"/3/{x}/{y}@2x.png").content) for y in (2, 3) for x in (4, 5)]
    assert readings.calls == [(4, 4 * 512, 2 * 512, 1024, 1024)]
    whole = np.concatenate([np.concatenate(tiles[i : i + 2], 1) for i in (0, 2)])
    assert np.array_equal(whole, planet.read(4, 4 * 512, 2 * 512, 1024, 1024))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/20/0/0@2x.png", "zoom 19"),
        ("/20/0/0.jpg?tilesize=512", "zoom 19"),
        (f"/{AT}@3x.png", "@2x"),
        (f"/{AT}.png?tilesize=1024", "256 or 512"),
        (f"/{AT}@2x.png?tilesize=256", "@2x"),
        (f"/{AT}.gif", "avif"),
    ],
)
def test_errors_say_what_to_change(shared_client: TestClient, path: str, says: str) -> None:
    answer = shared_client.get(path)
    assert answer.status_code in (404, 422)
    assert says in answer.json()["detail"]
    assert shared_client.get(path, headers={"if-none-match": "*"}).status_code == answer.status_code


def test_keys_from_paths_and_from_parts_agree() -> None:
    for path, query in ((f"/{AT}@2x.jpeg", b""), (f"/{AT}.avif", b"tilesize=512"), (f"/{AT}.png8", b"tilesize=256")):
        for from_south in (False, True):
            z, x, rest = path[1:].split("/")
            y, extension = rest.split(".")
            key = TileKey.parse(z, x, y, extension, query, from_south=from_south)
            assert TileKey.from_path(path, query, from_south=from_south) == key
            assert key.y == (5 if from_south else 2)
            assert TileKey.from_path(key.path) == key
