"""Which device and number format to compute in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from model.errors import DeviceError
from model.sampler import MAX_STEPS, MIN_STEPS

PRECISIONS = ("auto", "bf16", "fp32")
STEPS = 2
"""Default number of sampler steps: the weights are tuned for few, and 4 are no better (docs/measures.md)."""


@dataclass(frozen=True)
class Compute:
    """A device, the number format of its convolutions and, on a CPU, the threads they use.

    ``batch`` is the fixed number of windows a denoiser call takes: canonical blocks are bit-equal only in one batch shape.
    """

    device: torch.device
    dtype: torch.dtype
    batch: int

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    @property
    def threads(self) -> int:
        """Threads of one convolution on the CPU; 0 on a GPU."""
        return torch.get_num_threads() if self.device.type == "cpu" else 0

    @property
    def description(self) -> str:
        """One line for people."""
        if self.device.type == "cuda":
            return f"{torch.cuda.get_device_name(self.device)} in {self.precision}"
        return f"CPU, {self.threads} threads, in {self.precision} ({cpu_kind()})"


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Pick device and precision. ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Raises `DeviceError`.

    bf16 on a GPU and where the processor multiplies bf16 matrices in hardware faster than float32 (see `cpu_has_fast_bf16`).
    """
    if precision not in PRECISIONS:
        raise DeviceError(f"The precision {precision!r} is unknown; use one of {', '.join(PRECISIONS)}.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"The device {device!r} is unknown; use auto, cpu, cuda or cuda:N.") from error
    if chosen.type not in ("cpu", "cuda"):
        raise DeviceError(f"The device {device!r} is not supported; use auto, cpu, cuda or cuda:N.")
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"The device {device!r} is not present on this machine; use auto or cpu.")
    fast = autocast_type(chosen.type) is not None
    dtype = torch.bfloat16 if precision == "bf16" or (precision == "auto" and fast) else torch.float32
    return Compute(chosen, dtype, batch=16 if chosen.type == "cuda" else 1)


def choose_steps(steps: int | None) -> int:
    """``steps`` if it is a possible number of sampler steps, `STEPS` for None. Raises `DeviceError`."""
    if steps is None:
        return STEPS
    if isinstance(steps, bool) or not isinstance(steps, int) or not MIN_STEPS <= steps <= MAX_STEPS:
        raise DeviceError(f"The sampler takes {MIN_STEPS} to {MAX_STEPS} steps, not {steps!r}.")
    return steps


def autocast_type(device: str) -> torch.dtype | None:
    """What training on ``device`` (``cpu``, ``cuda``, ``cuda:N``) autocasts to: bf16 where it is faster than float32
    (bench/floor.py), else None."""
    return torch.bfloat16 if device.startswith("cuda") or cpu_has_fast_bf16() else None


def autocasting(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """The context that autocasts to ``dtype`` on ``device``; to nothing if it is None."""
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def cpu_has_fast_bf16() -> bool:
    """Whether bf16 convolutions beat float32 ones: with AMX tiles, or AVX512-BF16 on processors that are not Intel's.

    Intel's AVX512-BF16 without AMX (some virtual machines mask the tiles) issues VDPBF16PS at half rate: measured by
    bench/floor.py, the same convolutions take 1.9 times as long in bf16 as in float32 there.
    """
    flags, vendor = _cpu()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and vendor != "GenuineIntel")


def cpu_kind() -> str:
    """The processor's best unit for convolutions, by name."""
    flags, _ = _cpu()
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16"), ("avx512f", "AVX512"), ("avx2", "AVX2")):
        if flag in flags:
            return name
    return torch.backends.cpu.get_cpu_capability()


@cache
def _cpu() -> tuple[frozenset[str], str]:
    """Flags and vendor from Linux; elsewhere nothing is known and float32 is used."""
    flags: frozenset[str] = frozenset()
    vendor = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return flags, vendor
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features") and not flags:
            flags = frozenset(value.split())
        elif name.strip() == "vendor_id" and not vendor:
            vendor = value.strip()
    return flags, vendor
