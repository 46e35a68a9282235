"""All phases of training in one command: stopped and started again, it goes on; what it makes serves a planet."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import open_planet
from model.training.imagery import ImageryError
from model.training.planets import PlanetParents
from model.training.recipe import PHASES, RecipeConfig, main, make_weights
from model.training.train import train
from model.training.train_config import TrainConfig
from model.weights import load_weights
from tests.test_training import DEVICE, TINY, write_imagery


def test_a_recipe_that_was_stopped_goes_on_to_weights_that_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.planets.MAX_ZOOM", 9)  # the whole depth takes minutes
    monkeypatch.setattr("model.training.train.DenoiserConfig", lambda: TINY)
    monkeypatch.setattr("model.training.habits.REAL", 20)
    imagery, out = write_imagery(tmp_path), tmp_path / "run"
    runs: list[TrainConfig] = []
    stop_at = "planets"

    def run(config: TrainConfig) -> Path:
        runs.append(config)
        if config.out.name == stop_at:
            raise KeyboardInterrupt
        return train(config)

    monkeypatch.setattr("model.training.recipe.train", run)
    config = RecipeConfig(imagery, out, minutes=1e-4, batch=1, places=1, calibration=4, device=DEVICE)
    with pytest.raises(KeyboardInterrupt):
        make_weights(config)
    assert [run.out.name for run in runs] == list(PHASES)
    assert [run.init for run in runs] == [None, *(out / f"{name}.safetensors" for name in ("flow", "score", "critic"))]
    kept = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}
    assert {path.name for path in kept} == {"flow.safetensors", "score.safetensors", "critic.safetensors", "parents.npz"}
    assert len(PlanetParents.load(out / "parents.npz").pixels) == 2  # of two zooms

    runs.clear()
    stop_at = ""
    path = make_weights(config)
    assert [run.out.name for run in runs] == ["planets"]
    assert runs[0].critic_from == out / "critic" / "checkpoint.pt" and runs[0].critic_from.is_file()
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())

    weights = load_weights(path)
    assert weights.provenance["tuned_steps"] == "1 2"
    assert weights.provenance["recipe"].endswith("from critic.safetensors")
    amplitudes = [load_weights(out / f"{name}.safetensors").amplitudes for name in PHASES]
    assert [each is not None for each in amplitudes] == [False, True, True, True]
    assert open_planet("earth", steps=2, weights=path, device=DEVICE).read(6, 8000, 6000, 16, 16).shape == (16, 16, 3)
    runs.clear()
    assert make_weights(config) == path and not runs


def test_numbers_that_no_run_could_use_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("minutes", 0.0), ("minutes", float("nan")), ("batch", 0), ("places", 0), ("calibration", 3)):
        with pytest.raises(ImageryError, match=f"--{name} must be"):
            make_weights(RecipeConfig(tmp_path, tmp_path / "run", **{"minutes": 1.0, name: value}))  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as stopped:
        main(["--imagery", str(tmp_path / "none"), "--out", str(tmp_path / "run"), "--minutes", "1"])
    assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") <= 2
