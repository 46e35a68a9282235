"""Starting weights: a weights file of ours, or one of the laboratory prototype's (other names, no noise-level input)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from model.contrast import Amplitudes
from model.denoiser import Denoiser, DenoiserConfig
from model.errors import WeightsError
from model.weights import amplitudes_of

_LAB_NAMES = {
    "emb": "embed",
    "inp": "enter",
    "d": "before",
    "down": "down",
    "mid": "middle",
    "up": "up",
    "u": "after",
    "toh": "widen",
    "inh": "enter_head",
    "h": "head",
    "out": "leave",
}
_LAB_LAYERS = {"a": "expand", "b": "project", "f": "film"}


def load_initial(path: Path, config: DenoiserConfig) -> dict[str, Tensor]:
    """State dict (float32) for a denoiser of ``config`` from ``path``. Raises `WeightsError` if it does not fit."""
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"The weights file {path} cannot be read as safetensors ({error}).") from error
    if "inp.weight" in state:
        state = _from_lab(state)
    wanted = Denoiser(config).state_dict()
    wrong = [name for name, value in wanted.items() if name not in state or state[name].shape != value.shape]
    if wrong or len(state) != len(wanted):
        raise WeightsError(
            f"The weights file {path} does not fit the denoiser ({len(wrong)} tensors missing or of another shape)."
        )
    return state


def initial_amplitudes(path: Path) -> Amplitudes | None:
    """The amplitudes that go with the weights of ``path``, where they have been measured (`model.contrast`)."""
    with safe_open(path, "pt") as file:
        return amplitudes_of(file.metadata() or {})


def modules_named(denoiser: Denoiser, names: Sequence[str]) -> list[nn.Module]:
    """The modules of ``denoiser`` with these names (`Denoiser`'s attributes). Raises `WeightsError` where it has none."""
    modules = dict(denoiser.named_children())
    if unknown := [name for name in names if name not in modules]:
        raise WeightsError(f"The network has no module {unknown[0]!r}; name one of {', '.join(modules)}.")
    return [modules[name] for name in names]


def _from_lab(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        head, *rest = name.split(".")
        renamed[".".join([_LAB_NAMES[head], *(_LAB_LAYERS.get(part, part) for part in rest)])] = value
    entry = renamed["enter.weight"]
    # The noise level's input channel starts at zero: unseen by the prototype.
    renamed["enter.weight"] = torch.cat([entry, entry.new_zeros(entry.shape[0], 1, 1, 1)], 1)
    return renamed
