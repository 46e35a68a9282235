"""`metaearth train` and `evaluate`: what they write, and how they fail: in one line, with an exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.training.imagery import holdout_names
from model.weights import DEFAULT_WEIGHTS
from tests.cli_runs import Run, one_line


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_imagery_that_cannot_be_used_is_one_line(run: Run, tmp_path: Path, command: str) -> None:
    missing = tmp_path / "nowhere"
    result = run(command, "--imagery", missing, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert str(missing / "manifest.csv") in result.stderr.strip().splitlines()[-1]
    (tmp_path / "manifest.csv").write_text("file,gsd_m\na.png,10\n")
    result = run(command, "--imagery", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "docs/training.md" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("code", "options"),
    [
        (2, ("train", "--minutes", "0")),
        (2, ("train", "--steps", "0")),
        (2, ("train", "--batch", "0")),
        (2, ("train", "--crop", "100")),
        (2, ("train", "--crop", "32")),
        (2, ("train", "--learning-rate", "nan")),
        (2, ("train", "--workers", "-1")),
        (2, ("train", "--ema", "1")),
        (1, ("train", "--tune", "17")),
        (2, ("train", "--critic", "1")),
        (2, ("train", "--tune", "2", "--critic", "-1")),
        (2, ("train", "--tune", "2", "--critic-from", "nowhere.pt")),
        (1, ("train", "--tune", "2", "--crop", "192", "--critic", "1", "--critic-from", "nowhere.pt")),
        (2, ("train", "--tune", "2", "--planet-parents", "nowhere.npz")),
        (2, ("train", "--tune", "2", "--crop", "192", "--critic", "1", "--planet-parents", "nowhere.npz")),
        (2, ("train", "--tune", "2", "--critic", "1", "--planet-parents", "nowhere.npz", "--crop", "576")),
        (2, ("train", "--tune", "2", "--crop", "192", "--critic", "1", "--critic-ahead", "5")),
        (2, ("train", "--critic-ahead", "-1")),
        (2, ("train", "--tune", "2", "--crop", "72")),
        (2, ("train", "--tune", "2", "--crop", "128")),
        (2, ("train", "--tune", "2", "--crop", "224")),
        (2, ("train", "--freeze", "middle")),
        (1, ("train", "--init", str(DEFAULT_WEIGHTS), "--freeze", "centre")),
        (1, ("train", "--device", "abacus")),
        (1, ("train", "--init", "nowhere.safetensors")),
        (2, ("evaluate", "--crops", "1")),
        (2, ("evaluate", "--part", "everything")),
        (1, ("evaluate", "--world-steps", "17")),
        (1, ("evaluate", "--steps", "2", "--steps", "17")),
        (1, ("evaluate", "--device", "abacus")),
    ],
    ids=str,
)
def test_bad_training_options_are_one_line(run: Run, tmp_path: Path, code: int, options: tuple[str, ...]) -> None:
    result = run(*options, "--imagery", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == code
    line = one_line(result.stderr)
    assert line.startswith("metaearth: ")
    assert options[-1] in line
    assert not (tmp_path / "out").exists()


def test_a_broken_checkpoint_is_not_gone_on_with(run: Run, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"\xff" * 100)
    result = run("train", "--imagery", tmp_path, "--out", tmp_path)
    assert result.exit_code == 1
    assert "checkpoint.pt" in one_line(result.stderr)


def test_train_writes_weights_that_can_be_loaded(run: Run, tmp_path: Path) -> None:
    from model.weights import load_weights

    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "manifest.csv").write_text(
        "file,gsd_m,width,height,cell_px,source,projection\na.png,10,96,96,0,test,web-mercator\n"
    )
    out = tmp_path / "out"
    result = run(
        "train", "--imagery", tmp_path, "--out", out, "--steps", "1", "--batch", "1", "--crop", "64", "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    assert str(out / "ema.safetensors") in result.stdout
    assert load_weights(out / "ema.safetensors").metadata["license"] == "CC-BY-SA-4.0"


def test_evaluate_prints_the_measures_of_held_out_imagery(run: Run, tmp_path: Path) -> None:
    held_out = sorted(holdout_names())[0]
    (tmp_path / held_out).parent.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)).save(tmp_path / held_out)
    (tmp_path / "manifest.csv").write_text(
        f"file,gsd_m,width,height,cell_px,source,projection\n{held_out},16,256,256,0,test,web-mercator\n"
    )
    options = ("--steps", "1", "--steps", "2", "--steps", "1", "--crops", "2", "--device", "cpu", "--part", "stages", "--quick")
    result = run("evaluate", "--imagery", tmp_path, "--out", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "| resolution | measure | floor | ceiling | new 1 | new 2 |" in result.stdout
    for row in ("| mean | contrast |", "| 9.6 m | M1 spectrum dB |", "| 9.6 m | M2 patches |", "| 9.6 m | M3 kurtosis |"):
        assert row in result.stdout
    assert (tmp_path / "out" / "evaluation.md").read_text() in result.stdout
    with Image.open(tmp_path / "out" / "stages.png") as sheet:
        assert sheet.width > 4 * 128 and sheet.height > 128
