"""The log: one line a record, as text or JSON, with the identifiers of the request that it belongs to.

Nothing that a client sends can begin a line of its own or reach a terminal: control characters are escaped, and the lines of a
traceback are indented.
"""

from __future__ import annotations

import logging
import re
import time
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

from server.settings import Settings

# Of the request that is being answered, in its task and in the threads that work for it; "" outside of any.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
TRACE_ID: ContextVar[str] = ContextVar("trace_id", default="")

# Of Unicode's categories Cc, Zl and Zp, and the marks that turn the direction of writing (CVE-2021-42574).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Of uvicorn, for bytes that are no HTTP: scanners send thousands.
MALFORMED = "Invalid HTTP request received."
SPARSE_SECONDS = 60.0
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Not the fields that JSON carries anyway under the same names.
JSON_FIELDS = {"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}


def escape(text: str) -> str:
    """`text` without control characters: \\n, \\x1b and so on stand for them."""
    return CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class RequestFilter(logging.Filter):
    """Gives every record `request_id` and `trace_id`, those of the request in whose context it is made, if any."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        for name, variable in (("request_id", REQUEST_ID), ("trace_id", TRACE_ID)):
            value = variable.get()
            if value:
                setattr(record, name, value)
        return True


class SparseFilter(logging.Filter):
    """Lets a message that any client can cause through once in `SPARSE_SECONDS`, with how many were left out since."""

    def __init__(self) -> None:
        super().__init__()
        self._next = float("-inf")
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is one of the few."""
        if record.msg != MALFORMED:
            return True
        if time.monotonic() < self._next:
            self._left_out += 1
            return False
        if self._left_out:
            record.msg = f"{record.msg} ({self._left_out} more since the last such line)"
        self._next, self._left_out = time.monotonic() + SPARSE_SECONDS, 0
        return True


_SPARSE = SparseFilter()


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,123 INFO server.app: text [request_id=... trace_id=...]`."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, escaped."""
        names = [name for name in ("request_id", "trace_id") if hasattr(record, name)]
        ids = " ".join(f"{name}={getattr(record, name)}" for name in names)
        return escape(super().formatMessage(record) + (f" [{ids}]" if ids else ""))

    def formatException(self, exc_info: object) -> str:
        """The traceback, each line indented and escaped."""
        return _indented(super().formatException(exc_info))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:
        """The stack, each line indented and escaped."""
        return _indented(stack_info)


def configure_logging(settings: Settings) -> None:
    """Sends the log of this process to stderr, as `settings` say."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestFilter())
    if settings.log_format == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(levelname)s %(name)s %(message)s", rename_fields=JSON_FIELDS, timestamp=True, json_ensure_ascii=True
            )
        )
    else:
        handler.setFormatter(TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").addFilter(_SPARSE)
    if settings.log_level == "info":
        # Their own start-up lines, which say less than ours.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _indented(text: str) -> str:
    return "\n".join("    " + escape(line) for line in text.split("\n"))
