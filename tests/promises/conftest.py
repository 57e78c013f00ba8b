from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .heap import Connection, observer
from .shop import Shop


@pytest.fixture
def guests(database: str) -> Iterator[Connection]:
    """Make a table with ten pairs; give the connection that looks on."""
    with observer(database) as connection:
        connection.execute(
            "CREATE TABLE guests (id int8 PRIMARY KEY, name text, filler text);"
            " INSERT INTO guests SELECT n, 'name ' || n % 1990, repeat('x', 500)"
            " FROM generate_series(1, 2000) n"
        )
        yield connection


@pytest.fixture
def shop(database: str, tmp_path: Path) -> Iterator[Shop]:
    with observer(database) as server:
        server.execute("CREATE EXTENSION amcheck")
        yield Shop(dsn=database, server=server, run=tmp_path / "run")
