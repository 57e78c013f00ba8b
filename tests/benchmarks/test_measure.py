"""What is measured is what happened: memory of every process, the server's own files."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

from benchmarks.failure import BenchmarkFailed
from benchmarks.measure import measured, own_peak
from benchmarks.peers import GROUP_BY
from benchmarks.statement import Statement
from benchmarks.table import Table
from benchmarks.truth import Found

#: a process that holds 50 MB and starts one that holds 100 MB
TWO = """
import subprocess, sys, time
held = bytearray(b"x") * 50_000_000
subprocess.run(
    [sys.executable, "-c", "import time; held = bytearray(b'x') * 100_000_000; time.sleep(0.4)"],
    check=True,
)
print("done")
"""


def test_memory_is_that_of_all_processes(database: str, tmp_path: Path) -> None:
    done = measured([sys.executable, "-c", TWO], dsn=database, scratch=tmp_path)
    assert done.output == "done\n"
    assert done.seconds > 0.4
    assert 150_000_000 < done.rss_bytes < 200_000_000
    assert (done.temp_bytes, done.temp_files) == (0, 0)


def test_the_benchmarks_own_memory_is_not_the_contestants(database: str, tmp_path: Path) -> None:
    """Scenario: the process that measures has held more than the one that is measured.
    Outcome: the kernel hands its peak down to the child, and it does not count.
    """
    held = bytearray(b"x") * 100_000_000
    assert own_peak() > len(held)
    argv = [sys.executable, "-c", "import time; time.sleep(0.2)"]
    assert measured(argv, dsn=database, scratch=tmp_path).rss_bytes < 50_000_000


def test_a_contestant_that_fails_ends_the_benchmark(database: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with pytest.raises(BenchmarkFailed, match="ended with 1: no such thing"):
        measured(argv, dsn=database, scratch=tmp_path)
    assert measured(argv, dsn=database, scratch=tmp_path, codes=(0, 1)).output == ""


def test_temporary_bytes_are_those_of_the_statement(database: str, tmp_path: Path) -> None:
    """Outcome: a statement that spills is told from one that does not, run after run."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT n AS id, repeat('x', 50) || n % 99999 AS k"
            " FROM generate_series(1, 100000) n"
        )
        connection.execute("ANALYZE t")
    table = Table(
        dsn=database, name="t", key="k", index=None, rows=100_000, heap_bytes=0,
        truth=Found(groups=1, rows_in_groups=2, fingerprint=None),
    )  # fmt: skip
    small, large = (
        Statement(
            name=memory,
            sql=GROUP_BY.sql,
            settings={"work_mem": memory, "enable_hashagg": "off"},
            groups=True,
        )
        for memory in ("1MB", "200MB")
    )
    runs = [contestant.run(table, tmp_path) for contestant in (small, large, small)]
    assert [run.temp_bytes > 5_000_000 for run in runs] == [True, False, True]
    assert (runs[1].temp_bytes, runs[1].temp_files) == (0, 0)
    for run in runs:
        assert run.found is not None
        assert (run.found.groups, run.found.rows_in_groups) == (1, 2)
