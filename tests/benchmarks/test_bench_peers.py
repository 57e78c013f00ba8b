"""Every contestant by itself: what it finds, and that it reads the table and no index."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest

from benchmarks.cache import Passing
from benchmarks.contest import Contestant
from benchmarks.course import Course
from benchmarks.failure import BenchmarkFailed
from benchmarks.floor import FLOOR
from benchmarks.ours import Scan
from benchmarks.peers import ADBC, BUILD, GROUP_BY, PEERS
from benchmarks.processes import Limits
from benchmarks.statement import Statement
from benchmarks.table import Store, Table, conversations, keyed, statuses
from dedupe.lab import Server

Build = Callable[[Store, int, int], AbstractContextManager[Table]]


@pytest.mark.parametrize("build", [statuses, conversations])
def test_every_peer_finds_what_is_planted(lab: Server, build: Build, tmp_path: Path) -> None:
    """Outcome: all groups but for the index build, and none by the damaged index."""
    with build(Passing(lab), 20_000, 3) as table:
        assert (table.truth.groups, table.truth.rows_in_groups) == (8, 20)
        for peer in PEERS:
            if peer is ADBC:
                continue
            outcome = peer.run(table, tmp_path)
            assert not outcome.resumes
            assert _index_scans(table) == 0, peer.name
            if peer is BUILD:
                assert outcome.found is not None
                assert (outcome.found.groups, outcome.complete) == (1, False)
                assert not outcome.wrong
            else:
                assert outcome.complete, f"{peer.name}: {outcome.found}"
            assert not _index_is_new(table)


@pytest.mark.parametrize("build", [statuses, conversations])
def test_the_columnar_peer_finds_what_is_planted(
    lab: Server, build: Build, tmp_path: Path
) -> None:
    for module in ("adbc_driver_postgresql", "pyarrow", "duckdb"):
        pytest.importorskip(module, reason=f"no {module}: it is in the extra bench")
    with build(Passing(lab), 20_000, 3) as table:
        assert ADBC.run(table, tmp_path).complete
        assert _index_scans(table) == 0


def _index_scans(table: Table) -> int:
    with psycopg.connect(table.dsn) as connection:
        (scans,) = connection.execute(
            "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s", [table.index]
        ).fetchone() or (-1,)
    return int(scans)


def _index_is_new(table: Table) -> bool:
    """Say whether there are more indexes than the damaged one and the primary key."""
    with psycopg.connect(table.dsn) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass", [table.name]
        ).fetchone() or (0,)
    return int(count) != 2


def test_the_index_does_lie(lab: Server) -> None:
    """Outcome: it is unique to the catalog, and conversations have a uri in one row of three."""
    with conversations(Passing(lab), 20_000, 1) as table, psycopg.connect(table.dsn) as connection:
        (unique,) = connection.execute(
            "SELECT indisunique AND indisvalid FROM pg_index WHERE indexrelid = %s::regclass",
            [table.index],
        ).fetchone() or (None,)
        assert unique is True
        rows = connection.execute(
            "SELECT count(*), count(uri), count(uri) - count(DISTINCT uri), min(uri)"
            " FROM conversations"
        ).fetchone()
    assert rows is not None
    assert rows[:3] == (20_000, table.keyed_rows, table.truth.rows_in_groups - table.truth.groups)
    assert 0.33 < table.keyed_rows / table.rows < 0.34
    assert rows[3].startswith("tag:instance")
    assert 70 < table.heap_bytes / table.rows < 85


def test_a_peer_over_its_limit_is_reported_and_the_rest_goes_on(
    lab: Server, tmp_path: Path
) -> None:
    """Outcome: its backend is ended as well, and whoever comes next is measured."""
    sleeper = Statement(
        name="sleeper", sql="SELECT array_agg(id) FROM {table}, pg_sleep(60)", groups=True
    )
    broken = Statement(name="broken", sql="SELECT no_such_column FROM {table}", groups=True)
    told: list[str] = []
    course = Course(
        rounds=1, scratch=tmp_path, limits=Limits(seconds=6.0), tell=told.append
    )
    with statuses(Passing(lab), 10_000, 1) as table:
        peers: tuple[Contestant, ...] = (sleeper, broken, GROUP_BY)
        contest = course.contest(table, "statuses", [FLOOR], peers)
        with pytest.raises(BenchmarkFailed, match="no_such_column"):
            course.contest(table, "statuses", [broken])
    assert contest.names == ["floor", "sleeper", "broken", "GROUP BY"]
    floor, slept, failed, group_by = contest.outcomes
    assert (floor.failure, group_by.failure, group_by.complete) == (None, None, True)
    assert slept.failure == "not done after 6 s"
    assert (slept.seconds, slept.complete, slept.rss_bytes) == (None, None, None)
    assert failed.failure is not None
    assert contest.net_seconds("sleeper") is None
    assert contest.wrong == []
    assert "sleeper failed: not done after 6 s" in told


def test_the_relay_counts_what_passes(lab: Server, tmp_path: Path) -> None:
    """Outcome: a sum is a few bytes, every key is more than its length, a scan in between."""
    course = Course(rounds=1, scratch=tmp_path, limits=Limits(), tell=lambda _: None)
    keys = Statement(name="keys", sql="SELECT {key} FROM {table}", groups=False)
    with statuses(Passing(lab), 10_000, 1) as table:
        found = course.network(table, [FLOOR, Scan(jobs=2, memory="64MB"), keys], [])
    assert 0 < found["floor"] < 1
    assert 72 < found["keys"] < 100
    assert found["floor"] < found["pgmend"] < found["keys"]


def test_keys_of_every_type_have_the_same_groups(lab: Server, tmp_path: Path) -> None:
    query = "SELECT array_agg(id) FROM {{table}} GROUP BY {} HAVING count(*) > 1"
    with keyed(Passing(lab), 10_000, 1) as table:
        for key in ("number", "token", "uri", "uri, half", "lower(uri)"):
            peer = Statement(name=key, sql=query.format(key), groups=True)
            assert peer.run(table, tmp_path).complete, key
        scan = Scan(jobs=2, memory="64MB", key=("--key", "token"), options=("--order", "key"))
        assert scan.run(table, tmp_path).complete
