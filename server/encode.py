"""Pixels to files: PNG, JPEG and WebP with Pillow."""

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

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
EXTENSIONS = tuple(MEDIA_TYPES)
# Pixels a side that the format can hold: WebP's 14 bits, JPEG's 16 bits, PNG's 31 bits.
MAX_SIDE = {"png": (1 << 31) - 1, "jpg": 65500, "webp": 16383}


@dataclass(frozen=True)
class Encoder:
    """Encodes uint8 RGB [h, w, 3] in every served format, each with one fixed set of options."""

    png_level: int
    jpeg_quality: int
    webp_quality: int

    @classmethod
    def from_settings(cls, settings: Settings) -> Encoder:
        """The encoder that `settings` ask for."""
        return cls(settings.png_level, settings.jpeg_quality, settings.webp_quality)

    def options(self, extension: str) -> dict[str, Any]:
        """What is passed to Pillow's `save` for one of `EXTENSIONS`."""
        match extension:
            case "png":
                return {"format": "PNG", "compress_level": self.png_level}
            case "jpg":
                return {"format": "JPEG", "quality": self.jpeg_quality}
            case "webp":
                return {"format": "WEBP", "quality": self.webp_quality, "method": 0}
        raise ValueError(f"{extension!r} is not one of {', '.join(EXTENSIONS)}.")

    def encode(self, pixels: NDArray[np.uint8], extension: str) -> bytes:
        """The encoded picture. Pillow releases the interpreter while it compresses, so threads help."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, **self.options(extension))
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
