"""Renders the pictures of the README and docs: one place at many zooms, many places, and one resolution told or another.

    python -m bench.pictures --out docs/images

Every picture is `planet.read` at the given number of steps, unretouched; labels tell zoom and ground resolution.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mercantile
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model import Planet, open_planet
from model.enhance import enhance
from model.grid import ground_resolution, world_size

STRIP = ("Deccan", 77.033, 14.516)
PLACES = (
    ("Alps", 7.62, 45.95, 8),
    ("Sahara", 9.3, 24.5, 10),
    ("London", -0.13, 51.515, 12),
    ("Nile delta", 31.0, 30.9, 7),
    ("Himalaya", 86.9, 28.0, 8),
    ("Iowa", -93.563, 42.132, 15),
    ("Greenland", -50.0, 67.2, 9),
    ("New York", -74.0, 40.72, 16),
)
"""Name, longitude, latitude, zoom: names say where on the globe it is, not what is there."""

GUIDED = ("Sahara", "Alps", "Amazon", "Iowa")
"""Places of `GALLERY` whose pixels are rendered as 10 m and as 1 m."""

GALLERY = (
    ("Sahara", 9.3, 24.5),
    ("Amazon", -62.0, -4.5),
    ("Alps", 7.62, 45.95),
    ("Po valley", 10.5, 45.1),
    ("Dutch coast", 4.3, 52.1),
    ("Siberia", 95.0, 62.0),
    ("Himalaya", 86.9, 28.0),
    ("Great Barrier Reef", 146.5, -18.5),
    ("Nile delta", 31.0, 30.9),
    ("Iowa", -93.5, 42.1),
    ("Greenland's edge", -50.0, 67.2),
    ("open Pacific", -150.0, 10.0),
)


def view(planet: Planet, longitude: float, latitude: float, zoom: int, side: int, label: str = "") -> Image.Image:
    """A square picture of `side` px around a place, labelled at the bottom."""
    size = world_size(zoom)
    x, y = (round(part * size) for part in _fraction(longitude, latitude))
    picture = Image.fromarray(planet.read(zoom, x - side // 2, y - side // 2, side, side))
    gsd = float(ground_resolution(zoom, np.array([y]))[0])
    unit = f"{gsd / 1000:.2g} km" if gsd >= 1000 else f"{gsd:.0f} m" if gsd >= 10 else f"{gsd:.2g} m"
    draw = ImageDraw.Draw(picture)
    text = f"{label}  z{zoom}  {unit}/px".strip()
    draw.text((6, side - 18), text, "white", ImageFont.load_default(12), stroke_width=2, stroke_fill="black")
    return picture


def guidance(planet: Planet, zoom: int = 12, side: int = 48) -> Image.Image:
    """The same parent pixels, `side` of them at `zoom`, in rows: enlarged by bicubic, rendered as 10 m a pixel, as 1 m, and as
    1 m with other noise."""
    places = {name: place for name, *place in GALLERY}
    pictures = []
    for longitude, latitude in (places[name] for name in GUIDED):
        x, y = (round(part * world_size(zoom)) for part in _fraction(longitude, latitude))
        parent = planet.read(zoom, x - side // 2, y - side // 2, side, side)
        pictures.append(Image.fromarray(parent).resize((4 * side, 4 * side), Image.Resampling.BICUBIC))
        for gsd, seed in ((10, 0), (1, 0), (1, 1)):
            child = enhance(parent, 4 * gsd, steps=planet.steps, seed=seed, weights=planet.weights.path)
            pictures.append(Image.fromarray(child))
    return grid(pictures, 4)


def _fraction(longitude: float, latitude: float) -> tuple[float, float]:
    """Place in the Mercator square, both from 0 to 1, from the top left."""
    x, y = mercantile.xy(longitude, latitude)
    half = 20037508.342789244
    return (x + half) / (2 * half), (half - y) / (2 * half)


def grid(pictures: list[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Pictures of one size in rows, `gap` px of white between them."""
    side = pictures[0].width
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * (side + gap), index // columns * (side + gap)))
    return sheet


def main() -> None:
    """Renders and writes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    options.add_argument("--steps", type=int, default=2, help="sampler steps (default 2, as servers do)")
    options.add_argument("--weights", type=Path, help="weights file (default: the one that ships)")
    options.add_argument("--gallery", action="store_true", help="also the strips of docs/gallery.md, zoom 4 to 20")
    arguments = options.parse_args()
    planet = open_planet("earth", steps=arguments.steps, weights=arguments.weights)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name, longitude, latitude = STRIP
    strip = [view(planet, longitude, latitude, zoom, 256) for zoom in range(4, 19, 2)]
    grid(strip, 4).save(arguments.out / "strip.png", optimize=True)
    places = [view(planet, lon, lat, zoom, 256, name) for name, lon, lat, zoom in PLACES]
    grid(places, 4).save(arguments.out / "places.png", optimize=True)
    guidance(planet).save(arguments.out / "guidance.png", optimize=True)
    if arguments.gallery:
        for name, longitude, latitude in GALLERY:
            row = [view(planet, longitude, latitude, zoom, 192) for zoom in range(4, 21, 2)]
            file = name.lower().replace("'", "").replace(" ", "-")
            grid(row, 9).save(arguments.out / f"gallery-{file}.jpg", quality=88)
            print(file, flush=True)


if __name__ == "__main__":
    main()
