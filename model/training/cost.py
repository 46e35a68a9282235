"""M9: what a tile costs, and the share of the convolution floor, measured in turns so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.engine import HALO
from model.grid import TILE_SIZE, lonlat_to_pixel
from model.inference import InferenceDenoiser
from model.planet import Planet
from model.store import BLOCK

_PLACES = ((7.85, 46.35), (-93.6, 42.1), (31.1, 30.9), (77.0, 14.5), (-63.2, -4.6), (146.0, -33.0))
"""Far enough apart to share no ancestors; one for each zoom and repetition."""


def tile_costs(opened: Callable[[], Planet], zooms: tuple[int, ...] = (8, 12, 16)) -> dict[str, dict[str, float]]:
    """Milliseconds of a 256 px tile cold (nothing cached, ancestors included) and warm (its blocks in memory), and network
    calls of the cold one, by zoom. ``opened`` opens a planet with nothing cached."""
    planet = opened()
    # The first call chooses kernels and is no tile's cost.
    planet.read(6, 0, 6000, 8, 8)
    rows = {}
    for zoom, (lon, lat) in zip(zooms, _PLACES, strict=False):
        x, y = (int(value) // TILE_SIZE * TILE_SIZE for value in lonlat_to_pixel(lon, lat, zoom))
        before = planet.evaluations
        cold = _seconds(partial(planet.read, zoom, x, y, TILE_SIZE, TILE_SIZE))
        calls = (planet.evaluations - before) * planet.steps
        warm = _seconds(partial(planet.read, zoom, x, y, TILE_SIZE, TILE_SIZE))
        rows[f"z{zoom}"] = {"M9 cold ms": 1000 * cold, "M9 warm ms": 1000 * warm, "M9 network calls": float(calls)}
    return rows


def floor_share(planet: Planet, rounds: int = 5) -> dict[str, float]:
    """A denoiser call on one window in milliseconds, and the share of it that its bare convolutions alone take."""
    compute, denoiser = planet.compute, planet.weights.denoiser
    side = BLOCK + 2 * HALO
    x = torch.randn(compute.batch, 3, side, side)
    parent = torch.rand(compute.batch, 3, side // 4, side // 4) * 2 - 1
    level = torch.full((compute.batch, 1, side // 4, side // 4), 0.5)
    gsd = torch.full((compute.batch, 1), 6.0)
    shapes: list[tuple[nn.Conv2d, Tensor]] = []

    def record(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        shapes.append((layer, arguments[0]))

    hooks = [m.register_forward_pre_hook(record) for m in denoiser.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        denoiser(x, parent, level, torch.full((compute.batch,), 0.7), gsd)
    for hook in hooks:
        hook.remove()
    bare = [_bare(layer, seen, compute.device, compute.dtype) for layer, seen in shapes]
    network = InferenceDenoiser(denoiser, compute)
    x, parent, level, gsd = (value.to(compute.device) for value in (x, parent, level, gsd))
    calls: list[float] = []
    floors: list[float] = []
    with torch.inference_mode():
        for _ in range(rounds + 1):
            calls.append(_seconds(lambda: network(x, parent, level, 0.7, gsd).sum().item()))
            floors.append(_seconds(lambda: [convolve() for convolve in bare][-1].sum().item()))
    share = statistics.median(floor / call for floor, call in zip(floors[1:], calls[1:], strict=True))
    return {"M9 denoiser call ms": 1000 * statistics.median(calls[1:]), "M9 share of convolution floor": share}


def _bare(layer: nn.Conv2d, seen: Tensor, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    last = torch.channels_last
    x = torch.randn(seen.shape).to(device, dtype).contiguous(memory_format=last)
    weight = layer.weight.detach().to(device, dtype).contiguous(memory_format=last)
    bias = None if layer.bias is None else layer.bias.detach().to(device, dtype)
    padding = layer.kernel_size[0] // 2
    return lambda: F.conv2d(x, weight, bias, padding=padding)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
