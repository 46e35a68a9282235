"""Share of the convolution floor: the time of a denoiser call's bare convolutions over the time of the
whole call.

The floor is the same convolutions (shapes, strides, number format, channels_last) run back to back through
torch.nn.functional.conv2d, with nothing between them. Everything else in a call - embedding, FiLM, SiLU,
residual sums, pixel shuffles, concatenations, casts - is what the share falls short of 100 %. Calls and
floors take turns, so that a machine that slows down slows both. The same convolutions in the other number
format tell which one this processor should compute in. What the noise of land costs, with the register in it (once
a window, whatever the steps), is put beside a call.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.report import Report, parser, seconds, table
from model.denoiser import ALIGNMENT, Denoiser
from model.engine import HALO
from model.inference import InferenceDenoiser
from model.land_use import LAND_MARGIN
from model.noise import STREAM_SAMPLER, world_noise
from model.parcels import Register, lay
from model.precision import choose_compute
from model.stage import to_unit
from model.store import BLOCK

SIDE = BLOCK + 2 * HALO
CALL = "denoiser call, one ground resolution (zoom 12 to 20)"
NOISES = {"noise of farmed land": (83, 93, 65), "noise of level steppe": (140, 125, 105), "noise of sand": (215, 185, 140)}
"""With parcels; with relief and parcels, which is all that there can be; and with relief alone."""


@dataclass(frozen=True)
class Convolution:
    """One convolution of a denoiser call: input [batch, channels, side, side], weight and padding."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    padding: int

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        batch, _, height, width = self.x.shape
        return 2 * batch * height * width * self.weight.numel()

    def on(self, device: torch.device, dtype: torch.dtype, batch: int) -> Convolution:
        """The same convolution of `batch` random windows as large, on a device and in a number format."""
        last = torch.channels_last
        x = torch.randn(batch, *self.x.shape[1:], device=device).to(dtype).contiguous(memory_format=last)
        weight = self.weight.to(device, dtype).contiguous(memory_format=last)
        return Convolution(x, weight, None if self.bias is None else self.bias.to(device, dtype), self.padding)

    def __call__(self) -> Tensor:
        return F.conv2d(self.x, self.weight, self.bias, padding=self.padding)


def random_denoiser() -> Denoiser:
    """A denoiser of the shipped shape with random weights: zeros could be quicker than real ones."""
    torch.manual_seed(0)
    denoiser = Denoiser()
    with torch.no_grad():
        for module in denoiser.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.5 * module.weight[0].numel() ** -0.5)
    return denoiser


def denoiser_inputs(batch: int, rows: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, float, Tensor]:
    """Random arguments of `InferenceDenoiser` for `batch` windows with `rows` ground resolutions each."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
    parent = torch.rand(batch, 3, SIDE // 4, SIDE // 4, generator=generator) * 2 - 1
    level = torch.full((batch, 1, SIDE // 4, SIDE // 4), 0.5)
    gsd = torch.from_numpy(np.linspace(6, 6.1, rows, dtype=np.float32)).expand(batch, rows).contiguous()
    return x.to(device), parent.to(device), level.to(device), 0.7, gsd.to(device)


def record_convolutions(denoiser: Denoiser) -> list[Convolution]:
    """The convolutions of one call on one random window, in order, in float32 on the CPU."""
    found: list[Convolution] = []

    def record(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(layer.padding[0], int)
        bias = None if layer.bias is None else layer.bias.detach()
        found.append(Convolution(arguments[0].detach(), layer.weight.detach(), bias, layer.padding[0]))

    hooks = [m.register_forward_pre_hook(record) for m in denoiser.modules() if isinstance(m, nn.Conv2d)]
    x, parent, level, t, gsd = denoiser_inputs(1, 1, torch.device("cpu"))
    with torch.inference_mode():
        denoiser(x, parent, level, torch.full((1,), t), gsd)
    for hook in hooks:
        hook.remove()
    return found


def laid_noise(colour: tuple[int, int, int], batch: int, device: torch.device) -> Tensor:
    """The noise of `batch` windows at zoom 14 of nothing but land of one colour."""
    rows = np.arange(SIDE) + (90 << 14)
    land = to_unit(torch.tensor(colour, dtype=torch.uint8, device=device))[:, None, None]
    parents = land.expand(batch, 3, *(SIDE // 4 + 2 * LAND_MARGIN,) * 2)
    noise = torch.stack([world_noise(0, 14, STREAM_SAMPLER, rows, rows, device)] * batch)
    register = Register(14, np.ones(1, np.float32), np.zeros((2, SIDE, SIDE), np.float32))
    return lay(noise, parents, [(0, register, rows, rows)] * batch).noise


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15, help="turns of call and floor (default 15)")
    options.add_argument("--batch", type=int, default=1, help="windows in a call (default 1, as served on a CPU)")
    options.add_argument("--least", type=float, default=0.2, help="seconds that each turn measures (default 0.2)")
    arguments = options.parse_args()
    report = Report(f"Share of the convolution floor, windows of {SIDE} x {SIDE} px", arguments.out)

    compute = choose_compute("cpu")
    denoiser = random_denoiser()
    convolutions = record_convolutions(denoiser)
    floors = {
        "bf16": [c.on(compute.device, torch.bfloat16, arguments.batch) for c in convolutions],
        "fp32": [c.on(compute.device, torch.float32, arguments.batch) for c in convolutions],
    }
    inference = InferenceDenoiser(denoiser, compute)
    one = denoiser_inputs(arguments.batch, 1, compute.device)
    by_row = denoiser_inputs(arguments.batch, SIDE // ALIGNMENT, compute.device)

    timed: dict[str, Callable[[], object]] = {
        CALL: lambda: inference(*one),
        "denoiser call, one per 8 rows (zoom 6 to 10)": lambda: inference(*by_row),
        **{name: partial(laid_noise, colour, arguments.batch, compute.device) for name, colour in NOISES.items()},
        "bare convolutions, bf16": lambda: [c() for c in floors["bf16"]],
        "bare convolutions, fp32": lambda: [c() for c in floors["fp32"]],
    }
    for warm_up in timed.values():
        warm_up()
    rounds = [{name: seconds(function, arguments.least) for name, function in timed.items()} for _ in range(arguments.rounds)]
    floor = f"bare convolutions, {compute.precision}"
    flops = sum(c.flops for c in floors["fp32"])
    rows = []
    for name in timed:
        taken = statistics.median(turn[name] for turn in rounds)
        share = statistics.median(turn[floor] / turn[name] for turn in rounds)
        cell = f"{100 * share:.0f} %" if "call" in name else ""
        rows.append([name, 1000 * taken, "" if name in NOISES else flops / taken / 1e9, cell])
    report.add(table(["", "ms", "GFLOP/s of convolutions", f"share of the floor ({compute.precision})"], rows))
    ratio = statistics.median(turn["bare convolutions, bf16"] / turn["bare convolutions, fp32"] for turn in rounds)
    noises = (100 * statistics.median(turn[name] / turn[CALL] for turn in rounds) for name in NOISES)
    report.add(
        f"Computed in {compute.precision} with {compute.threads} threads; {flops / 1e9:.1f} GFLOP of "
        f"convolutions a call. The bf16 convolutions take {ratio:.2f} times as long as the fp32 ones. Aim: 60 %. "
        f"These noises take {', '.join(f'{share:.0f}' for share in noises)} % of a call, once a window."
    )


if __name__ == "__main__":
    main()
