"""Commands of `metaearth` run in the tests' own process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from typer.testing import CliRunner, Result

from server.cli import app

Run = Callable[..., Result]
"""Takes the arguments of a command."""


@contextmanager
def logging_kept() -> Iterator[None]:
    """Puts the root logger back as it was. Commands set up logging for a process of their own: to a stream that here is
    the runner's, closed when the command ends, and on which whatever logs later would fail."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def invoke(*arguments: object) -> Result:
    """Runs a command as `metaearth` would."""
    with logging_kept():
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(text: str) -> str:
    """The only line of `text`, which must not be a traceback."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
