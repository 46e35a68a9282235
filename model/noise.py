"""Gaussian noise fixed to world coordinates: a stateless hash per pixel, the same bits on every device.

The recipe, complete, so that it can be written anew in any language. All integers are unsigned 64-bit and
wrap around; `>>` is the logical shift.

    G = 0x9E3779B97F4A7C15
    mix(v): v ^= v >> 30;  v *= 0xBF58476D1CE4E5B9;  v ^= v >> 27;  v *= 0x94D049BB133111EB;  v ^= v >> 31
    absorb(key, v) = mix((key ^ v) + G)                 the finaliser of splitmix64 (Steele, Lea, Flood 2014)

    key         = absorb(absorb(absorb(0, seed mod 2**64), zoom), stream)
    h(row, col) = mix(absorb(absorb(key, 0), row) + absorb(absorb(key, 1), col))
    noise[channel, row, col] = table[(h >> 16 * channel) & 0xFFFF]          channel 0, 1, 2

    table[k] = s * q((k + 0.5) / 65536), k = 0 .. 65535, q the standard normal quantile in float64, made
               exactly antisymmetric and scaled by s so that its mean square is 1, then rounded to float32

Rows and columns are mixed before they meet, so a pixel costs one addition, one finaliser and three look-ups;
that the finaliser is a full one keeps the sum of row and column keys from showing as a lattice
(tests/test_noise.py). The table bounds the noise at 4.33 standard deviations; its 65536 equally likely values
have mean 0 and variance 1.

Only integer arithmetic and a table made once on the CPU take part, hence CPU and CUDA agree to the bit.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

#: The noise that the sampler starts from.
STREAM_SAMPLER = 0
#: The noise laid on the parent picture as the network sees it.
STREAM_CONDITION = 1

_WORD = 1 << 64
_G = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31

Indices = NDArray[np.int64] | torch.Tensor


def world_noise(
    seed: int,
    zoom: int,
    stream: int,
    rows: Indices,
    cols: Indices,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Standard normal noise at the pixels `rows` x `cols` of the world at `zoom`.

    Args:
        seed: the planet's seed, any Python integer; equal modulo 2**64 means equal noise.
        zoom: zoom of the pixels.
        stream: which of the independent fields at this zoom (`STREAM_SAMPLER`, `STREAM_CONDITION`, ...).
        rows: int64 [h], already mirrored into the world; equal rows get equal noise, in any order.
        cols: int64 [w], already wrapped into the world.
        device: where the noise is computed and returned.

    Returns:
        float32 [3, h, w] on `device`.
    """
    key = noise_key(seed, zoom, stream)
    bits = _axis_keys(_absorb(key, 0), rows, device)[:, None] + _axis_keys(_absorb(key, 1), cols, device)[None, :]
    _mix_(bits)
    height, width = bits.shape
    bits = bits.view(-1)
    table = _table_on(torch.device(device))
    noise = torch.empty((3, height * width), dtype=torch.float32, device=device)
    index = torch.empty_like(bits)
    for channel in range(3):
        torch.bitwise_right_shift(bits, 16 * channel, out=index)
        torch.index_select(table, 0, index.bitwise_and_(0xFFFF), out=noise[channel])
    return noise.view(3, height, width)


def absorb_(values: torch.Tensor, key: int | torch.Tensor) -> torch.Tensor:
    """absorb(key, value) of int64 ``values``, in place; ``key``: one, or one for each of them."""
    if isinstance(key, int):
        key = signed(key)
    return _mix_(values.bitwise_xor_(key).add_(signed(_G)))


def noise_key(seed: int, zoom: int, stream: int) -> int:
    """The 64-bit key of one noise field; see the recipe at the top of this file."""
    return _absorb(_absorb(_absorb(0, seed), zoom), stream)


def normal_table() -> torch.Tensor:
    """The standard normal's quantiles that the noise takes its values from, float32 [65536] on the CPU."""
    return _table_on(torch.device("cpu"))


@cache
def _table_on(device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        with torch.inference_mode(False):
            return normal_table().to(device)
    # Cached: must not become an inference tensor because the first caller happens to be in inference mode.
    with torch.inference_mode(False):
        upper = torch.special.ndtri((torch.arange(32768, 65536, dtype=torch.float64) + 0.5) / 65536)
        upper /= upper.square().mean().sqrt()
        return torch.cat([-upper.flip(0), upper]).float()


def _axis_keys(key: int, indices: Indices, device: torch.device | str) -> torch.Tensor:
    """absorb(key, index) for every index of one axis, int64 on `device`."""
    return absorb_(torch.as_tensor(indices, dtype=torch.int64, device=device).clone(), key)


def _mix_(bits: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser in place. torch shifts int64 arithmetically, hence the masks."""
    scratch = torch.empty_like(bits)
    for shift, factor in _ROUNDS:
        _xor_shift_(bits, shift, scratch)
        bits.mul_(signed(factor))
    return _xor_shift_(bits, _LAST_SHIFT, scratch)


def _xor_shift_(bits: torch.Tensor, shift: int, scratch: torch.Tensor) -> torch.Tensor:
    torch.bitwise_right_shift(bits, shift, out=scratch)
    return bits.bitwise_xor_(scratch.bitwise_and_((1 << (64 - shift)) - 1))


def _absorb(key: int, value: int) -> int:
    """absorb(key, value) on Python integers; both are taken modulo 2**64."""
    bits = (((key ^ value) % _WORD) + _G) % _WORD
    for shift, factor in _ROUNDS:
        bits = (bits ^ (bits >> shift)) * factor % _WORD
    return bits ^ (bits >> _LAST_SHIFT)


def signed(bits: int) -> int:
    """The int64 with the same 64 bits as the unsigned `bits`."""
    return bits - _WORD if bits >= _WORD >> 1 else bits
