"""How long a check takes: the catalogs of a large schema, and the keys beside a scan of them.

Catalog rules on 2,000 tables and 20,000 indexes: within 5 seconds and 60 queries. The keys: within
1.1 of the time of ``scan --all-unique`` over the same tables.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from dedupe.lab import Server
from dedupe.lab.instance import make_instance
from migrations_check import Asked, check_server

SECONDS, QUERIES = 5.0, 60
#: of the key check to a scan of all keys
RATIO = 1.1
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


@pytest.mark.slow
def test_the_keys_take_no_longer_than_a_scan_of_them(lab: Server, tmp_path: Path) -> None:
    """A Mastodon of 200,000 posts, each way three times in turn: the median of the ratios."""
    database = lab.create_database("keys")
    make_instance(database, "3.5.3", statuses=200_000, seed=1, duplicate_rate=0.001)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CHECKPOINT")

    def took(*words: str) -> float:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words, "-q", "-d", database], cwd=tmp_path,
            capture_output=True, text=True, timeout=300, check=False,
        )
        assert done.returncode in {1, 4}, done.stderr
        return time.perf_counter() - began

    ratios = []
    for n in range(3):
        scan = took("scan", "--all-unique", "--run", f"scan{n}")
        catalogs = took("check", "server", "--only-database", "keys", "--quick")
        check = took("check", "server", "--only-database", "keys", "--run", f"check{n}")
        ratios.append((check - catalogs) / scan)
        print(f"scan {scan:.1f} s, check {check:.1f} s, of it catalogs {catalogs:.1f} s")
    print(f"the keys take {statistics.median(ratios):.2f} of the scan's time")
    assert statistics.median(ratios) <= RATIO
