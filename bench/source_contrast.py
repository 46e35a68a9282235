"""How much calmer the Blue Marble is than finer imagery of the same regions at the same ground resolution, octave by octave.

    python -m bench.source_contrast --imagery FOLDER

Medium images are box-averaged to the Blue Marble's pixels; as large a part of its nearest block stands beside. Printed are
standard deviations of what 2x2 averaging removes, in grey levels, and the ratio of both, before and after `bridge_contrast`,
which was made to this. The regions are all of those whose image is far from the sea and at most 450 km from a block.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.grid import lonlat_to_pixel
from model.store import Pixels
from model.tone import tone_blue_marble
from model.training.bridge import bridge_contrast

REGIONS = {
    "medium/landsat8_300m_quebec-scene_1.jpg": (46.0, -73.5),
    "medium/sentinel2_100m_bavaria-T32UQV_1.jpg": (48.3, 12.5),
    "medium/sentinel2_100m_danube-T33UVP_1.jpg": (48.3, 15.5),
    "medium/sentinel2_53m_lacleman-alps_1.jpg": (46.4, 6.6),
    "medium/sentinel2_73m_betsiboka-madagascar_1.jpg": (-15.9, 46.4),
    "medium/landsat8_140m_rockymountains-usa_1.jpg": (40.35, -105.7),
    "medium/landsat9_68m_villarrica-chile_1.jpg": (-39.4, -71.9),
}
"""Image, and where it lies: latitude, longitude."""
OCTAVES = 4


def octaves(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    """Standard deviations of what averaging by 2, once more and so on removes from [H, W, 3]'s luminance: [`OCTAVES`]."""
    grey = picture.astype(float).mean(-1)
    found = []
    for _ in range(OCTAVES):
        height, width = (side // 2 * 2 for side in grey.shape)
        grey = grey[:height, :width]
        mean = grey.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
        found.append((grey - mean.repeat(2, 0).repeat(2, 1)).std())
        grey = mean
    return np.array(found)


def marble_blocks(folder: Path) -> list[dict[str, str]]:
    """The rows of the index of the Blue Marble's 500 m imagery."""
    return list(csv.DictReader((folder / "coarse" / "index.csv").open(newline="")))


def toned_block(folder: Path, block: dict[str, str]) -> Pixels:
    """Its picture, uint8 [H, W, 3], in the tone of the other sources."""
    return tone_blue_marble(np.asarray(Image.open(folder / "coarse" / block["file"]).convert("RGB")))


def main() -> None:
    """Measures and prints a Markdown table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--imagery", type=Path, required=True)
    folder: Path = options.parse_args().imagery
    manifest = {row["file"]: float(row["gsd_m"]) for row in csv.DictReader((folder / "manifest.csv").open(newline=""))}
    blocks = marble_blocks(folder)
    print("| region | m/px | medium | Blue Marble | bridged |\n|---|---|---|---|---|")
    ratios: dict[str, list[NDArray[np.float64]]] = {"before": [], "after": []}
    for name, place in REGIONS.items():
        block = min(blocks, key=lambda row: _distance(row, place))
        gsd = float(block["gsd_m"])
        image = Image.open(folder / name).convert("RGB")
        size = tuple(int(side * manifest[name] / gsd) for side in image.size)
        finer = np.asarray(image.resize((size[0], size[1]), Image.Resampling.BOX))
        toned = toned_block(folder, block)
        top, left = _corner(block, place, finer.shape)
        here = (slice(top, top + finer.shape[0]), slice(left, left + finer.shape[1]))
        medium, before, after = octaves(finer), octaves(toned[here]), octaves(bridge_contrast(toned, gsd)[here])
        ratios["before"].append(medium / before)
        ratios["after"].append(medium / after)
        print(f"| {Path(name).stem} | {gsd:.0f} | {_row(medium)} | {_row(before)} | {_row(after)} |")
    for when, found in ratios.items():
        print(f"\nmedium / Blue Marble, median {when}, by octave from the finest: {_row(np.median(found, 0))}")


def _distance(block: dict[str, str], place: tuple[float, float]) -> float:
    east = (float(block["center_lon"]) - place[1]) * math.cos(math.radians(place[0]))
    return math.hypot(float(block["center_lat"]) - place[0], east)


def _corner(block: dict[str, str], place: tuple[float, float], shape: tuple[int, ...]) -> tuple[int, int]:
    """Where to cut ``shape`` out of the block, as near to the place as the block reaches."""
    zoom, side = int(block["zoom"]), int(block["size_px"])
    x, y = lonlat_to_pixel(place[1], place[0], zoom)
    found = []
    for at, corner, length in ((y, block["tile_y"], shape[0]), (x, block["tile_x"], shape[1])):
        found.append(int(np.clip(at - int(corner) * 256 - length / 2, 0, side - length)))
    return found[0], found[1]


def _row(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    main()
