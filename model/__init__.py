"""The planet of MetaEarth Tiles: a resolution-guided, self-cascading diffusion model read like an image without end.

from model import open_planet
planet = open_planet("earth", seed=0)
pixels = planet.read(zoom=12, x=541_000, y=364_000, width=512, height=512)   # uint8 [512, 512, 3]
"""

from model.errors import (
    BasePictureError,
    DeviceError,
    ModelError,
    UnknownPlanetError,
    WeightsError,
    WindowError,
)
from model.planet import PLANETS, Planet, PlanetInfo, open_planet
from model.store import BlockStore

__all__ = [
    "PLANETS",
    "BasePictureError",
    "BlockStore",
    "DeviceError",
    "ModelError",
    "Planet",
    "PlanetInfo",
    "UnknownPlanetError",
    "WeightsError",
    "WindowError",
    "open_planet",
]
