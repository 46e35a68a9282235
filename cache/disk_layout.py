"""The tables of the disk cache, and contents that several entries have in common."""

from __future__ import annotations

import sqlite3

from cache.frame import content_digest

# Raised when the tables change: an older file is then emptied, for it is only a cache.
LAYOUT = 2
# Several entries may have one content: that with a digest is stored once for all of them.
SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, content INTEGER NOT NULL, crc INTEGER NOT NULL,
    size INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_used ON entry (used);
CREATE INDEX IF NOT EXISTS entry_content ON entry (content);
CREATE TABLE IF NOT EXISTS content (id INTEGER PRIMARY KEY, digest BLOB UNIQUE, value BLOB NOT NULL);
"""


def add_content(connection: sqlite3.Connection, value: bytes, once: bool) -> int:
    """The id of a content `value`: a new one, or with `once` one that is there already. Inside a transaction."""
    digest = content_digest(value) if once else None
    if digest is not None:
        row = connection.execute("SELECT id, value FROM content WHERE digest = ?", (digest,)).fetchone()
        if row is not None and row[1] == value:
            return int(row[0])
        if row is not None:  # damaged: the entries that have it are dropped when they are read
            connection.execute("UPDATE content SET digest = NULL WHERE id = ?", (row[0],))
    added = connection.execute("INSERT INTO content (digest, value) VALUES (?, ?)", (digest, value))
    assert added.lastrowid is not None
    return added.lastrowid


def forget_content(connection: sqlite3.Connection, content: int) -> None:
    """Deletes a content that no entry has any more. Inside a transaction."""
    connection.execute("DELETE FROM content WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM entry WHERE content = ?1)", (content,))
