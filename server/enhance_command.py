"""`metaearth enhance`: the cascade on any picture of the user's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model.enhance import enhance
from server.failures import CommandError
from server.render_command import picture_extension, write_picture
from server.settings import Settings

MAX_STAGES = 6


def enhance_file(settings: Settings, image: Path, gsd: float, stages: int, output: Path) -> str:
    """Writes `image` 4**stages times larger a side to `output`; returns a line about it.

    `gsd` is the ground resolution of `image` in metres per pixel. Raises `CommandError` and `ModelError`.
    """
    if not (math.isfinite(gsd) and gsd > 0):
        raise CommandError(f"--gsd must be metres per pixel above 0, not {gsd}.")
    if not 1 <= stages <= MAX_STAGES:
        raise CommandError(f"--stages must be 1 to {MAX_STAGES}, not {stages}.")
    pixels = _open(image)
    factor = 4**stages
    extension = picture_extension(output, pixels.shape[1] * factor, pixels.shape[0] * factor)
    with tqdm(unit="block", desc=str(output)) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        larger = enhance(
            pixels,
            gsd,
            stages,
            steps=settings.steps,
            seed=settings.seed,
            weights=settings.weights,
            device=settings.device,
            precision=settings.precision,
            progress=progress,
        )
    write_picture(settings, larger, extension, output)
    return f"{output}: {larger.shape[1]} x {larger.shape[0]} pixels at {gsd / factor:g} m"


def _open(image: Path) -> NDArray[np.uint8]:
    """The picture as uint8 RGB [h, w, 3]; raises `CommandError` if it is not one."""
    try:
        with Image.open(image) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "it does not exist" if not image.exists() else "it is not a picture that Pillow reads"
        raise CommandError(f"{image} cannot be read: {reason}.") from error
