"""Runs an export from its plan to its file, for the server and the command line: resumable, in memory that does not grow.

Three stages at a time: one piece is rendered, the one before it is encoded in threads, and what is encoded is
written. So a few pieces of 12 MB are all that an export holds, whatever its size.
"""

from __future__ import annotations

import errno
import os
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.encode import Encoder
from server.export_cog import CogSink, TiffTiles
from server.export_errors import DiskFullError, ExportStoppedError
from server.export_mbtiles import MBTilesSink
from server.export_pieces import Piece, Pixels, ReadWindow, map_tiles, pieces_of, windows_within
from server.export_plan import ExportPlan
from server.export_pmtiles import PMTilesSink

RESERVE = 64 << 20
"""Bytes that an export leaves free on its disk."""
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Progress:
    """How far an export is: `done` of `pixels` are rendered, `size` bytes written."""

    done: int
    pixels: int
    size: int


class Export:
    """One export in a working directory of its own, where another attempt goes on from what is finished."""

    def __init__(
        self,
        plan: ExportPlan,
        folder: Path,
        read: ReadWindow,
        side: Callable[[int], int] = lambda zoom: 256,
        *,
        png_level: int = 1,
        threads: int = 2,
    ) -> None:
        """`read` stands for `planet.read` and is called from one thread, for windows of at most `side` px of a zoom.

        `threads` encode.
        """
        self._plan, self._folder, self._read, self._side = plan, folder, read, side
        self._threads = threads
        self._encoder: Encoder = plan.encoder(png_level)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Has `run` raise `ExportStoppedError` within about a second; any thread may call it."""
        self._stopped.set()

    def run(self, output: Path, report: Callable[[Progress], None]) -> None:
        """Renders what is missing, writes `output` at once when it is whole, and removes what it no longer needs.

        Raises:
            ExportStoppedError: if it was stopped.
            DiskFullError: if the disk fills.
            OSError, sqlite3.Error: if the disk fails otherwise.
            RenderError, ModelError: what `read` raises.
        """
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            sink: CogSink | MBTilesSink | PMTilesSink
            tiff = TiffTiles(self._plan.tile_format, self._encoder)
            match self._plan.format:
                case "cog":
                    sink = CogSink(self._plan, self._folder, tiff)
                case "mbtiles":
                    sink = MBTilesSink(self._plan, self._folder)
                case _:
                    sink = PMTilesSink(self._plan, self._folder)
            try:
                self._fill(sink, tiff, report)
                made = sink.finish(self._check) if isinstance(sink, CogSink) else sink.finish()
            finally:
                sink.close()
            os.replace(made, output)
            sync_directory(output.parent)
            report(Progress(self._plan.pixels, self._plan.pixels, output.stat().st_size))
            for name in ("tiles.dat", "journal.sqlite"):
                (self._folder / name).unlink(missing_ok=True)

    def _fill(self, sink: CogSink | MBTilesSink | PMTilesSink, tiff: TiffTiles, report: Callable[[Progress], None]) -> None:
        pieces = pieces_of(self._plan)
        before = sum(piece.pixels for piece in pieces[: sink.pieces])
        report(Progress(before, self._plan.pixels, sink.size))

        def advance(done: int) -> None:
            report(Progress(before + done, self._plan.pixels, sink.size))

        encode, extension = self._encoder.encode, self._plan.tile_format
        with ThreadPoolExecutor(self._threads, "export-encode") as pool:
            for piece, pixels in self._rendered(pieces[sink.pieces :], advance):
                if isinstance(sink, CogSink):
                    sink.put(list(pool.map(lambda make: make(), tiff.of_piece(piece, pixels, len(sink.levels)))))
                else:
                    tiles = map_tiles(piece, pixels)
                    bodies = pool.map(lambda tile: encode(tile[2], extension), tiles)
                    sink.put(piece, [(column, row, body) for (column, row, _), body in zip(tiles, bodies, strict=True)])
                check_room(self._folder, 0)

    def _rendered(self, pieces: list[Piece], advance: Callable[[int], None]) -> Iterator[tuple[Piece, Pixels]]:
        """Pieces with their pixels, the next one rendered in a thread while the one before is used."""
        ready: queue.Queue[tuple[Piece, Pixels] | BaseException | None] = queue.Queue(1)
        left = threading.Event()

        def render() -> None:
            done = 0
            try:
                for piece in pieces:
                    pixels = np.empty((piece.height, piece.width, 3), np.uint8)
                    for window in windows_within(piece, self._side(piece.zoom)):
                        if left.is_set():
                            return
                        self._check()
                        pixels[window[1] - piece.y :, window[0] - piece.x :][: window[3], : window[2]] = self._read(
                            piece.zoom, *window
                        )
                        done += window[2] * window[3]
                        advance(done)
                    ready.put((piece, pixels))
                ready.put(None)
            except BaseException as error:
                ready.put(error)

        thread = threading.Thread(target=render, name="export-read", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            left.set()
            while thread.is_alive():
                # It may be waiting to hand over a piece that nobody takes any more.
                with _ignored(queue.Empty):
                    ready.get_nowait()
                thread.join(0.05)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise ExportStoppedError("The export was stopped.")


@contextmanager
def _ignored(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind:
        return


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns the errors of a full disk into `DiskFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(full_disk(folder)) from error
    except sqlite3.OperationalError as error:
        if "full" not in str(error):
            raise
        raise DiskFullError(full_disk(folder)) from error


def full_disk(folder: Path) -> str:
    """What is said of a disk that has filled."""
    return f"The disk of {folder} is full; free some space or export a smaller area, then start again."


def check_room(folder: Path, needed: int) -> None:
    """Raises `DiskFullError` unless the disk of `folder` has room for `needed` bytes and a reserve of 64 MiB.

    A file system that is smaller than ten reserves keeps a tenth of its size instead.
    """
    usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    reserve = min(RESERVE, usage.total // 10)
    if usage.free < needed + reserve:
        if not needed:
            raise DiskFullError(full_disk(folder))
        raise DiskFullError(
            f"The export needs about {needed / 1e6:,.0f} MB of disk space and {max(usage.free - reserve, 0) / 1e6:,.0f} MB are "
            "free; free some space, or choose a smaller area, a lower zoom or jpg tiles."
        )


def sync_directory(folder: Path) -> None:
    """Makes a rename in `folder` last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
