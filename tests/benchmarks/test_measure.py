"""What is measured is what happened: memory of every process, the server's own files."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

from benchmarks.failure import BenchmarkFailed, OverLimit
from benchmarks.measure import measured, own_peak
from benchmarks.peers import GROUP_BY
from benchmarks.processes import Limits
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


def test_all_processes_over_a_limit_are_ended(database: str, tmp_path: Path) -> None:
    """Scenario: the process that is started stays small enough, the one below it does not.
    Outcome: both are gone, at once and for the reason that is told.
    """
    argv = [sys.executable, "-c", TWO.replace("0.4", "60")]
    with pytest.raises(OverLimit, match=r"over 0\.1 GB of memory after \d s"):
        measured(argv, dsn=database, scratch=tmp_path, limits=Limits(rss_bytes=120_000_000))
    with pytest.raises(OverLimit, match="not done after 1 s"):
        measured(argv, dsn=database, scratch=tmp_path, limits=Limits(seconds=1.0))
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"bytearray(b'x')" not in command.read_bytes()
        except OSError:
            continue


def test_memory_of_the_server_is_that_of_its_sessions(database: str, tmp_path: Path) -> None:
    """Outcome: a sort in memory is seen, a sum is not, and files have their size."""
    program = (
        "import psycopg, sys, time, pathlib;"
        "pathlib.Path('file').write_bytes(bytes(1000000));"
        "connection = psycopg.connect(sys.argv[1]);"
        "connection.execute(\"SET work_mem = '200MB'\");"
        "connection.execute(sys.argv[2]);"
        "time.sleep(0.2)"
    )
    small, large = (
        measured([sys.executable, "-c", program, database, query], dsn=database, scratch=tmp_path)
        for query in (
            "SELECT count(*) FROM generate_series(1, 10)",
            "DECLARE c CURSOR FOR SELECT FROM generate_series(1, 400000) n ORDER BY n % 9; FETCH c",
        )
    )
    assert small.disk_bytes == large.disk_bytes == 1_000_000
    if small.server_private_bytes is None:
        pytest.skip("the server is on another machine")
    assert large.server_private_bytes is not None
    assert small.server_private_bytes < 20_000_000 < large.server_private_bytes < 200_000_000


def test_temporary_bytes_are_those_of_the_statement(database: str, tmp_path: Path) -> None:
    """Outcome: a statement that spills is told from one that does not, run after run."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT n AS id, repeat('x', 50) || n % 99999 AS k"
            " FROM generate_series(1, 100000) n"
        )
        connection.execute("ANALYZE t")
    table = Table(
        dsn=database, name="t", key="k", index=None, rows=100_000, keyed_rows=100_000,
        heap_bytes=0,
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
