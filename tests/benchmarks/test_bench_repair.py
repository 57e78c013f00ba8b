"""The benchmark of the repair: it goes through, its peers are right, it notices what is not."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.command import run as command
from benchmarks.machine import Machine
from benchmarks.repair import __main__ as module
from benchmarks.repair import course, peer
from benchmarks.repair.course import Asked, Figures
from benchmarks.repair.ours import Ours, Step
from benchmarks.repair.peer import PEERS, PeerOutcome
from benchmarks.repair.state import differing, state
from benchmarks.repair.tables import INDEX, Shape, copied, original, status_id
from benchmarks.repair.times import Times
from benchmarks.repair.watch import watching
from benchmarks.repair.writer import Writes, writing
from dedupe.lab import Server

from .running import bench


def test_the_benchmark_prints_its_figures() -> None:
    """Outcome: peers and pgmend leave the same rows, undo those from before, nothing is left."""
    done = bench("benchmarks.repair", "--rows", "20000", "--check")
    assert done.returncode == 0, done.stderr + done.stdout
    assert re.match(r"\d\d:\d\d:\d\d 20,000 rows need up to 0\.\d GB under ", done.stderr)
    lines = done.stdout.splitlines()
    for start in (
        "four tables of 20,000 rows, ", "find (not counted)  ", "re-point media  ", "all  ",
        "scan  ", "plan  ", "repair  ", "undo  ", "batches: p50 ",
        "locks seen from outside, repair: ", "repair / SQL  ", "undo / repair  ",
        "locks of a batch, p99  ", "client memory  ",
    ):  # fmt: skip
        assert [line for line in lines if line.startswith(start)], f"{start!r}\n{done.stdout}"
    assert lines[-1] == "All left the same rows, and undo left those that there were before."


@pytest.mark.slow
def test_the_benchmark_beside_a_writer_as_json() -> None:
    """Scenario: somebody updates rows meanwhile. Outcome: the repair is the same all the same."""
    done = bench("benchmarks.repair", "--rows", "10000", "--groups", "1500", "--writer", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert [outcome["name"] for outcome in told["peers"]] == [one.name for one in PEERS]
    assert told["ours"]["repair"]["told"]["deleted"]["public.statuses"] == 1500
    for moment in ("alone", "beside"):
        assert 0 < told["ours"]["writes"][moment]["p50"] < 1
    assert told["verdicts"]["of_peer"]["met"] is None
    for step in ("scan", "plan", "repair", "undo"):
        assert 10_000_000 < told["ours"][step]["rss_bytes"] < 150_000_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", str(10**12)], "1,000,000,000,000 rows need"),
        (["--rows", "10000", "--groups", "5001"], "5,001 groups of two take more than 10,000 rows"),
    ],
)
def test_what_cannot_be_is_refused_first(arguments: list[str], words: str) -> None:
    done = bench("benchmarks.repair", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "building" not in done.stderr


@pytest.mark.parametrize(
    "shape", [Shape(rows=10_000, groups=400), Shape(rows=9_999, groups=4_999)], ids=str
)
def test_peers_leave_what_is_right(lab: Server, shape: Shape) -> None:
    """Outcome: of every group its oldest row is there, and everything refers to it that did
    to either, but for favourites that became equal; no other row has changed.
    """
    with original(lab, shape) as built:
        before = state(built.dsn)
        expected = _rows(built.dsn)
        survivors = {}
        for row, uri in sorted((row[0], row[-1]) for row in expected["statuses"]):
            survivors[row] = survivors.get(uri, row)
            survivors.setdefault(uri, row)
        losers = {row for row in survivors if isinstance(row, int) and survivors[row] != row}
        assert len(losers) == shape.groups
        expected["statuses"] = [row for row in expected["statuses"] if row[0] not in losers]
        pairs = {(row[2], row[1]) for row in expected["favourites"]}
        expected["favourites"] = [
            (row, survivors[status], account)
            for row, status, account in expected["favourites"]
            if status not in losers or (account, survivors[status]) not in pairs
        ]
        assert len(expected["favourites"]) < shape.rows - shape.groups // 5
        expected["media"] = [(row, survivors[status]) for row, status in expected["media"]]
        expected["reports"] = [
            (row, kind, survivors[target] if kind == "Status" else target)
            for row, kind, target in expected["reports"]
        ]
        for one in PEERS:
            with copied(lab, built, "peer") as dsn:
                outcome = peer.run(one, dsn)
                assert _rows(dsn) == expected
                assert differing(state(dsn), before) == list(before)
                with psycopg.connect(dsn) as connection:
                    flags = connection.execute(
                        "SELECT indisunique, indisvalid FROM pg_index"
                        " WHERE indexrelid = %s::regclass",
                        [INDEX],
                    ).fetchone()
                assert flags == (True, True)
                assert outcome.rows["delete losers"] == shape.groups
                assert 0 < outcome.seconds < sum(outcome.steps.values())
        assert differing(state(built.dsn), before) == []


def _rows(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    columns = {
        "statuses": "id, uri", "favourites": "id, status_id, account_id",
        "media": "id, status_id", "reports": "id, target_type, target_id",
    }  # fmt: skip
    with psycopg.connect(dsn) as connection:
        return {
            table: connection.execute(f"SELECT {what} FROM {table} ORDER BY id").fetchall()
            for table, what in columns.items()
        }


def test_a_writer_changes_nothing_that_is_compared(lab: Server) -> None:
    shape = Shape(rows=10_000, groups=400)
    with original(lab, shape) as built, copied(lab, built, "written") as dsn:
        with writing(dsn, shape) as writes:
            time.sleep(0.5)
        for times in (writes.alone, writes.beside):
            assert times is not None
            assert 0 < times.p50 <= times.p99 <= times.longest
        with psycopg.connect(dsn) as connection:
            for table in ("statuses", "favourites", "media", "reports"):
                (changed,) = connection.execute(
                    f"SELECT count(*) FROM {table} WHERE updated_at > '2026-01-01'"
                ).fetchone() or (0,)
                assert changed > 0
            assert connection.execute(
                "SELECT min(id), max(id) FROM statuses"
            ).fetchone() == (status_id(1), status_id(shape.rows))
        assert differing(state(dsn), state(built.dsn)) == []


def test_locks_are_seen_from_outside(lab: Server) -> None:
    """Scenario: three transactions, one after another: one locks a row, one has
    another table's rows, one only reads. Outcome: the first is seen, with its length.
    """
    with (
        original(lab, Shape(rows=10_000, groups=400)) as built,
        copied(lab, built, "watched") as dsn,
    ):
        for statement in (
            "SELECT FROM media WHERE id = 7 FOR UPDATE",
            "CREATE TABLE other AS SELECT",
            "SELECT FROM statuses WHERE id = 7",
        ):
            with watching(dsn) as held, psycopg.connect(dsn) as connection:
                connection.execute(statement)
                time.sleep(0.3)
            if "FOR UPDATE" in statement:
                assert held.times is not None
                assert held.times.count == 1
                assert 0.1 < held.times.longest < 5
            else:
                assert held.times is None


def test_times_are_by_nearest_rank() -> None:
    times = Times.of(range(100, 0, -1))
    assert (times.count, times.p50, times.p99, times.longest) == (100, 50, 99, 100)
    assert Times.of([0.5]) == Times(count=1, p50=0.5, p99=0.5, longest=0.5)
    assert str(Times.of([0.0021, 3])) == "p50 2.1 ms, p99 3.00 s, longest 3.00 s of 2"


BEFORE = {"statuses": (5_000_000, 1), "favourites": (5_000_000, 2),
          "media": (5_000_000, 3), "reports": (5_000_000, 4)}  # fmt: skip
AFTER = {**BEFORE, "statuses": (4_800_000, 5)}


def step(name: str, seconds: float, *, rss: int = 100_000_000, **told: Any) -> Step:
    return Step(
        name=name, seconds=seconds, process_seconds=seconds + 1, rss_bytes=rss, temp_bytes=0,
        told=told,
    )  # fmt: skip


OURS = Ours(
    scan=step("scan", 2.0, groups=200_000),
    plan=step("plan", 1.0, groups=200_000),
    repair=step("repair", 20.0, status="repaired", left=0),
    undo=step("undo", 15.0, status="undone", refused=0),
    batches=Times(count=100, p50=0.5, p99=0.8, longest=0.9),
    repair_locks=Times(count=90, p50=0.5, p99=0.8, longest=0.9),
    undo_locks=None,
    writes=None,
    repaired=AFTER,
    undone=BEFORE,
)
WRITES = Writes(alone=OURS.batches, beside=OURS.batches)


def figures(**other: Any) -> Figures:
    """Make figures in which everything but what is given is as it is wanted."""
    shape = Shape(rows=5_000_000, groups=200_000)
    ours = replace(OURS, **other)
    return Figures(
        asked=Asked(shape=shape, writer=ours.writes is not None),
        machine=Machine(
            processor="x", cores=2, memory_bytes=1, load=0.0, kernel="x", postgresql="18",
            settings={}, python="3", packages={},
        ),
        heap_bytes=1,
        peers=(
            PeerOutcome(name="slow", steps={"find": 1.0, "map": 11.0}, rows={}),
            PeerOutcome(name="fast", steps={"find": 9.0, "map": 10.0}, rows={"map": 1}),
        ),
        ours=ours,
        before=BEFORE,
        repaired=AFTER,
        wrong=tuple(course.wrong_ours(shape, BEFORE, AFTER, ours)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measured", "arguments", "code", "shown"),
    [
        (figures(), ["--check"], 0, "≤ 3:    2.00  PASS"),
        (figures(repair=step("repair", 30.1, status="repaired", left=0)), ["--check"], 1,
         "3.01  FAIL"),
        (figures(repair=step("repair", 30.1, status="repaired", left=0)), [], 0, "3.01  FAIL"),
        (figures(undo=step("undo", 20.4, status="undone", refused=0)), ["--check"], 1,
         "1.02  FAIL"),
        (figures(plan=step("plan", 1.0, rss=151_000_000, groups=200_000)), ["--check"], 1,
         "151 MB  FAIL"),
        (figures(batches=Times(count=9, p50=0.1, p99=1.1, longest=1.1)), ["--check"], 1,
         "1.10 s  FAIL"),
        (figures(writes=WRITES, repair=step("repair", 90.0, status="repaired", left=0)),
         ["--check"], 0, "9.00     -"),
        (figures(writes=WRITES, undone=AFTER, undo=step("undo", 1.0, status="partly", refused=3)),
         [], 0, "because they were changed since: 3"),
        (figures(undone=AFTER), [], 5, "WRONG: pgmend's undo left other rows of statuses"),
        (figures(undo=step("undo", 1.0, status="partly", refused=3)), [], 5, "refused 3 rows"),
        (figures(repaired=BEFORE), [], 5, "WRONG: pgmend left other rows of statuses"),
        (figures(repair=step("repair", 9.0, status="left", left=2)), [], 5, "with 2 groups left"),
        (figures(scan=step("scan", 2.0, groups=1)), [], 5, "scan has 1 groups, not 200,000"),
    ],
)  # fmt: skip
def test_the_exit_code_says_how_it_went(
    measured: Figures,
    arguments: list[str],
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Outcome: a wrong result always counts, a missed figure only with --check."""
    monkeypatch.setattr(module, "measure", lambda *_: measured)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(module.machine, "check_space", lambda *_: (0, Path()))
    monkeypatch.setattr(sys, "argv", ["benchmarks.repair", *arguments])
    assert command(module.benchmark) == code
    text = capsys.readouterr().out
    assert shown in text, text


def test_wrong_peers_are_noticed() -> None:
    shape = Shape(rows=5_000_000, groups=200_000)
    other = {**AFTER, "favourites": (5_000_000, 9)}
    assert list(course.wrong_peers(shape, BEFORE, {"a": AFTER, "b": AFTER})) == []
    assert list(course.wrong_peers(shape, BEFORE, {"a": AFTER, "b": other})) == [
        "b left other rows of favourites than the first peer"
    ]
    assert list(course.wrong_peers(shape, BEFORE, {"a": BEFORE})) == [
        "a left 5,000,000 rows of statuses, not 4,800,000"
    ]
