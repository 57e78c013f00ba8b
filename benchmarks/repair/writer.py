"""Somebody else on the server who changes rows of all four tables while they are repaired."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from ..failure import BenchmarkFailed
from ..measure import OWN_NAME
from .tables import TABLES, Shape, status_id
from .times import Times

#: seconds between two statements
_EVERY = 0.002
#: seconds that the writer is alone before the repair begins
_ALONE = 2.0
_SEED = 1


@dataclass(slots=True, kw_only=True)
class Writes:
    """How long one row's update took; known when the writer has ended."""

    #: before the repair
    alone: Times | None = None
    #: during the repair
    beside: Times | None = None
    #: of these, updates that the lying index refused: its row had a twin
    refused: int = 0


@contextmanager
def writing(dsn: str, shape: Shape) -> Iterator[Writes]:
    """Update one random row after another, each in its own transaction.

    Only ``updated_at`` is changed, which nothing compares. Raises BenchmarkFailed.
    """
    writes = Writes()
    writer = _Writer(dsn, shape)
    writer.start()
    try:
        time.sleep(_ALONE)
        before = len(writer.seconds)
        yield writes
    finally:
        writer.stop()
    if writer.failed is not None:
        raise BenchmarkFailed(f"nobody wrote beside the repair: {writer.failed}")
    alone, beside = writer.seconds[:before], writer.seconds[before:]
    if not alone or not beside:
        raise BenchmarkFailed("nobody wrote beside the repair")
    writes.alone, writes.beside = Times.of(alone), Times.of(beside)
    writes.refused = writer.refused


class _Writer(threading.Thread):
    def __init__(self, dsn: str, shape: Shape) -> None:
        super().__init__(name="writer", daemon=True)
        self._dsn = dsn
        self._rows = shape.rows
        self._ended = threading.Event()
        self.seconds: list[float] = []
        self.refused = 0
        self.failed: psycopg.Error | None = None

    def run(self) -> None:
        # The same rows every time; nothing depends on their being hard to guess.
        chosen = random.Random(_SEED)  # noqa: S311
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, application_name=OWN_NAME
            ) as connection:
                while not self._ended.wait(_EVERY):
                    table, number = chosen.choice(TABLES), chosen.randint(1, self._rows)
                    self._write(
                        connection, table, status_id(number) if table == TABLES[0] else number
                    )
        except psycopg.Error as error:
            self.failed = error

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _write(
        self, connection: psycopg.Connection[tuple[object, ...]], table: str, row: int
    ) -> None:
        statement = sql.SQL(
            "UPDATE {} SET updated_at = clock_timestamp()::timestamp WHERE id = %s"
        ).format(sql.Identifier(table))
        started = time.monotonic()
        try:
            connection.execute(statement, [row])
        except psycopg.errors.UniqueViolation:
            # Its new version found no room on its page, so it needed a new index entry.
            self.refused += 1
        self.seconds.append(time.monotonic() - started)
