"""Pictures of boxes as files: PNG, JPEG, WebP, AVIF, GeoTIFF (OGC 19-008r4), and PNG with a world file in a zip."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import PIL
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from server.area import Area, GeoImage
from server.encode import MAX_SIDE, MEDIA_TYPES, Encoder
from server.errors import ParameterError
from server.tilekey import shorten

FORMATS = {
    **{name: MEDIA_TYPES[name] for name in ("png", "jpg", "webp", "avif", "png8")},
    "tif": "image/tiff",
    "zip": "application/zip",
}
"""Media types by extension."""
SPELLINGS = {"jpeg": "jpg", "tiff": "tif", "geotiff": "tif"}
_NO_ALPHA = ("jpg", "png8")
_BLOCK = 256
WHITE = (255, 255, 255)
Colour = tuple[int, int, int]


def parse_format(text: str) -> str:
    """The extension, one of `FORMATS`, that `text` means; raises `ParameterError`."""
    name = SPELLINGS.get(text.lower(), text.lower())
    if name not in FORMATS:
        raise ParameterError(f"The format {shorten(text)} is not served; use one of {', '.join(FORMATS)}.")
    return name


def check_side(extension: str, area: Area) -> None:
    """Raises `ParameterError` if the format cannot hold a picture of the area's size."""
    most = MAX_SIDE.get(extension, 1 << 31)
    if max(area.width, area.height) > most:
        raise ParameterError(f"{extension} holds at most {most} pixels a side; ask for fewer, or for png or tif.")


def signature(encoder: Encoder, extension: str) -> str:
    """Names all that the bytes of one picture depend on beside its pixels."""
    own = encoder.signature("png" if extension == "zip" else extension) if extension != "tif" else "deflate 256"
    return f"{extension} {own} {PIL.__version__} {rasterio.__gdal_version__}"


def encode_picture(
    encoder: Encoder, image: GeoImage, extension: str, background: Colour = WHITE, transparent: bool = True
) -> bytes:
    """The file of `image`. Where its mask is 0 it is transparent, or `background` if that is not asked for or the format
    has no alpha (JPEG, palette PNG); a picture without such pixels has no alpha."""
    if extension == "zip":
        return _zipped(encode_picture(encoder, image, "png", background, transparent), image)
    pixels, empty = image.pixels, image.mask == 0
    if empty.any():
        pixels = np.where(empty[:, :, None], np.array(background, np.uint8), pixels)
        if transparent and extension not in _NO_ALPHA:
            pixels = np.dstack([pixels, image.mask])
    pixels = np.ascontiguousarray(pixels)
    return _geotiff(pixels, image) if extension == "tif" else encoder.encode(pixels, extension)


def _geotiff(pixels: NDArray[np.uint8], image: GeoImage) -> bytes:
    height, width, bands = pixels.shape
    # Tiles of 256 pixels, smaller ones (multiples of 16, as TIFF wants them) in smaller pictures.
    block = min(_BLOCK, *(max(16, side // 16 * 16) for side in (height, width)))
    options = {"photometric": "RGB", "compress": "deflate", "predictor": 2, "tiled": True, "num_threads": 2}
    if bands == 4:
        options["alpha"] = "yes"
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=width,
            height=height,
            count=bands,
            dtype="uint8",
            crs=image.crs,
            transform=image.transform,
            blockxsize=block,
            blockysize=block,
            **options,
        ) as file:
            file.write(np.moveaxis(pixels, 2, 0))
        return bytes(memory.read())


def _zipped(png: bytes, image: GeoImage) -> bytes:
    """A zip of map.png, its world file map.pgw, map.prj (WKT 1 as Esri writes it, which all readers take)."""
    middle = image.transform @ Affine.translation(0.5, 0.5)
    numbers = (middle.a, middle.d, middle.b, middle.e, middle.c, middle.f)
    prj = image.crs.to_wkt(version="WKT1_ESRI")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (
            ("map.png", png),
            ("map.pgw", "".join(f"{number:.17g}\n" for number in numbers).encode()),
            ("map.prj", prj.encode()),
        ):
            # A fixed date, so that equal pictures are equal files.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()
