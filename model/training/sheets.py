"""Contact sheets: rows of labelled pictures, drawn with Pillow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.store import Pixels

_INK, _PAPER = (20, 20, 20), (250, 250, 250)
_LABEL_WIDTH, _HEAD, _GAP = 120, 22, 4


@dataclass
class Sheet:
    """A grid of square pictures: column names on top, a row's name at its left."""

    title: str
    columns: list[str]
    side: int
    rows: list[tuple[str, list[Pixels]]] = field(default_factory=list)

    def add(self, name: str, pictures: list[Pixels]) -> None:
        """A row: uint8 [h, w, 3] for each column, enlarged by repetition to the sheet's side where smaller."""
        self.rows.append((name, [_fitted(picture, self.side) for picture in pictures]))

    def write(self, path: Path) -> None:
        """Draw and save; the format follows from the name. Nothing is written for a sheet without rows."""
        if not self.rows:
            return
        width = _LABEL_WIDTH + len(self.columns) * (self.side + _GAP)
        image = Image.new("RGB", (width, 2 * _HEAD + len(self.rows) * (self.side + _GAP)), _PAPER)
        pen = ImageDraw.Draw(image)
        font = ImageFont.load_default(13)
        pen.text((4, 3), self.title, _INK, font=font)
        for number, column in enumerate(self.columns):
            pen.text((_LABEL_WIDTH + number * (self.side + _GAP), _HEAD + 3), column, _INK, font=font)
        for row, (name, pictures) in enumerate(self.rows):
            top = 2 * _HEAD + row * (self.side + _GAP)
            pen.multiline_text((4, top + 4), name, _INK, font=font)
            for number, picture in enumerate(pictures):
                image.paste(Image.fromarray(picture), (_LABEL_WIDTH + number * (self.side + _GAP), top))
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=92)


def _fitted(picture: Pixels, side: int) -> Pixels:
    times = max(1, side // len(picture))
    return np.ascontiguousarray(picture.repeat(times, 0).repeat(times, 1)[:side, :side])
