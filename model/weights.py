"""Weights files: safetensors with the network's configuration and provenance in the metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.contrast import Amplitudes
from model.denoiser import Denoiser, DenoiserConfig
from model.errors import WeightsError
from model.sampler import TUNED_CARRY

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "earth.safetensors"
FORMAT = "metaearth-denoiser-1"
TUNED_STEPS = "tuned_steps"
"""In the metadata: the numbers of sampler steps, by blanks, that `model.training.energy` has tuned the weights for."""
AMPLITUDES = "amplitudes"
"""In the metadata: those of `model.contrast`, where `model.training.calibrate` has measured them."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A loaded weights file: the denoiser in float32 on the CPU, the file's path, its SHA-256 (hex), its metadata, and the
    amplitudes of its detail, if they have been measured."""

    denoiser: Denoiser
    path: Path
    digest: str
    metadata: dict[str, str]
    amplitudes: Amplitudes | None = None

    @property
    def provenance(self) -> dict[str, str]:
        """The metadata but for what `save_weights` writes by itself."""
        return {name: text for name, text in self.metadata.items() if name not in ("format", "config")}

    @property
    def carry(self) -> float | None:
        """The sampler's carry: none for tuned weights, else None, the sampler's own choice."""
        return TUNED_CARRY if TUNED_STEPS in self.metadata else None


def save_weights(path: Path, state: dict[str, Tensor], config: DenoiserConfig, provenance: dict[str, str]) -> None:
    """Write ``state`` as bfloat16 safetensors, atomically, with ``config`` and ``provenance`` as metadata."""
    tensors = {name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in state.items()}
    metadata = {"format": FORMAT, "config": json.dumps(config.as_dict()), **provenance}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)


def amplitudes_of(metadata: dict[str, str]) -> Amplitudes | None:
    """Those in a weights file's metadata, if there are any. Raises `ValueError` if they are broken."""
    return Amplitudes.from_text(metadata[AMPLITUDES]) if AMPLITUDES in metadata else None


def load_weights(path: Path | None = None) -> Weights:
    """Load a weights file (the one that ships by default). Raises `WeightsError` if it is missing or broken."""
    path = Path(path) if path is not None else DEFAULT_WEIGHTS
    if not path.is_file():
        raise WeightsError(
            f"The weights file {path} does not exist; name an existing .safetensors file or leave the setting out."
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"The weights file {path} cannot be read as safetensors ({error}); restore or replace it."
        ) from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"The weights file {path} is not of the format {FORMAT}; use one made by `metaearth train`.")
    try:
        with torch.device("meta"):  # random numbers for seven million weights would take longer than reading them
            denoiser = Denoiser(DenoiserConfig(**json.loads(metadata["config"])))
        denoiser.load_state_dict(state, assign=True)
        amplitudes = amplitudes_of(metadata)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"The weights file {path} does not fit the denoiser ({reason}); restore or replace it.") from error
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise WeightsError(f"The weights file {path} holds values that are not finite; restore or replace it.")
    return Weights(denoiser, path, hashlib.sha256(path.read_bytes()).hexdigest(), metadata, amplitudes)
