"""Maps as files: PNG, JPEG and WebP as tiles are encoded, and GeoTIFF (OGC 19-008r4) by GDAL."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from server.area import Area
from server.encode import MAX_SIDE, MEDIA_TYPES, Encoder
from server.errors import ParameterError
from server.ogc.negotiation import Offers

# The extension of each format by its name in `f`; the first two in the order of 20-058's own.
EXTENSION = {"png": "png", "jpeg": "jpg", "tiff": "tif", "webp": "webp"}
MAP_OFFERS: Offers = {name: MEDIA_TYPES.get(extension, "image/tiff") for name, extension in EXTENSION.items()}
WITH_ALPHA = frozenset({"png", "tiff", "webp"})
_BLOCK = 256


def check_side(name: str, area: Area) -> None:
    """Raises `ParameterError` if the format `name` cannot hold a picture of the area's size."""
    most = MAX_SIDE.get(EXTENSION[name], 1 << 31)
    if max(area.width, area.height) > most:
        raise ParameterError(f"{name.upper()} holds at most {most} pixels a side; ask for fewer, or for f=png or f=tiff.")


def encode_map(encoder: Encoder, name: str, pixels: NDArray[np.uint8], area: Area) -> bytes:
    """The file of `pixels`, uint8 [h, w, 3] or [h, w, 4] with alpha, in the format `name`."""
    if name != "tiff":
        return encoder.encode(np.ascontiguousarray(pixels), EXTENSION[name])
    bands = pixels.shape[2]
    tiled = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK} if min(area.width, area.height) >= _BLOCK else {}
    options = {"photometric": "RGB", "compress": "deflate", "predictor": 2, **tiled}
    if bands == 4:
        options["alpha"] = "yes"
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=area.width,
            height=area.height,
            count=bands,
            dtype="uint8",
            crs=area.crs,
            transform=area.transform,
            **options,
        ) as file:
            file.write(np.moveaxis(pixels, 2, 0))
        return bytes(memory.read())
