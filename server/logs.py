"""The log of a process: one line a record, on stderr."""

from __future__ import annotations

import logging

from server.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Sends the log of this process to stderr, as `settings` say."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    if settings.log_level == "info":
        # Their own start-up lines, which say less than ours.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
