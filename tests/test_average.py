"""Averaging of weights files: between the two, and only of one line of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model import WeightsError
from model.training.average import average
from model.weights import AMPLITUDES, TUNED_STEPS, load_weights, save_weights


def test_averages_lie_between_and_have_no_amplitudes(tmp_path: Path) -> None:
    weights = load_weights()
    state, config = weights.denoiser.state_dict(), weights.denoiser.config
    said = {name: weights.metadata[name] for name in (TUNED_STEPS, AMPLITUDES, "recipe", "license") if name in weights.metadata}
    first, second, out = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "out"))
    save_weights(first, state, config, said)
    save_weights(second, {name: value + 1 for name, value in state.items()}, config, said | {"recipe": "other"})
    average(first, second, 0.25, out)
    made = load_weights(out)
    assert made.amplitudes is None and made.metadata["recipe"] == f"0.75 x ({said['recipe']}) + 0.25 x (other)"
    for name, value in made.denoiser.state_dict().items():
        assert torch.allclose(value, state[name] + 0.25, atol=0.02), name  # bf16
    average(first, second, 1.0, out, keep=("middle",))
    made = load_weights(out)
    assert made.metadata["recipe"].endswith("(other), middle of the first")
    for name, value in made.denoiser.state_dict().items():
        assert torch.allclose(value, state[name] + (not name.startswith("middle.")), atol=0.02), name
    with pytest.raises(WeightsError, match="'nose'"):
        average(first, second, 0.5, out, keep=("nose",))
    save_weights(first, state, config, said | {TUNED_STEPS: "1 2 10"})
    save_weights(second, state, config, said | {TUNED_STEPS: "2 4 10"})
    average(first, second, 0.5, out)
    assert load_weights(out).metadata[TUNED_STEPS] == "2 10"
    save_weights(second, state, config, said | {TUNED_STEPS: "4"})
    with pytest.raises(WeightsError, match="one line of training"):
        average(first, second, 0.5, out)
    save_weights(second, state, config, {name: text for name, text in said.items() if name != TUNED_STEPS})
    with pytest.raises(WeightsError, match="one line of training"):
        average(first, second, 0.5, out)
