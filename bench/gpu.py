"""The model on a GPU: share of its bf16 peak, tiles per second, cold zoom-18 latency.

Needs only what the model needs (torch, numpy, Pillow, safetensors). The peaks are measured in the same run, not taken
from a data sheet: a large bf16 matrix product on random data, a large copy. Device times are taken with events.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bench.floor import denoiser_inputs, random_denoiser, record_convolutions
from bench.report import Report, parser, table
from bench.tiles import places, read_tiles, warm_parents
from model import Planet, open_planet
from model.grid import TILE_SIZE
from model.inference import InferenceDenoiser
from model.precision import choose_compute

STEPS = (1, 2, 4, 8, 16)
#: Tiles a side of the area that is read in one go for the throughput.
AREA = 8


def device_seconds(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of one call on the device, after warming up."""
    for _ in range(max(1, repeats // 5)):
        function()
    taken = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = (torch.Event(device, enable_timing=True) for _ in range(2))
            begin.record()
            function()
            end.record()
            end.synchronize()
            taken.append(float(begin.elapsed_time(end)) / 1000)
        else:
            started = time.perf_counter()
            function()
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def peaks(device: torch.device, side: int, repeats: int) -> tuple[float, float]:
    """TFLOP/s of a bf16 matrix product of `side`, and TB/s of a copy (bytes read and written)."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    arithmetic = device_seconds(lambda: torch.mm(a, b, out=product), device, repeats)
    source = torch.randint(0, 256, (side * side * 16,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = device_seconds(lambda: target.copy_(source), device, repeats)
    return 2 * side**3 / arithmetic / 1e12, 2 * source.numel() / copy / 1e12


def denoiser_rows(device: torch.device, precision: str, batches: list[int], peak: float, repeats: int) -> list[list[object]]:
    """For each batch: a denoiser call and its bare convolutions, beside the device's peak."""
    compute = choose_compute(str(device), precision)
    denoiser = random_denoiser()
    recorded = record_convolutions(denoiser)
    inference = InferenceDenoiser(denoiser, compute)
    rows: list[list[object]] = []
    for batch in batches:
        windows = [c.on(device, compute.dtype, batch) for c in recorded]
        arguments = denoiser_inputs(batch, 1, device)
        flops = sum(c.flops for c in windows)
        call = device_seconds(lambda a=arguments: inference(*a), device, repeats)  # type: ignore[misc]
        floor = device_seconds(lambda w=windows: [c() for c in w], device, repeats)  # type: ignore[misc]
        achieved = flops / call / 1e12
        shares = [f"{100 * achieved / peak:.1f} %", f"{100 * flops / floor / 1e12 / peak:.1f} %", f"{100 * floor / call:.0f} %"]
        rows.append([batch, 1000 * call, batch / call, achieved, *shares])
    return rows


def planet_row(planet: Planet, repeats: int) -> list[object]:
    """Tiles per second of an area read in one go with warm parents, and milliseconds of single zoom-18 tiles."""
    size = (AREA, AREA)
    at = places(14, 1)
    rates = []
    for _ in range(repeats):
        x, y = next(at)
        warm_parents(planet, 14, x, y, size)
        begin = time.perf_counter()
        planet.read(14, x * TILE_SIZE, y * TILE_SIZE, AREA * TILE_SIZE, AREA * TILE_SIZE)
        rates.append(AREA * AREA / (time.perf_counter() - begin))
    at = places(18, 1)
    warm, cold = [], []
    for _ in range(3 * repeats):
        x, y = next(at)
        warm_parents(planet, 18, x, y, (1, 1))
        warm.append(read_tiles(planet, 18, x, y, (1, 1))[0])
        cold.append(read_tiles(planet, 18, *next(at), (1, 1))[0])
    warm_ms, cold_ms = statistics.median(warm), statistics.median(cold)
    return [planet.steps, statistics.median(rates), warm_ms, cold_ms, max(cold), f"{cold_ms / warm_ms:.1f}"]


def main() -> None:
    """Measures and prints the tables."""
    options = parser(__doc__)
    options.add_argument("--device", default="cuda", help="cuda or cuda:N (default cuda); cpu to try the script out")
    options.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    options.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64, 256], help="windows in a call")
    options.add_argument("--steps", type=int, nargs="+", default=list(STEPS), help="sampler steps of the planet")
    options.add_argument("--repeats", type=int, default=30, help="timed calls of each kind (default 30)")
    options.add_argument("--side", type=int, default=8192, help="side of the matrices of the peak (default 8192)")
    options.add_argument("--areas", type=int, default=5, help="areas read for the throughput (default 5)")
    options.add_argument("--weights", type=Path, help="weights file (default: the one that ships)")
    arguments = options.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        options.exit(2, "PyTorch sees no CUDA device on this machine: run this on one with a GPU.\n")
    if arguments.areas < 1 or arguments.repeats < 1:
        options.error("--areas and --repeats must be at least 1.")
    device = torch.device(arguments.device)
    report = Report("The model on a GPU", arguments.out)

    arithmetic, copy = peaks(device, arguments.side, arguments.repeats)
    report.add(table(["measured peak", ""], [["bf16 matrix product, TFLOP/s", arithmetic], ["copy, TB/s", copy]]))
    rows = denoiser_rows(device, arguments.precision, arguments.batches, arithmetic, arguments.repeats)
    headers = ["windows a call", "ms a call", "windows/s", "TFLOP/s of convolutions", "share of the bf16 peak"]
    report.add(table([*headers, "the bare convolutions' share of it", "share of the convolution floor"], rows))

    rows = []
    described = ""
    for steps in arguments.steps:
        planet = open_planet(
            "earth",
            steps=steps,
            device=arguments.device,
            precision=arguments.precision,
            weights=arguments.weights,
            memory_bytes=2 << 30,
        )
        described = f"{planet.info().device}, batches of {planet.compute.batch} windows"
        planet.read(6, 4000, 6000, 1024, 1024)  # the first calls choose algorithms
        rows.append(planet_row(planet, arguments.areas))
    headers = ["steps", f"tiles/s, {AREA} x {AREA} tiles at zoom 14, warm parents", "zoom-18 tile warm, ms"]
    report.add(table([*headers, "cold, ms", "cold, worst, ms", "cold / warm"], rows))
    report.add(f"{described}. Medians; 256 px tiles; pixels on the host, not encoded.")


if __name__ == "__main__":
    main()
