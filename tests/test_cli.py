"""The command line: what it renders, what it says, and how it fails: in one line, with an exit code, at once."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model import Planet
from server.cli import app
from server.failures import CommandError
from server.render_command import PixelBox, picture_extension
from tests.cli_runs import Run, one_line

ROOT = Path(__file__).resolve().parents[1]


def start(cache: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Runs a command in a process of its own."""
    environment = {
        **os.environ,
        "METAEARTH_CACHE_DIR": str(cache),
        "METAEARTH_STEPS": "1",
        "METAEARTH_PORT": "0",
        **variables,
    }
    command = [sys.executable, "-m", "server.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def start_fails(cache: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and the one line on stderr of a start that must fail."""
    process = start(cache, *arguments, **variables)
    out, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert out == ""
    return process.returncode, one_line(err)


def test_start_fails_at_a_bad_setting(cli_cache: Path) -> None:
    code, line = start_fails(cli_cache, "serve", METAEARTH_STEPS="99")
    assert code == 2
    assert "METAEARTH_STEPS=99" in line


def test_start_fails_at_a_missing_weights_file(cli_cache: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.safetensors"
    code, line = start_fails(cli_cache, "serve", METAEARTH_WEIGHTS=str(missing))
    assert code == 1
    assert str(missing) in line


def test_start_fails_at_a_broken_weights_file(cli_cache: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 5000)
    _, line = start_fails(cli_cache, "serve", "--weights", str(broken))
    assert str(broken) in line


def test_start_fails_at_an_unwritable_cache_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # also root cannot make a directory below a file
    _, line = start_fails(tmp_path / "file" / "cache", "serve")
    assert "cache directory" in line


def test_start_fails_at_a_taken_port(cli_cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        began = time.monotonic()
        _, line = start_fails(cli_cache, "serve", "--port", str(port))
    assert f"port {port}" in line
    assert "--port" in line
    assert time.monotonic() - began < 30


def test_start_fails_at_an_unknown_address_planet_or_device(run: Run) -> None:
    result = run("serve", "--host", "no.such.host.invalid")
    assert result.exit_code == 1
    assert "no.such.host.invalid" in one_line(result.stderr)
    result = run("serve", "--port", "0", "--device", "cuda:99")
    assert result.exit_code == 1
    assert "cuda:99" in one_line(result.stderr)


def test_start_fails_at_an_unknown_planet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAEARTH_PLANET", "mars")
    result = run("serve", "--port", "0")
    assert result.exit_code == 1
    assert "mars" in one_line(result.stderr)


def test_serve_says_what_computes_serves_and_stops_when_told(cli_cache: Path, planet: Planet) -> None:
    process = start(cli_cache, "serve", "--port", "0", METAEARTH_PROT="1")
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    try:
        info = planet.info()
        assert info.device in first
        assert info.precision in first
        address = re.search(r"http://127\.0\.0\.1:\d+", second)
        assert address is not None, second
        with urllib.request.urlopen(f"{address[0]}/6/33/21.png", timeout=60) as answer:
            assert answer.status == 200
            assert answer.headers["date"]
            pixels = np.asarray(Image.open(answer))
        assert np.array_equal(pixels, planet.read(6, 33 * 256, 21 * 256, 256, 256))
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert "did you mean METAEARTH_PORT?" in one_line(err)


def test_render_a_tile(run: Run, planet: Planet, tmp_path: Path) -> None:
    output = tmp_path / "tile.png"
    result = run("render", "--tile", "6/33/21", "-o", output)
    assert result.exit_code == 0, result.output
    assert "256 x 256" in result.stdout
    assert np.array_equal(np.asarray(Image.open(output)), planet.read(6, 33 * 256, 21 * 256, 256, 256))
    assert [path.name for path in tmp_path.iterdir()] == ["tile.png"]


def test_render_a_box_across_the_antimeridian_in_strips(
    run: Run, planet: Planet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.render_command.STRIP_ROWS", 100)
    output = tmp_path / "fiji.webp"
    result = run("render", "--bbox", "170,-30,-170,10", "--zoom", "4", "-o", output)
    assert result.exit_code == 0, result.output
    box = PixelBox.from_options("170,-30,-170,10", 4, None)
    assert 220 < box.width < 235
    assert box.x < 4096 < box.x + box.width
    exact = planet.read(4, box.x, box.y, box.width, box.height).astype(int)
    assert np.abs(np.asarray(Image.open(output)) - exact).mean() < 8


def test_boxes_are_the_pixels_of_their_degrees() -> None:
    assert PixelBox.from_options("-180,-90,180,90", 2, None) == PixelBox(2, 0, 0, 1024, 1024)
    assert PixelBox.from_options("0,0,90,66.51326044311186", 1, None) == PixelBox(1, 256, 128, 128, 128)
    assert PixelBox.from_options(None, None, "3/7/1") == PixelBox(3, 1792, 256, 256, 256)
    assert PixelBox.from_options("10,50,10.0000001,50.0000001", 0, None).width == 1


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--bbox", "0,0,1,1"),
        ("--zoom", "3"),
        ("--bbox", "0,0,1,1", "--zoom", "3", "--tile", "0/0/0"),
        ("--tile", "0/0/0", "--zoom", "3"),
        ("--bbox", "0,0,1", "--zoom", "3"),
        ("--bbox", "a,b,c,d", "--zoom", "3"),
        ("--bbox", "0,10,10,0", "--zoom", "3"),
        ("--bbox", "0,0,nan,10", "--zoom", "3"),
        ("--bbox", "0,0,500,10", "--zoom", "3"),
        ("--bbox", "0,0,1,1", "--zoom", "21"),
        ("--bbox", "-180,-80,180,80", "--zoom", "20"),
        ("--tile", "0/0"),
        ("--tile", "a/0/0"),
        ("--tile", "3/8/0"),
    ],
    ids=" ".join,
)
def test_bad_render_options_are_one_line(run: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run("render", *options, "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert one_line(result.stderr).startswith("metaearth: ")
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    assert picture_extension(tmp_path / "a.JPEG", 10, 10) == "jpg"
    for name, side in (("a.tif", 10), ("a", 10), ("no/a.png", 10), ("a.webp", 20_000), ("a.png", 40_000)):
        with pytest.raises(CommandError):
            picture_extension(tmp_path / name, side, side)


def test_enhance_enlarges_a_picture_and_keeps_its_means(run: Run, tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(40, 160, (20, 30, 3), np.uint8)
    Image.fromarray(small).save(tmp_path / "in.png")
    result = run("enhance", tmp_path / "in.png", "--gsd", "10", "--stages", "1", "--steps", "1", "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert "120 x 80 pixels at 2.5 m" in result.stdout
    large = np.asarray(Image.open(tmp_path / "out.png"))
    means = large.reshape(20, 4, 30, 4, 3).mean((1, 3))
    assert np.abs(means - small).max() <= 1


@pytest.mark.parametrize(
    "options", [("--gsd", "0"), ("--gsd", "nan"), ("--gsd", "1", "--stages", "0"), ("--gsd", "1", "--stages", "99")]
)
def test_bad_enhance_options_are_one_line(run: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    result = run("enhance", tmp_path / "in.png", *options, "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert options[-2] in one_line(result.stderr)


def test_pictures_that_cannot_be_enhanced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "missing.png"):
        result = run("enhance", tmp_path / name, "--gsd", "1", "-o", tmp_path / "out.png")
        assert result.exit_code == 1
        assert name in one_line(result.stderr)


def test_info_tells_device_weights_and_caches(run: Run, cli_cache: Path, planet: Planet) -> None:
    result = run("info")
    assert result.exit_code == 0, result.output
    info = planet.info()
    for part in (info.device, info.precision, info.weights, info.identity, str(cli_cache), "entries"):
        assert part in result.stdout


def test_help_names_every_command_without_importing_torch() -> None:
    code = "import sys, server.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("serve", "key", "render", "export", "seed", "enhance", "train", "evaluate", "info"):
        assert command in result.stdout
