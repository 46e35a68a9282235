"""Averages two weights files of one line of training: flatter minima, and less of what only one of them has learned.

    python -m model.training.average A B --share 0.5 [--keep middle] --out FILE

Weights tuned on from the same start can be averaged (arXiv 2109.01903, 2203.05482): between them the loss is no higher. The
amplitudes of detail are not averaged but dropped, to be measured again (`model.training.calibrate`). Some modules can be kept
from the first: the branch at 1/8, `middle`, decides how far the network reaches, which the halo bounds (`tests/test_halo.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from model.errors import WeightsError
from model.training.warm_start import modules_named
from model.weights import AMPLITUDES, TUNED_STEPS, load_weights, save_weights


def average(first: Path, second: Path, share: float, out: Path, keep: Sequence[str] = ()) -> None:
    """Writes (1 - ``share``) ``first`` + ``share`` ``second`` to ``out``; modules of `Denoiser` in ``keep`` stay the first's.

    It is tuned for the numbers of steps that both are tuned for. Raises `WeightsError` if they are of different networks, if
    there is no such number and one is tuned, or if the network has no such module.
    """
    one, other = load_weights(first), load_weights(second)
    tuned = [set(weights.metadata.get(TUNED_STEPS, "").split()) for weights in (one, other)]
    both = sorted(tuned[0] & tuned[1], key=int)
    if one.denoiser.config != other.denoiser.config or bool(both) != any(tuned):
        raise WeightsError(f"{first} and {second} are not of the same network and tuning; average two of one line of training.")
    left, right = one.denoiser.state_dict(), other.denoiser.state_dict()
    modules_named(one.denoiser, keep)
    state = {name: left[name] if name.split(".")[0] in keep else left[name].lerp(right[name], share) for name in left}
    provenance = {name: text for name, text in other.provenance.items() if name != AMPLITUDES}
    recipes = [weights.metadata.get("recipe", "?") for weights in (one, other)]
    kept = f", {' and '.join(keep)} of the first" if keep else ""
    provenance["recipe"] = f"{1 - share:g} x ({recipes[0]}) + {share:g} x ({recipes[1]}){kept}"
    if both:
        provenance[TUNED_STEPS] = " ".join(both)
    save_weights(out, state, one.denoiser.config, provenance)


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.average``."""
    parser = argparse.ArgumentParser(description="Average two weights files of one line of training.")
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="weight of the second")
    parser.add_argument("--keep", nargs="+", default=[], help="modules of the network to take from the first as they are")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        average(options.first, options.second, options.share, options.out, options.keep)
    except WeightsError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
