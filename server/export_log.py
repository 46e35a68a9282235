"""Encoded tiles appended to one file, and a journal in SQLite of where they lie: what survives a kill -9 of an export."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS tile (key INTEGER PRIMARY KEY, offset INTEGER NOT NULL, length INTEGER NOT NULL, digest BLOB);
CREATE TABLE IF NOT EXISTS state (pieces INTEGER NOT NULL, size INTEGER NOT NULL);
"""

Entry = tuple[int, int, int]
"""Key, offset and length in bytes of a tile."""


class TileLog:
    """Appends pieces, each of several tiles by integer key, to the file `data`; a piece counts once it is committed.

    Bytes are synced before the journal says that they are there, and what a killed process has appended beyond the last
    commit is cut off at opening. Raises `OSError` or `sqlite3.Error` where the disk fails.
    """

    def __init__(self, journal: Path, data: Path, *, start: int = 0, once: bool = False) -> None:
        """Opens or creates both. `start` bytes are kept free at the beginning; `once`: equal tiles are written once."""
        self._connection = sqlite3.connect(journal, check_same_thread=False)
        self._connection.executescript(SCHEMA)
        row = self._connection.execute("SELECT pieces, size FROM state").fetchone()
        if row is None or not data.exists() or data.stat().st_size < row[1]:
            # Journal and data do not belong together (somebody has removed one): begin anew.
            row = (0, start)
            with self._connection:
                self._connection.execute("DELETE FROM tile")
                self._connection.execute("DELETE FROM state")
                self._connection.execute("INSERT INTO state VALUES (?, ?)", row)
            data.touch()
        self.pieces: int = row[0]
        self.size: int = row[1]
        self._once = once
        if self._once:
            self._connection.execute("CREATE INDEX IF NOT EXISTS tile_digest ON tile (digest)")
        self.file = data.open("r+b")
        self.file.truncate(self.size)

    def append(self, tiles: Sequence[tuple[int, bytes]], *, counts: bool = True) -> None:
        """Writes the tiles (key, bytes) of the next piece and commits it; what is no piece does not count as one."""
        self.file.seek(self.size)
        size, rows = self.size, []
        new: dict[bytes, int] = {}
        for key, body in tiles:
            digest = blake2b(body, digest_size=16).digest() if self._once else None
            offset = None if digest is None else new.get(digest, self._offset_of(digest))
            if offset is None:
                self.file.write(body)
                offset, size = size, size + len(body)
                if digest is not None:
                    new[digest] = offset
            rows.append((key, offset, len(body), digest))
        self.file.flush()
        os.fsync(self.file.fileno())
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO tile VALUES (?, ?, ?, ?)", rows)
            self._connection.execute("UPDATE state SET pieces = ?, size = ?", (self.pieces + counts, size))
        self.pieces, self.size = self.pieces + counts, size

    def entries(self, first: int = 0, last: int = (1 << 63) - 1) -> Iterator[Entry]:
        """Key, offset and length of the tiles with first <= key <= last, by key."""
        sentence = "SELECT key, offset, length FROM tile WHERE key BETWEEN ? AND ? ORDER BY key"
        yield from self._connection.execute(sentence, (first, last))

    def contents(self) -> int:
        """Tiles of different content, where equal ones are written once."""
        return int(self._connection.execute("SELECT count(DISTINCT offset) FROM tile").fetchone()[0])

    def read(self, key: int) -> bytes:
        """The bytes of one tile; raises `KeyError` if there is none."""
        row = self._connection.execute("SELECT offset, length FROM tile WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        self.file.seek(row[0])
        return self.file.read(int(row[1]))

    def close(self) -> None:
        """Closes both files. On a full disk what the first has still to write cannot be, which is raised again."""
        try:
            self.file.close()
        finally:
            self._connection.close()

    def _offset_of(self, digest: bytes) -> int | None:
        row = self._connection.execute("SELECT offset FROM tile WHERE digest = ? LIMIT 1", (digest,)).fetchone()
        return None if row is None else int(row[0])
