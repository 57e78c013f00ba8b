"""Catalog rules on 2,000 tables and 20,000 indexes: within 5 seconds and 60 queries."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from dedupe.lab import Server
from migrations_check import Asked, check_server

SECONDS, QUERIES = 5.0, 60
#: from the oldest on all rules have something to look for
MAJORS = [18, 13, 10]


@pytest.mark.slow
@pytest.mark.parametrize("major", MAJORS)
def test_catalog_rules_on_a_large_schema(
    servers: Callable[[int], Server], major: int, tmp_path: Path
) -> None:
    server = servers(major)
    database = server.create_database("large")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for first in range(1, 2001, 50):
            connection.execute(
                f"""
                DO $$ BEGIN FOR n IN {first} .. {first + 49} LOOP
                    EXECUTE format('CREATE TABLE t%s (a int PRIMARY KEY, b text, c int)', n);
                    FOR i IN 1 .. 9 LOOP
                        EXECUTE format('CREATE %s INDEX ON t%s (b, c)',
                                       CASE WHEN i = 1 THEN 'UNIQUE' ELSE '' END, n);
                    END LOOP;
                    EXECUTE format('CREATE VIEW v%s AS SELECT * FROM t%s', n, n);
                END LOOP; END $$
                """
            )
        assert connection.execute(
            "SELECT count(*) FROM pg_index WHERE indexrelid >= 16384"
            " AND indrelid::regclass::text ~ '^t[0-9]'"
        ).fetchone() == (20000,)
    began = time.perf_counter()
    checked = check_server(
        database, Asked(to=18, only=("large",), quick=True, run=tmp_path / "keys")
    )
    took = time.perf_counter() - began
    print(f"PostgreSQL {major}: {took:.2f} s, {checked.statements} queries")
    assert checked.statements <= QUERIES
    assert took <= SECONDS
