"""A physical standby has the same addresses as its primary, and gives the same answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from dedupe import MatchKey, RunStatus, scan
from dedupe.errors import RunMismatch, ServerUnavailable
from dedupe.lab import Server, server

from ..faults import caught_up, standby
from ..scanning import GROUPS, Connection, Moments, heap_groups, make_table, told_groups

T_K = MatchKey.from_columns("t", "k")
WRITE = "INSERT INTO t VALUES (-1, 'k500')"


@dataclass(frozen=True)
class Pair:
    """A primary and its standby."""

    primary: Connection
    follower: Connection
    primary_dsn: str
    standby_dsn: str

    def sync(self) -> None:
        caught_up(self.primary, self.follower)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Server, str]]:
    """Give a server and its standby, for the tests of this file one after another."""
    if os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server(settings={"wal_level": "replica"}) as primary, standby(primary) as dsn:
        yield primary, dsn


@pytest.fixture
def pair(served: tuple[Server, str]) -> Iterator[Pair]:
    """Give both with a fresh table."""
    primary, dsn = served
    with (
        psycopg.connect(primary.dsn(), autocommit=True) as one,
        psycopg.connect(dsn, autocommit=True) as other,
    ):
        made = Pair(one, other, primary.dsn(), dsn)
        one.execute("DROP TABLE IF EXISTS t")
        make_table(one)
        made.sync()
        yield made


@pytest.mark.parametrize("order", ["physical", "key"])
def test_a_standby_finds_the_same_groups_at_the_same_addresses(
    pair: Pair, tmp_path: Path, order: str
) -> None:
    there = scan(pair.standby_dsn, T_K, tmp_path / "standby", jobs=3, order=order)
    here = scan(pair.primary_dsn, T_K, tmp_path / "primary", jobs=3, order=order)
    assert told_groups(there) == told_groups(here) == heap_groups(pair.primary, "t", "k")
    assert there.keys[0].groups == GROUPS


def test_what_is_written_on_the_primary_during_the_scan_is_swept(
    pair: Pair, place: Path, moments: Moments
) -> None:
    def write() -> None:
        pair.primary.execute(
            "INSERT INTO t VALUES (-1, 'k500'), (-2, 'k501'); DELETE FROM t WHERE id = 3;"
            "UPDATE t SET id = -id WHERE id BETWEEN 14000 AND 14010"
        )
        pair.sync()

    moments.at(RunStatus.SCANNING, 6, write)
    run = scan(pair.standby_dsn, T_K, place, jobs=1, on_progress=moments)
    assert moments.chunks[RunStatus.SWEEPING] > 0
    assert told_groups(run) == heap_groups(pair.follower, "t", "k")
    assert run.keys[0].groups == GROUPS + 1


def test_a_snapshot_that_replay_ends_is_taken_anew(
    pair: Pair, place: Path, moments: Moments
) -> None:
    """Scenario: the primary's vacuum removes rows that the snapshot on the standby still sees,
    and the standby does not wait for readers.
    Outcome: the session is ended, which is told; sweep and confirm begin again.
    """
    pair.follower.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    pair.follower.execute("SELECT pg_reload_conf()")

    def clean() -> None:
        pair.primary.execute("DELETE FROM t WHERE id BETWEEN 5000 AND 6000")
        pair.primary.execute("VACUUM t")
        pair.sync()

    try:
        moments.at(RunStatus.SCANNING, 2, lambda: pair.primary.execute(WRITE))
        moments.at(RunStatus.CONFIRMING, 0, clean)
        run = scan(pair.standby_dsn, T_K, place, on_progress=moments)
    finally:
        pair.follower.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        pair.follower.execute("SELECT pg_reload_conf()")
    assert told_groups(run) == heap_groups(pair.follower, "t", "k")
    assert any("sweeping again" in message for message in moments.messages)


@pytest.mark.parametrize("first", ["primary", "standby"])
def test_a_run_may_go_on_on_the_other_server(
    pair: Pair, place: Path, moments: Moments, first: str
) -> None:
    """Scenario: the main pass is read on one of the two, the rest on the other, and rows are
    written and removed meanwhile.
    """
    dsns = {"primary": pair.primary_dsn, "standby": pair.standby_dsn}
    moments.stop_at(RunStatus.CONFIRMING)
    moments.at(RunStatus.SCANNING, 4, lambda: pair.primary.execute(WRITE))
    stopped = scan(dsns.pop(first), T_K, place, jobs=1, on_progress=moments)
    assert stopped.status is RunStatus.INTERRUPTED
    pair.primary.execute("INSERT INTO t VALUES (-2, 'k501'); DELETE FROM t WHERE id = 3")
    pair.sync()
    run = scan(dsns.popitem()[1], T_K, place, jobs=1, on_progress=moments)
    assert told_groups(run) == heap_groups(pair.primary, "t", "k")
    assert run.keys[0].groups == GROUPS + 1


@pytest.mark.parametrize("phase", [RunStatus.SCANNING, RunStatus.CONFIRMING])
def test_a_standby_that_is_behind_does_not_finish_the_primarys_run(
    pair: Pair, place: Path, moments: Moments, phase: RunStatus
) -> None:
    """Scenario: replay is paused; on the primary a row is removed and the main pass read; the
    standby, which still sees the row, is asked to finish.
    Outcome: refused for now, and done once the standby has replayed what the run has read:
    before, its snapshot would show a row that nobody has recorded.
    """
    pair.follower.execute("SELECT pg_wal_replay_pause()")
    try:
        pair.primary.execute("DELETE FROM t WHERE id = 3")
        moments.stop_at(phase, 0 if phase is RunStatus.CONFIRMING else 3)
        scan(pair.primary_dsn, T_K, place, jobs=1, on_progress=moments)
        with pytest.raises(ServerUnavailable, match="behind what the run has read") as caught:
            scan(pair.standby_dsn, T_K, place, jobs=1)
        assert "caught up" in (caught.value.hint or "")
    finally:
        pair.follower.execute("SELECT pg_wal_replay_resume()")
    pair.sync()
    run = scan(pair.standby_dsn, T_K, place, jobs=1)
    assert told_groups(run) == heap_groups(pair.primary, "t", "k")


def test_another_timeline_is_refused(
    own_server: Server, tmp_path: Path, moments: Moments
) -> None:
    """Scenario: a run stops; the standby is promoted, which is another history from there on.
    Outcome: refused by name on the promoted one; goes on where it was begun.
    """
    with (
        standby(own_server) as promoted,
        psycopg.connect(own_server.dsn(), autocommit=True) as primary,
        psycopg.connect(promoted, autocommit=True) as follower,
    ):
        make_table(primary)
        caught_up(primary, follower)
        moments.stop_at(RunStatus.SCANNING, 3)
        place = tmp_path / "run"
        scan(own_server.dsn(), T_K, place, jobs=1, on_progress=moments)
        follower.execute("SELECT pg_promote()")
        with pytest.raises(RunMismatch, match="timeline") as caught:
            scan(promoted, T_K, place)
        assert (caught.value.field, caught.value.expected, caught.value.found) == ("timeline", 1, 2)
        run = scan(own_server.dsn(), T_K, place)
        assert told_groups(run) == heap_groups(primary, "t", "k")
        after = scan(promoted, T_K, tmp_path / "new")
        assert told_groups(after) == told_groups(run)
