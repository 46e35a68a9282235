"""A byte-bounded cache in one SQLite file, which survives kill -9 and may be shared by several processes.

The write-ahead log (https://sqlite.org/wal.html) with synchronous=NORMAL costs no fsync per entry: a process
that dies loses nothing that was committed, a machine that loses power loses at most the last entries, and
neither leaves a broken file. Values lie in a table of their own, so that noting an access never rewrites a
value's pages.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from isal.isal_zlib import crc32

from cache.disk_layout import LAYOUT, SCHEMA, add_content, forget_content
from cache.errors import CacheError

logger = logging.getLogger(__name__)

# Eviction goes down to this share of the bound, so that a full cache does not evict at every single put.
LOW_WATER = 0.95
EVICTED_AT_ONCE = 32
# Accesses are noted in memory and written this many at a time, and before every eviction: a hit writes
# nothing.
NOTED_ACCESSES = 512
# Keys in one question to SQLite, whose oldest versions take 999 parameters.
ASKED_AT_ONCE = 500
BUSY_SECONDS = 5.0
# What is kept in memory when a broken file cannot be replaced by a new one.
FALLBACK_BYTES = 64 << 20


class DiskCache:
    """Keeps the values used last in the SQLite file `path`, as many as fit into `max_bytes` of its pages.

    Every value carries its CRC-32 (that of zlib); one that does not match is dropped and reported as a miss. A file
    that SQLite cannot read is set aside as `<name>.corrupt` and a new one is started. After opening nothing
    raises: a full disk or a lock held too long means a miss, or an entry that is not kept, and one line in
    the log.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Opens or creates the file; raises `CacheError` if the directory or the file cannot be written."""
        self.path = path
        self.max_bytes = max_bytes
        self._lock = Lock()
        self._noted: dict[int, int] = {}
        self.errors = 0
        """Reads and writes that failed so far, damaged entries among them."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection, self._inode = self._open()
        except sqlite3.OperationalError as error:
            raise self._unwritable(str(error)) from error
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            try:
                self._connection, self._inode = self._open()
            except sqlite3.Error as again:
                raise self._unwritable(str(again)) from again
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        self._shrink_to_bound()

    def get(self, key: str, *, note: bool = True) -> bytes | None:
        """The value of `key`, or None if it is not there or is damaged; without `note` it does not count as used."""
        with self._lock:
            try:
                row = self._connection.execute(
                    "SELECT entry.id, crc, value, content FROM entry LEFT JOIN content ON content.id = content WHERE key = ?",
                    (key,),
                ).fetchone()
                if row is None:
                    return None
                identifier, crc, value, content = row
                if not isinstance(value, bytes) or crc32(value) != crc:
                    self.errors += 1
                    logger.warning("dropped a damaged entry of %s: %s", self.path, key)
                    with self._transaction():
                        # With all others that have this content, or the next value with its digest would be lost again.
                        self._connection.execute("DELETE FROM entry WHERE content = ?", (content,))
                        self._connection.execute("DELETE FROM content WHERE id = ?", (content,))
                    return None
                if note:
                    self._noted[identifier] = time.time_ns()
                    if len(self._noted) >= NOTED_ACCESSES:
                        with self._transaction():
                            self._write_accesses()
                return value
            except sqlite3.Error as error:
                self._failed(error, "read")
                return None

    def contains(self, keys: Sequence[str]) -> set[str]:
        """Those of `keys` that are there; none of the values is read, so that a damaged one counts."""
        with self._lock:
            try:
                rows: list[tuple[str]] = []
                for first in range(0, len(keys), ASKED_AT_ONCE):
                    asked = keys[first : first + ASKED_AT_ONCE]
                    marks = ",".join("?" * len(asked))
                    query = f"SELECT key FROM entry JOIN content ON content.id = content WHERE key IN ({marks})"
                    rows += self._connection.execute(query, asked).fetchall()
                return {key for (key,) in rows}
            except sqlite3.Error as error:
                self._failed(error, "read")
                return set()

    def put(self, key: str, value: bytes, *, once: bool = False) -> None:
        """Keeps `value`, evicting the least recently used entries; a value larger than the bound is not
        kept. `once`: the same bytes under other keys are stored a single time."""
        if len(value) > self.max_bytes:
            return
        with self._lock:
            try:
                with self._transaction():
                    content = add_content(self._connection, value, once)
                    old = self._connection.execute("SELECT content FROM entry WHERE key = ?", (key,)).fetchone()
                    self._connection.execute(
                        "INSERT INTO entry (key, content, crc, size, used) VALUES (?, ?, ?, ?, ?)"
                        " ON CONFLICT (key) DO UPDATE SET content = excluded.content, crc = excluded.crc,"
                        " size = excluded.size, used = excluded.used",
                        (key, content, crc32(value), len(value), time.time_ns()),
                    )
                    if old is not None:
                        forget_content(self._connection, old[0])
                    if self._used_bytes() > self.max_bytes:
                        self._evict()
            except sqlite3.Error as error:
                self._failed(error, "written")

    def keys(self) -> list[str]:
        """All keys at present, those used last at the end."""
        with self._lock:
            try:
                return [key for (key,) in self._connection.execute("SELECT key FROM entry ORDER BY used")]
            except sqlite3.Error as error:
                self._failed(error, "read")
                return []

    @property
    def contents(self) -> int:
        """How many values are stored, each for one entry or several."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM content").fetchone()[0])

    def sound(self) -> bool:
        """Whether SQLite finds its file in order; it reads all of it."""
        with self._lock, suppress(sqlite3.Error):
            return bool(self._connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        return False

    def delete_many(self, keys: Collection[str]) -> None:
        """Forgets `keys` and gives the freed pages back to the file system."""
        for key in keys:
            self.delete(key)
        with self._lock, suppress(sqlite3.Error):
            self._connection.executescript("PRAGMA incremental_vacuum")

    def delete(self, key: str) -> None:
        """Forgets `key`, if it is there."""
        with self._lock:
            try:
                row = self._connection.execute("SELECT id FROM entry WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    with self._transaction():
                        self._delete(row[0])
            except sqlite3.Error as error:
                self._failed(error, "written")

    @property
    def bytes(self) -> int:
        """Bytes of the pages in use, indexes and partly filled pages included."""
        with self._lock:
            return self._used_bytes()

    def __len__(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM entry").fetchone()[0])

    def close(self) -> None:
        """Writes the accesses noted so far and closes the file; a process that never gets here loses only
        those."""
        with self._lock:
            try:
                with self._transaction():
                    self._write_accesses()
            except sqlite3.Error as error:
                logger.warning("%s: the last accesses were not noted: %s", self.path, error)
            self._connection.close()

    def _open(self) -> tuple[sqlite3.Connection, int]:
        """Opens the file, creates the tables, and proves that it can be written.

        One process at a time: SQLite does not wait for another one that is switching a new file to its log.
        """
        with self.path.with_name(self.path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._connect()

    def _connect(self) -> tuple[sqlite3.Connection, int]:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
        )
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table, or it has no effect
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 8388608")
            if connection.execute("PRAGMA user_version").fetchone()[0] != LAYOUT:
                connection.execute("DROP TABLE IF EXISTS entry")
                connection.execute("DROP TABLE IF EXISTS content")
            connection.executescript(SCHEMA)
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
            return connection, os.stat(self.path).st_ino
        except BaseException:
            connection.close()
            raise

    def _unwritable(self, reason: str) -> CacheError:
        return CacheError(
            f"The cache file {self.path} cannot be opened for writing ({reason}); "
            "make its directory writable or choose another cache directory."
        )

    def _failed(self, error: sqlite3.Error, verb: str) -> None:
        """Gives up the statement that failed; starts a new file if this one is beyond reading."""
        self.errors += 1
        logger.warning("an entry of %s could not be %s: %s", self.path, verb, error)
        if type(error) is not sqlite3.DatabaseError:
            return  # its subclasses tell of a full disk, a lock held too long: the file itself is sound
        self._connection.close()
        self._noted.clear()
        try:
            # Another process may have set the file aside already; then there is a new one to open.
            if not self.path.exists() or os.stat(self.path).st_ino == self._inode:
                self._set_aside(error)
            self._connection, self._inode = self._open()
        except (OSError, sqlite3.Error) as again:
            logger.error("%s cannot be started anew (%s); caching in memory only", self.path, again)
            self.max_bytes = min(self.max_bytes, FALLBACK_BYTES)
            self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._connection.executescript(SCHEMA)

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Renames a file that cannot be read, replacing the one set aside before, so that at most one is
        kept."""
        aside = self.path.with_name(self.path.name + ".corrupt")
        logger.error("%s is not a readable cache (%s); set aside as %s, starting anew", self.path, error, aside.name)
        if self.path.exists():
            os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block or nothing: a process killed in between leaves no half of an entry behind."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled some failures back already; a second failure here would hide the first.
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _used_bytes(self) -> int:
        """Pages in use times page size: both counts stand in the file's header, so this reads no table."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _evict(self) -> None:
        """Deletes the entries not used for longest until the low-water mark is reached; inside a
        transaction."""
        self._write_accesses()
        while self._used_bytes() > self.max_bytes * LOW_WATER:
            rows = self._connection.execute("SELECT id FROM entry ORDER BY used LIMIT ?", (EVICTED_AT_ONCE,)).fetchall()
            if not rows:
                return
            # Entries differ in size, so look after each one: a small bound must not lose a whole batch.
            for (identifier,) in rows:
                self._delete(identifier)
                if self._used_bytes() <= self.max_bytes * LOW_WATER:
                    return

    def _delete(self, identifier: int) -> None:
        (content,) = self._connection.execute("SELECT content FROM entry WHERE id = ?", (identifier,)).fetchone()
        self._connection.execute("DELETE FROM entry WHERE id = ?", (identifier,))
        forget_content(self._connection, content)

    def _write_accesses(self) -> None:
        if self._noted:
            self._connection.executemany(
                "UPDATE entry SET used = max(used, ?) WHERE id = ?",
                [(used, i) for i, used in self._noted.items()],
            )
            self._noted.clear()

    def _shrink_to_bound(self) -> None:
        """After the bound was lowered between two runs: evicts, and gives the freed pages back to the file
        system."""
        with self._lock:
            try:
                if self._used_bytes() > self.max_bytes:
                    with self._transaction():
                        self._evict()
                    # Not execute(): it takes one step of the statement, and each step frees a single page.
                    self._connection.executescript("PRAGMA incremental_vacuum")
            except sqlite3.Error as error:
                self._failed(error, "evicted")
