"""What can be wrong with an export; `server.errors.STATUS` says which status code each answers."""

from __future__ import annotations


class ExportRequestError(Exception):
    """The request cannot be carried out as it stands; the text is one sentence that says what to change."""


class ExportTooLargeError(ExportRequestError):
    """The area has more pixels than one export may have."""


class ExportNotFoundError(Exception):
    """There is no such job, or no longer."""


class ExportNotReadyError(Exception):
    """The job has no file: it has not finished, has failed or was cancelled."""


class ExportQueueFullError(Exception):
    """As many jobs wait already as may wait."""


class DiskFullError(Exception):
    """The disk has no room for the export, found before its start or in its midst."""


class ExportStoppedError(Exception):
    """The export was told to stop before it was finished; what it has written stays."""
