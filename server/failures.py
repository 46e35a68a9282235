"""Failures of the command line: one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cache import CacheError
from server.settings import SettingsError

FAILED = 1
BAD_SETTING = 2


class CommandError(Exception):
    """A command cannot do what it was asked to; the text is one sentence that says what to change."""


class BadOptionError(CommandError):
    """An option has a value that the command cannot use."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns the errors of our own packages, of files and of memory into one line and an exit code.

    2 stands for a bad setting or option (as it does for the option parser), 1 for everything else.
    """
    try:
        yield
    except (SettingsError, BadOptionError) as error:
        raise _exit(str(error), BAD_SETTING) from error
    except (CacheError, CommandError) as error:
        raise _exit(str(error), FAILED) from error
    except MemoryError as error:
        raise _exit("There is not enough memory for it; choose a smaller picture.", FAILED) from error
    except OSError as error:
        raise _exit(f"{error.filename or 'a file'}: {error.strerror or error}", FAILED) from error
    except Exception as error:
        from model.errors import ModelError  # here, for it brings torch along

        if not isinstance(error, ModelError):
            raise
        raise _exit(str(error), FAILED) from error


def _exit(message: str, code: int) -> typer.Exit:
    typer.echo("metaearth: " + " ".join(message.split()), err=True)
    return typer.Exit(code)
