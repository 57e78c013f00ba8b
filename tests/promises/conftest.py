from __future__ import annotations

from collections.abc import Iterator

import pytest

from .heap import Connection, observer


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
