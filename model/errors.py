"""Errors of the planet: HTTP status codes in the server, one line on the command line."""


class ModelError(Exception):
    """Anything that goes wrong in `model`; its text is one sentence that says what to change."""


class UnknownPlanetError(ModelError):
    """The planet asked for does not exist."""


class WindowError(ModelError, ValueError):
    """The zoom, position or size of a window is outside of what a planet has."""


class WeightsError(ModelError):
    """The weights file is missing, broken, or not made for this network."""


class BasePictureError(ModelError):
    """The planet's base picture is missing or unreadable."""


class DeviceError(ModelError):
    """The device or the precision asked for does not exist on this machine."""
