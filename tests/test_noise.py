"""The world-fixed noise: its recipe, its bits on every device, its statistics."""

import hashlib
import itertools
import statistics
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.noise import STREAM_CONDITION, STREAM_SAMPLER, normal_table, world_noise

SIZE = 512
FIELDS = [
    # seed, zoom, first row, first column
    (0, 6, 0, 0),
    (1, 18, 33_000_000, 12_345_678),
    (-1, 10, 7, 100),
    (2**63, 20, 2**27, 2**28 - SIZE),
]


def _field(seed: int, zoom: int, row: int = 0, col: int = 0, stream: int = 0, size: int = SIZE) -> NDArray[Any]:
    noise = world_noise(seed, zoom, stream, np.arange(row, row + size), np.arange(col, col + size))
    return noise.double().numpy()


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Circular correlation of two [n, n] fields at all n * n shifts, in standard errors."""
    spectrum = np.fft.rfft2(a) * np.fft.rfft2(b).conj()
    correlation: NDArray[Any] = np.fft.irfft2(spectrum, s=a.shape) / a.shape[0]
    return correlation


def _mix(v: int) -> int:
    word = 2**64 - 1
    v = ((v ^ (v >> 30)) * 0xBF58476D1CE4E5B9) & word
    v = ((v ^ (v >> 27)) * 0x94D049BB133111EB) & word
    return v ^ (v >> 31)


def _recipe(seed: int, zoom: int, stream: int, row: int, col: int) -> list[float]:
    """The module's recipe once more, on plain integers and with another normal quantile."""

    def absorb(key: int, value: int) -> int:
        return _mix(((key ^ value) + 0x9E3779B97F4A7C15) % 2**64)

    key = absorb(absorb(absorb(0, seed % 2**64), zoom), stream)
    bits = _mix((absorb(absorb(key, 0), row) + absorb(absorb(key, 1), col)) % 2**64)
    normal = statistics.NormalDist()
    return [normal.inv_cdf((((bits >> 16 * lane) & 0xFFFF) + 0.5) / 65536) for lane in range(3)]


@pytest.mark.parametrize("seed", [0, 1, -5, 2**64 - 1, -(2**63), 10**30])
def test_noise_follows_the_recipe(seed: int) -> None:
    rows, cols = np.array([0, 5, 2**28 - 1]), np.array([3, 0, 77, 2**27])
    noise = world_noise(seed, 20, STREAM_CONDITION, rows, cols)
    expected = [[_recipe(seed, 20, STREAM_CONDITION, int(r), int(c)) for c in cols] for r in rows]
    # The table's scale is 1 + 3e-5: the mean square of the quantiles themselves is a little below 1.
    assert noise.permute(1, 2, 0).numpy() == pytest.approx(np.array(expected), rel=1e-4)


def test_golden_bytes() -> None:
    """These change only with the planet: other noise is another picture for every seed."""
    noise = world_noise(7, 12, STREAM_SAMPLER, np.arange(1000, 1032), np.arange(500, 548))
    assert noise.shape == (3, 32, 48)
    assert noise.dtype == torch.float32
    assert noise.is_contiguous()
    assert hashlib.sha256(normal_table().numpy().tobytes()).hexdigest()[:16] == "8babbcaf96568f10"
    assert hashlib.sha256(noise.numpy().tobytes()).hexdigest()[:16] == "7aaaef2b20631ce0"


def test_table_is_symmetric_with_mean_zero_and_variance_one() -> None:
    table = normal_table()
    assert table.shape == (65536,)
    assert torch.equal(table, -table.flip(0))
    assert bool((table.diff() > 0).all())
    assert table.double().square().mean().item() == pytest.approx(1.0, abs=1e-8)
    assert table.double().mean().item() == 0.0


def test_noise_belongs_to_the_world_not_to_the_window() -> None:
    whole = world_noise(3, 9, 0, np.arange(100, 164), np.arange(40, 140))
    assert torch.equal(world_noise(3, 9, 0, np.arange(110, 150), np.arange(60, 61)), whole[:, 10:50, 20:21])
    rows = np.array([101, 100, 100, 101])  # as mirroring at the pole makes them
    assert torch.equal(world_noise(3, 9, 0, rows, np.arange(40, 140)), whole[:, [1, 0, 0, 1]])
    as_tensors = world_noise(3, 9, 0, torch.arange(100, 164), torch.arange(40, 140), torch.device("cpu"))
    assert torch.equal(as_tensors, whole)


def test_indices_are_left_as_they_were() -> None:
    rows, cols = torch.arange(4), torch.arange(5)
    world_noise(3, 9, 0, rows, cols)
    assert torch.equal(rows, torch.arange(4))
    assert torch.equal(cols, torch.arange(5))


def test_noise_made_in_inference_mode_serves_training_too() -> None:
    with torch.inference_mode():
        world_noise(0, 6, 0, np.arange(4), np.arange(4))
    weight = torch.ones(3, 1, 1, requires_grad=True)
    loss = (weight * world_noise(0, 6, 0, np.arange(4), np.arange(4))).square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert bool(gradient.isfinite().all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_bits() -> None:
    for seed, zoom, row, col in FIELDS:
        rows, cols = np.arange(row, row + 300), np.arange(col, col + 200)
        on_gpu = world_noise(seed, zoom, 1, rows, cols, "cuda")
        assert on_gpu.is_cuda
        assert torch.equal(on_gpu.cpu(), world_noise(seed, zoom, 1, rows, cols))


# The bounds below are in standard errors. The largest of n independent normals lies near sqrt(2 ln n), and
# the bounds are above what chance reaches in all of them together; everything here is deterministic.


@pytest.mark.parametrize(("seed", "zoom", "row", "col"), FIELDS)
def test_moments_and_means_of_rows_and_columns(seed: int, zoom: int, row: int, col: int) -> None:
    field = _field(seed, zoom, row, col)
    count = SIZE * SIZE
    assert np.abs(field.mean((1, 2))).max() * count**0.5 < 4
    assert np.abs(field.var((1, 2)) - 1).max() * (count / 2) ** 0.5 < 4
    assert np.abs((field**3).mean((1, 2))).max() * (count / 15) ** 0.5 < 4
    assert np.abs((field**4).mean((1, 2)) - 3).max() * (count / 96) ** 0.5 < 4
    for axis in (1, 2):
        means = field.mean(axis) * SIZE**0.5
        assert np.abs(means).max() < 5.2
        assert means.var() == pytest.approx(1.0, abs=4 * (2 / means.size) ** 0.5)


@pytest.mark.parametrize(("seed", "zoom", "row", "col"), FIELDS)
def test_no_correlation_at_any_shift_nor_between_channels(seed: int, zoom: int, row: int, col: int) -> None:
    field = _field(seed, zoom, row, col)
    energy = (field**2 - 1) / 2**0.5
    for picture in (field, energy):
        for a, b in itertools.combinations_with_replacement(range(3), 2):
            correlation = _correlation(picture[a], picture[b])
            if a == b:
                correlation[0, 0] = 0.0
            assert np.abs(correlation).max() < 6.5
            near = np.concatenate([correlation[:9, :9].ravel(), correlation[:9, -8:].ravel()])
            assert np.abs(near).max() < 4.6


@pytest.mark.parametrize(("seed", "zoom", "row", "col"), FIELDS)
def test_spectrum_is_flat(seed: int, zoom: int, row: int, col: int) -> None:
    """A lattice would be a peak: of a white spectrum the periodogram is exponential with mean 1."""
    power = np.abs(np.fft.rfft2(_field(seed, zoom, row, col))[:, :, 1:-1]) ** 2 / SIZE**2
    assert power.max() < np.log(power.size) + 7
    assert power.var() == pytest.approx(1.0, abs=0.03)
    smooth = power[:, :, : power.shape[2] // 16 * 16].reshape(3, SIZE // 16, 16, -1, 16).mean((2, 4))
    assert np.abs(smooth - 1).max() * 16 < 6


def test_no_lattice_of_four_corners() -> None:
    """Rows and columns enter by a sum, so the corners of rectangles are where a weak mixer would show."""
    field = _field(0, 8)
    for dy, dx in itertools.product((1, 2, 3, 8, 64, 256), repeat=2):
        corners = field[:, :-dy, :-dx] * field[:, dy:, :-dx] * field[:, :-dy, dx:] * field[:, dy:, dx:]
        assert np.abs(corners.mean((1, 2))).max() * (corners[0].size) ** 0.5 < 4.5


@pytest.mark.parametrize(
    ("seed", "zoom", "stream"),
    [(1, 6, 0), (-1, 6, 0), (2**63, 6, 0), (6, 0, 0), (0, 8, 0), (0, 7, 0), (0, 6, 1), (1, 6, 1)],
)
def test_seeds_zooms_and_streams_are_independent_fields(seed: int, zoom: int, stream: int) -> None:
    one, other = _field(0, 6), _field(seed, zoom, stream=stream)
    for a, b in itertools.product(range(3), repeat=2):
        assert np.abs(_correlation(one[a], other[b])).max() < 6.5
        assert np.abs((one[a] * other[b].T).mean()) * SIZE < 4.6
