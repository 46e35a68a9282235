"""Tuning for few steps: the energy score of what the sampler draws, whole, against the real picture.

Flow matching teaches the denoiser posterior means, which a solver of many steps turns into a sample and one of two steps does
not. Here the sampler is run as it serves, on a parent as it serves, twice with different noise, and the two pictures g, g' are
scored against the real one x by the fair energy score (Gneiting and Raftery 2007; as a training loss arXiv 2307.00835 and, for
weather, arXiv 2506.10772):

    (|x - g| + |x - g'|) / 2 - |g - g'| / 2

which is least in expectation when g is drawn from the distribution of x given the parent: no teacher, no critic, nothing to
balance. `model.training.scores` has the distances. Beside it stands how far the network reaches, which the halo bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from model.contrast import AMPLITUDE_MARGIN, Amplitudes
from model.denoiser import MAX_CONDITION_LEVEL, RESIDUAL_SCALE
from model.guidance import LEVEL_REACH, condition_level
from model.precision import autocast_type, autocasting
from model.sampler import TUNED_CARRY, sample, times
from model.stage import detail, enlarge, project, shade, to_bytes, to_unit
from model.training.balance import Balance, batch_contrasts, nearness
from model.training.critic import Adversary
from model.training.loss import fade, normal
from model.training.scores import Statistics, direction_score, energy_score, evenness_score, statistics, statistics_score
from model.training.sites import Sites
from model.training.sketches import Sketches
from model.weights import Weights

MARGIN = 16
"""Child pixels at each border left out of the score, as many as padding and made-up surroundings may show in."""
EVENNESS_WEIGHT = 0.6
"""Of the score of energies' logarithms beside all others, which rough places rule: how calm the calm ones are decides how
clumped a chain becomes."""
DIRECTION_WEIGHT = 0.1
"""Of the score of shares of energy by direction beside all others."""
STATISTICS_WEIGHT = 0.4
"""Of the score of statistics of whole pictures beside all others."""
BALANCE_WEIGHT = 3.0
"""Of what is lacking in contrast, by ground resolution (`model.training.balance`), beside all scores."""
REACH_WEIGHT = 8.0
"""Of what a window's pixels change by, in grey levels, when what lies beyond `REACH` is cut away (`reach`)."""
REACH = 40
"""Child pixels that training lets it reach: less than the halo of 48, for the worst place counts and this is a mean."""
REACH_CUT = 64
"""Child pixels that are cut away."""
REACH_EVERY = 16
"""Pictures of a batch for each whose reach is looked at."""
LEVELS = (0.4, 2.0)
"""Range of factors by which the noise that parents carry is less or more than it is when served: what serves best can then be
chosen afterwards."""
SKETCHED = 0.7
"""Share of the batches of real crops whose noise takes in sketches of them; that of the others has parcels at random."""


def energy_loss(
    run: Run,
    child: Tensor,
    log2_gsd: Tensor,
    generator: torch.Generator,
    generations: int = 0,
    amplitudes: Amplitudes | None = None,
    adversary: Adversary | None = None,
    whole: Tensor | None = None,
    notes: dict[str, float] | None = None,
    balance: Balance | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss of one batch of ``run`` on real crops ``child`` [B, 3, S, S] with their resolutions [B]; S is a multiple of 32.

    ``generations``: how many stages above the child the sampler makes itself, each of the two samples its own: what a chain
    goes through. They are as they are served, with ``amplitudes`` and a share of their colour; the scored stage is not, or the
    network would learn to make up for both. With none the parents are the true ones, in half of the batches faded (`fade`);
    with two, S is a multiple of 128 and only a window of half the side is scored. ``adversary`` adds its gradients
    (`model.training.critic`), of the crops that are ``whole`` [B]. Returns (loss, score [B], the enlarged parent's score [B],
    ones [B]), so that the log shows the share of the bicubic's score that is left; ``notes`` keeps running
    means of `reach` and of the gaps between `statistics`, and ``balance`` of the contrast that the network makes.
    """
    parent = F.avg_pool2d(child, 4)
    batch, draw = child.shape[0], generator.device
    twice = log2_gsd.repeat(2)

    least, most = (math.log(factor) for factor in LEVELS)
    distrust = torch.rand(batch, 1, 1, 1, generator=generator, device=draw) * (most - least) + least
    distrust = distrust.exp().repeat(2, 1, 1, 1).to(child.device)

    sketched = torch.rand((), generator=generator, device=draw).item() < SKETCHED
    sites = Sketches.draw(child, generator) if sketched else Sites.draw(twice, generator)
    if generations == 0:
        faded = torch.rand((), generator=generator, device=draw).item() < 0.5
        low = rounded(fade(parent, generator) if faded else parent).repeat(2, 1, 1, 1)
    else:
        with torch.no_grad():
            start = rounded(F.avg_pool2d(parent, 4**generations)).repeat(2, 1, 1, 1)
            low = list(run.chain(start, twice + 2, generations, generator, amplitudes, distrust, sites.above(1)))[-1]
    if generations > 1:
        side = parent.shape[2] // 2
        top, left = (int(torch.randint(side // 2 + 1, (), generator=generator, device=draw)) * 2 for _ in range(2))
        low, parent = (v[..., top : top + side, left : left + side] for v in (low, parent))
        sites = sites.moved(4 * top, 4 * left)
        child = child[..., 4 * top : 4 * (top + side), 4 * left : 4 * (left + side)]
    inputs = Inputs.draw(low, twice, generator, distrust, sites)
    residual = run.residual(inputs)
    pictures = run.picture(inputs, residual, colour=1.0), enlarge(parent), child
    made, upper, child = (image[..., MARGIN:-MARGIN, MARGIN:-MARGIN] for image in pictures)
    # By what the parent holds, never by what the child does: that would shift what the score is least for.
    weight = 1 / (detail(parent).square().mean((1, 2, 3)).sqrt() + 0.03)
    near = nearness(log2_gsd)
    balance = balance or Balance()
    loss, score, ceiling, gaps = run.judge(
        child, upper, made[:batch], made[batch:], weight, near, balance.pull().to(near.device)
    )
    balance.add(gaps.pop("contrasts"), near)
    (wanted,) = torch.autograd.grad(loss, made)
    if adversary is not None:
        wanted = wanted + adversary.pull(wanted, child, made.detach(), log2_gsd, generator, whole)
    corner = int(torch.randint(4, (), generator=generator, device=draw))
    far = reach(run, inputs.first(-(-batch // REACH_EVERY)), corner)
    if notes is not None:
        _note(notes, {"reach": far.detach(), **gaps})
    pulled = (made * wanted).sum()  # of the wanted gradients
    loss = loss.detach() + pulled - pulled.detach() + REACH_WEIGHT * far
    return loss, score, ceiling, torch.ones_like(score)


Judged = tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]
"""What `judge` returns; only the first has gradients."""


def judge(child: Tensor, upper: Tensor, one: Tensor, other: Tensor, weight: Tensor, near: Tensor, pull: Tensor) -> Judged:
    """All scores of two samples ``one`` and ``other`` for ``child``, all [B, 3, S, S]: (their sum, the energy score [B], that
    of ``upper``, the enlarged parent, [B], gaps between `statistics` and `batch_contrasts`). ``weight`` [B]: of the energy
    score; ``near`` [B, K] and ``pull`` [2, K]: what crops count for at each resolution, and contrast that is made there
    (`model.training.balance`)."""
    score = energy_score(child, one, other)
    loss = (score * weight).mean() / 10
    loss = loss + EVENNESS_WEIGHT * evenness_score(child, one, other).mean()
    loss = loss + DIRECTION_WEIGHT * direction_score(child, one, other).mean()
    found = [statistics(image) for image in (child, one, other)]
    loss = loss + STATISTICS_WEIGHT * statistics_score(*found).mean()
    sums = batch_contrasts(child, one, other, near)
    loss = loss + BALANCE_WEIGHT * (pull * sums[1]).sum()
    with torch.no_grad():
        gaps = _gaps(*found[:2]) | {"contrasts": sums.detach()}
        return loss, score.detach(), energy_score(child, upper, upper), gaps


def captured_judge(batch: int, side: int, device: str) -> Callable[..., Judged]:
    """`judge` for ``batch`` crops of ``side`` px as a CUDA graph: it is thousands of small kernels, which take longer to launch
    than to run."""
    shape = (batch, 3, side - 2 * MARGIN, side - 2 * MARGIN)
    pictures = [torch.rand(shape, device=device, requires_grad=sampled) for sampled in (False, False, True, True)]
    weight, near = torch.ones(batch, device=device), nearness(torch.zeros(batch, device=device))
    pull = torch.zeros(2, near.shape[1], device=device)
    captured = torch.cuda.make_graphed_callables(judge, (*pictures, weight, near, pull))

    def judged(*given: Tensor) -> Judged:
        loss, score, ceiling, gaps = cast(Callable[..., Judged], captured)(*given)
        # A graph gives all that it returns gradients.
        return loss, score.detach(), ceiling.detach(), {name: gap.detach() for name, gap in gaps.items()}

    return judged


@dataclass(frozen=True)
class Inputs:
    """What one stage draws for ``parent`` [B, 3, h, w]: as the network sees it, ``seen``, with noise of the level ``plane``
    [B, 1, h, w], in units of the highest; and the ``noise`` [B, 3, 4h, 4w] to start from."""

    parent: Tensor
    seen: Tensor
    plane: Tensor
    noise: Tensor
    log2_gsd: Tensor

    @staticmethod
    def draw(
        parent: Tensor,
        log2_gsd: Tensor,
        generator: torch.Generator,
        distrust: Tensor | float = 1.0,
        sites: Sites | Sketches | None = None,
    ) -> Inputs:
        """As `model.engine` does, but with padded borders; ``distrust`` [B, 1, 1, 1]: times the noise in parents; ``sites``:
        where the children lie (default: at random)."""
        wide = F.pad(parent, (LEVEL_REACH,) * 4, mode="reflect")
        level = (distrust * condition_level(wide, LEVEL_REACH, log2_gsd[:, None])).clamp(max=MAX_CONDITION_LEVEL)
        shape = (*parent.shape[:2], 4 * parent.shape[2], 4 * parent.shape[3])
        doubt, noise = (normal(size, generator, parent.device) for size in (parent.shape, shape))
        noise = (sites or Sites.draw(log2_gsd, generator)).lay(noise, parent)
        return Inputs(parent, parent + level * doubt, level / MAX_CONDITION_LEVEL, noise, log2_gsd)

    def first(self, count: int) -> Inputs:
        """Those of the first ``count`` pictures."""
        return Inputs(*(getattr(self, field.name)[:count] for field in fields(self)))

    def cut(self, rows: slice, columns: slice) -> Inputs:
        """Those of a window, in pixels of the parent."""
        parent, seen, plane = (v[..., rows, columns] for v in (self.parent, self.seen, self.plane))
        noise = self.noise[..., 4 * rows.start : 4 * rows.stop, 4 * columns.start : 4 * columns.stop]
        return replace(self, parent=parent, seen=seen, plane=plane, noise=noise)


@dataclass(frozen=True)
class Run:
    """A denoiser and its sampler's ``steps``; ``judge``: of what it draws, as it is or captured (`captured_judge`)."""

    denoiser: Callable[..., Tensor]
    autocast: torch.dtype | None
    steps: int
    carry: float
    judge: Callable[..., Judged] = judge

    @classmethod
    def of(cls, weights: Weights, steps: int) -> Run:
        """On the CPU, of a weights file."""
        return cls(weights.denoiser, autocast_type("cpu"), steps, TUNED_CARRY if weights.carry is None else weights.carry)

    def residual(self, inputs: Inputs) -> Tensor:
        """What the sampler draws, [B, 3, 4h, 4w]. Only its last prediction has gradients: what those before it say, posterior
        means, is taken as it comes."""
        device, last = inputs.parent.device, times(self.steps)[-2]
        seen, plane = (v.contiguous(memory_format=torch.channels_last) for v in (inputs.seen, inputs.plane))

        def predict(z: Tensor, t: float) -> Tensor:
            now = torch.full((len(z),), t, device=device)
            z = z.contiguous(memory_format=torch.channels_last)
            with torch.set_grad_enabled(t == last and torch.is_grad_enabled()), autocasting(device, self.autocast):
                return self.denoiser(z, seen, plane, now, inputs.log2_gsd[:, None]).float()

        return sample(predict, inputs.noise, self.steps, self.carry)

    def stage(
        self,
        parent: Tensor,
        log2_gsd: Tensor,
        generator: torch.Generator,
        amplitudes: Amplitudes | None = None,
        distrust: Tensor | float = 1.0,
        sites: Sites | Sketches | None = None,
    ) -> Tensor:
        """As `model.engine` runs it, but with gradients and padded borders: parents [B, 3, h, w] -> [B, 3, 4h, 4w]."""
        inputs = Inputs.draw(parent, log2_gsd.float(), generator, distrust, sites)
        return self.picture(inputs, self.residual(inputs), amplitudes)

    def chain(
        self,
        image: Tensor,
        log2_gsd: Tensor,
        depth: int,
        generator: torch.Generator,
        amplitudes: Amplitudes | None = None,
        distrust: Tensor | float = 1.0,
        sites: Sites | Sketches | None = None,
    ) -> Iterator[Tensor]:
        """What each of ``depth`` stages makes below ``image`` [B, 3, h, w], rounded as it is kept between them; ``log2_gsd``
        [B] is the last one's resolution, and ``sites`` are where it lies (default: at random)."""
        sites = sites or Sites.draw(log2_gsd, generator)
        for below in range(depth - 1, -1, -1):
            at = sites.above(below)
            image = rounded(self.stage(image, log2_gsd + 2 * below, generator, amplitudes, distrust, at))
            yield image

    def picture(
        self, inputs: Inputs, residual: Tensor, amplitudes: Amplitudes | None = None, colour: float | None = None
    ) -> Tensor:
        """The child [B, 3, 4h, 4w] on [-1, 1]; ``colour``: the share of it that is kept (`model.stage.shade`)."""
        parent = inputs.parent
        if amplitudes is not None:
            wide = F.pad(parent, (AMPLITUDE_MARGIN,) * 4, mode="reflect")
            residual = amplitudes.scale(residual, wide, inputs.log2_gsd[:, None])
        upper = enlarge(parent)
        return project(upper + RESIDUAL_SCALE * shade(residual, upper, colour), parent)


def reach(run: Run, inputs: Inputs, corner: int) -> Tensor:
    """By how many grey levels pixels change when what lies more than `REACH` from them is cut away on the two sides of a corner
    (0 to 3): a mean of fourth powers, for the worst places count. In float32: in bf16 the windows' sizes change the rounding by
    fifty times as much."""
    side, cut, near = 4 * inputs.parent.shape[2], REACH_CUT, REACH_CUT + REACH
    if side <= near:
        return inputs.parent.new_zeros(())
    exact = replace(run, autocast=None)

    def kept(start: int) -> tuple[slice, slice]:
        rows, columns = (slice(start, side) if corner >> axis & 1 else slice(0, side - start) for axis in (0, 1))
        return rows, columns

    rows, columns = kept(cut)
    alone = exact.residual(inputs.cut(slice(rows.start // 4, rows.stop // 4), slice(columns.start // 4, columns.stop // 4)))
    # Of both, what has all that it may see in the window.
    rows, columns = kept(near)
    there = exact.residual(inputs)[..., rows, columns]
    top, left = (REACH if corner >> axis & 1 else 0 for axis in (0, 1))
    here = alone[..., top : top + there.shape[2], left : left + there.shape[3]]
    change = (here - there) * RESIDUAL_SCALE * 127.5
    return (change.pow(4).mean((1, 2, 3)) + 1e-12).pow(0.25).mean()


def _gaps(real: Statistics, made: Statistics) -> dict[str, Tensor]:
    """By how much the statistics of what is made exceed the real ones; of headings, which sum to 0, their sizes."""

    def level(name: str, values: Tensor) -> Tensor:
        return (values.square().mean(1).sqrt() if name == "heading" else values).mean()

    return {name: level(name, values) - level(name, real[name]) for name, values in made.items()}


def _note(notes: dict[str, float], values: dict[str, Tensor]) -> None:
    for name, value in zip(values, torch.stack(list(values.values())).tolist(), strict=True):
        notes[name] = 0.98 * notes.get(name, value) + 0.02 * value


def rounded(image: Tensor) -> Tensor:
    """``image`` on [-1, 1] as it is kept between stages: in whole grey levels."""
    return to_unit(to_bytes(image))
