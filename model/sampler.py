"""The sampler: a deterministic second-order solver of the flow-matching ODE, one denoiser call a step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

MIN_STEPS, MAX_STEPS = 1, 16

Predict = Callable[[Tensor, float], Tensor]
"""(noisy residual z at time t, t) -> predicted clean residual."""


def times(steps: int) -> list[float]:
    """The solver's times, from 1 (noise) to 0 (image), ``steps + 1`` of them: (1 - i/steps)^p, more of them at high noise."""
    power = 0.6 if steps <= 12 else 0.7
    return [(1 - i / steps) ** power for i in range(steps)] + [0.0]


def sample(predict: Predict, noise: Tensor, steps: int) -> Tensor:
    """Integrate dz/dt = (z - r(z, t)) / t from t = 1 to 0 and return the residual, like ``noise``.

    Two-step Adams-Bashforth on the non-uniform `times` (second order at one call a step; the first step is Euler's), after the
    probability-flow view of arXiv 2206.00364. The last step lands on the denoiser's own prediction. No fresh noise is drawn.
    """
    grid = times(steps)
    z = noise
    earlier: Tensor | None = None
    for i in range(steps):
        t, s = grid[i], grid[i + 1]
        clean = predict(z, t)
        if s == 0:
            return clean
        velocity = (z - clean) / t
        width = t - s
        if earlier is None:
            z = z - width * velocity
        else:
            ratio = width / (2 * (grid[i - 1] - t))
            z = z - width * ((1 + ratio) * velocity - ratio * earlier)
        earlier = velocity
    return z
