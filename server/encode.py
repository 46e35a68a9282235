"""Pixels to files: PNG (true colour and palette), JPEG, WebP and AVIF with Pillow."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from server.settings import Settings

# png8 is PNG with a palette, by the name that Mapnik and MapServer users know; png follows, so that it is png that
# image/png stands for where somebody turns this table round.
MEDIA_TYPES = {
    "png8": "image/png",
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "avif": "image/avif",
}
EXTENSIONS = ("png", "jpg", "webp", "avif", "png8")
# Pixels a side that the format can hold: WebP's 14 bits, JPEG's and AV1's 16 bits, PNG's 31 bits.
MAX_SIDE = {"png": (1 << 31) - 1, "png8": (1 << 31) - 1, "jpg": 65500, "webp": 16383, "avif": 65536}


@dataclass(frozen=True)
class Encoder:
    """Encodes uint8 RGB [h, w, 3] in every served format, each with one fixed set of options. With `png8`, png is png8, but
    for pictures with alpha."""

    png_level: int
    jpeg_quality: int
    webp_quality: int
    webp_method: int = 0
    avif_quality: int = 65
    avif_speed: int = 8
    png8_colors: int = 256
    png8: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Encoder:
        """The encoder that `settings` ask for."""
        return cls(
            settings.png_level,
            settings.jpeg_quality,
            settings.webp_quality,
            settings.webp_method,
            settings.avif_quality,
            settings.avif_speed,
            settings.png8_colors,
            settings.png8,
        )

    def options(self, extension: str) -> dict[str, Any]:
        """What is passed to Pillow's `save` for one of `EXTENSIONS`."""
        match extension:
            case "png" if not self.png8:
                return {"format": "PNG", "compress_level": self.png_level}
            case "jpg":
                return {"format": "JPEG", "quality": self.jpeg_quality}
            case "webp":
                return {"format": "WEBP", "quality": self.webp_quality, "method": self.webp_method}
            case "avif":
                # One thread a picture: those of several pictures share the cores already.
                return {"format": "AVIF", "quality": self.avif_quality, "speed": self.avif_speed, "max_threads": 1}
            case "png8" | "png":  # `colors` is for `encode`, and here for the signature; Pillow ignores it
                return {"format": "PNG", "compress_level": self.png_level, "colors": self.png8_colors}
        raise ValueError(f"{extension!r} is not one of {', '.join(EXTENSIONS)}.")

    def encode(self, pixels: NDArray[np.uint8], extension: str) -> bytes:
        """The encoded picture. Pillow releases the interpreter while it compresses, so threads help."""
        buffer = io.BytesIO()
        image = Image.fromarray(pixels)
        if extension == "png8" or (extension == "png" and self.png8 and image.mode == "RGB"):
            image = image.quantize(self.png8_colors, Image.Quantize.MAXCOVERAGE)
        image.save(buffer, **self.options(extension))
        return buffer.getvalue()

    def signature(self, extension: str) -> str:
        """Names all that the bytes of one picture depend on: format, options, version of Pillow."""
        return f"{sorted(self.options(extension).items())} Pillow {PIL.__version__}"

    def etag_seed(self, identity: str) -> dict[str, bytes]:
        """By extension: the digest of a planet's `identity` and of this encoder that ETags and cache keys
        start with."""
        return {
            extension: hashlib.blake2b(f"{identity} {self.signature(extension)}".encode(), digest_size=16).digest()
            for extension in EXTENSIONS
        }
