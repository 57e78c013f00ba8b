"""Catalog rules on 2,000 tables and 20,000 indexes: within 5 seconds and 60 queries."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from migrations_check import Asked, check_server

SECONDS, QUERIES = 5.0, 60


@pytest.mark.slow
def test_catalog_rules_on_a_large_schema(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
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
        name = connection.info.dbname
    began = time.perf_counter()
    checked = check_server(
        database, Asked(to=18, only=(name,), quick=True, run=tmp_path / "keys")
    )
    took = time.perf_counter() - began
    print(f"{took:.2f} s, {checked.statements} queries")
    assert checked.statements <= QUERIES
    assert took <= SECONDS
