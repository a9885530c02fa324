"""SQLite with a write-ahead log, as an embedded store that everybody knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from crdtsync.ops.bench.adapters.base import Adapter

BUSY = 60.0  # s that a writer waits for another
TABLE = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID"
PUT = "INSERT INTO rows VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class Sqlite(Adapter):
    """WAL, synchronous=FULL: one transaction for each call of put_all and of a committer."""

    title = "SQLite, WAL, synchronous=FULL"
    semantics = "one machine, transactions"
    durability = "synced by every transaction (synchronous=FULL)"
    keeps = "disk"
    synchronous = "FULL"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.file = directory / "sqlite.db"
        self.connection = self.connect()
        self.connection.execute(TABLE)

    @classmethod
    def version(cls) -> str:
        """Of the library in this Python."""
        return sqlite3.sqlite_version

    def connect(self) -> sqlite3.Connection:
        """A connection with the settings that are measured."""
        made = sqlite3.connect(self.file, timeout=BUSY, isolation_level=None, check_same_thread=False)
        made.execute("PRAGMA journal_mode=WAL")
        made.execute(f"PRAGMA synchronous={self.synchronous}")
        return made

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """All keys in one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(PUT, ((key, value) for key in keys))
        self.connection.execute("COMMIT")

    def put_record(self, key: str, value: str) -> None:
        """One transaction."""
        self.connection.execute(PUT, (key, value))

    def get_record(self, key: str) -> object:
        """One value."""
        row = self.connection.execute("SELECT value FROM rows WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def scan_records(self, key: str, count: int) -> int:
        """So many values from a key on; how many there were."""
        ask = "SELECT key, value FROM rows WHERE key >= ? ORDER BY key LIMIT ?"
        return len(self.connection.execute(ask, (key, count)).fetchall())

    def make_durable(self) -> bool:
        """Every transaction has done it, or a checkpoint does."""
        if self.keeps != "disk":
            self.connection.execute("PRAGMA wal_checkpoint(FULL)")
        return True

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The values."""
        ask = "SELECT value FROM rows WHERE key = ?"
        found = {key: self.connection.execute(ask, (key,)).fetchone() for key in keys}
        return {key: row[0] if row else None for key, row in found.items()}

    def committer(self, thread: int) -> Callable[[int], None]:
        """A transaction on a connection of its own."""
        connection, numbers = self.connect(), count()

        def commit(writes: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(writes):
                connection.execute(PUT, (f"{thread}:{next(numbers)}", "1"))
            connection.execute("COMMIT")

        return commit

    def committed(self) -> int:
        """Rows."""
        return int(self.connection.execute("SELECT count(*) FROM rows").fetchone()[0])

    def close(self) -> None:
        """Close the first connection; the others go with the process."""
        self.connection.close()


class SqliteNormal(Sqlite):
    """The same without a sync for each transaction."""

    title = "SQLite, WAL, synchronous=NORMAL"
    durability = "survives kill -9 when a call returns; the disk has it after the next checkpoint"
    keeps = "process"
    synchronous = "NORMAL"
