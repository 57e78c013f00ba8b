"""The benchmark end to end on a small table, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.contest import Outcome
from benchmarks.course import Asked, Contest, Figures
from benchmarks.machine import Machine
from benchmarks.truth import Found, found_in

from .running import bench

TRUTH = Found(groups=2, rows_in_groups=5, fingerprint="00")
OTHERS = Found(groups=2, rows_in_groups=5, fingerprint="01")
FEWER = Found(groups=1, rows_in_groups=2, fingerprint="02")


def test_the_benchmark_prints_its_figures() -> None:
    """Outcome: floor, pgmend and peer are there, the groups are the planted ones, and
    nothing is left.
    """
    done = bench("benchmarks", "--rows", "20000", "--rounds", "1", "--check")
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d\d:\d\d:\d\d 20,000 rows need up to 0\.\d GB under ", done.stderr)
    lines = done.stdout.splitlines()
    for start in (
        "floor  ", "pgmend  ", "GROUP BY  ", "pgmend, a tenth  ", "pgmend, all one group  ",
        "pgmend / floor  ", "GROUP BY / pgmend  ", "client memory  ",
        "client memory, all one group  ", "memory growth from 2,000 rows  ",
    ):  # fmt: skip
        assert [line for line in lines if line.startswith(start)], f"{start!r}\n{done.stdout}"
    (temporary,) = (line for line in lines if line.startswith("temporary bytes on the server "))
    assert temporary.split()[-4:] == ["wanted", "0:", "0", "PASS"]
    assert lines[-1] == "Every run found what was planted: 8 groups of 20 rows in 20,000."


@pytest.mark.slow
def test_the_benchmark_as_json() -> None:
    """Scenario: two rounds and another seed. Outcome: every run, in turn."""
    done = bench("benchmarks", "--rows", "10000", "--rounds", "2", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    runs = told["statuses"]["runs"]
    assert [run["contestant"] for run in runs] == ["floor", "pgmend", "GROUP BY"] * 2
    planted = told["statuses"]["planted"]
    assert planted["rows_in_groups"] == 9
    assert [run["found"] for run in runs] == [None, planted, planted] * 2
    assert told["one_group"]["runs"][0]["found"]["rows_in_groups"] == 5000
    assert told["as_planted"] is True
    for run in runs:
        assert 0 < run["seconds"] < run["process_seconds"]
        assert 10_000_000 < run["rss_bytes"] < 150_000_000


def test_too_small_a_disk_is_refused_first() -> None:
    done = bench("benchmarks", "--rows", str(10**12))
    assert done.returncode == 2
    assert "1,000,000,000,000 rows need 550000.4 GB under" in done.stderr
    assert "building" not in done.stderr


def test_a_fingerprint_is_that_of_the_groups() -> None:
    """Outcome: no order counts, every member does."""
    same = found_in([[1, 2], [5, 4, 3]])
    assert same == found_in([[3, 4, 5], [2, 1]])
    assert (same.groups, same.rows_in_groups) == (2, 5)
    assert same != found_in([[1, 3], [5, 4, 2]])


def outcome(contestant: str, **facts: Any) -> Outcome:
    return Outcome(
        **{
            "contestant": contestant, "rows": 10_000_000, "seconds": 2.0, "sweep_seconds": 0.0,
            "process_seconds": 2.5, "rss_bytes": 100_000_000, "temp_bytes": 0, "temp_files": 0,
            "found": TRUTH,
        } | facts
    )  # fmt: skip


def figures(ours: Outcome, peer: Outcome, memory: str = "64MB") -> Figures:
    """Make figures in which everything but these two is as it is wanted."""

    def contest(*outcomes: Outcome) -> Contest:
        return Contest(rows=10_000_000, heap_bytes=1, truth=TRUTH, outcomes=outcomes)

    return Figures(
        asked=Asked(rows=10_000_000, rounds=1, jobs=2, memory=memory, seed=1),
        machine=Machine(
            processor="x", cores=2, memory_bytes=1, load=0.0, kernel="x", postgresql="18",
            settings={}, python="3", packages={},
        ),
        statuses=contest(outcome("floor", seconds=1.0, found=None), ours, peer),
        tenth=contest(outcome("pgmend")),
        one_group=contest(outcome("pgmend")),
    )  # fmt: skip


OURS = outcome("pgmend", seconds=2.6, sweep_seconds=0.5)
PEER = outcome("GROUP BY", seconds=8.0)


@pytest.mark.parametrize(
    ("measured", "arguments", "code", "shown"),
    [
        (figures(OURS, PEER), ["--check"], 0, "2.10  PASS"),
        (figures(outcome("pgmend", seconds=2.3), PEER), ["--check"], 1, "2.30  FAIL"),
        (figures(outcome("pgmend", seconds=2.3), PEER), [], 0, "2.30  FAIL"),
        (figures(OURS, outcome("GROUP BY", seconds=7.0)), ["--check"], 1, "3.33  FAIL"),
        (figures(outcome("pgmend", temp_bytes=8192), PEER), ["--check"], 1, "8,192  FAIL"),
        (figures(outcome("pgmend", rss_bytes=151_000_000), PEER), ["--check"], 1, "151 MB  FAIL"),
        (figures(outcome("pgmend", rss_bytes=106_000_000), PEER), ["--check"], 1, "+6.0%  FAIL"),
        (figures(outcome("pgmend", seconds=2.3), PEER, "1GB"), ["--check"], 0, "2.30     -"),
        (figures(outcome("pgmend", found=OTHERS), PEER), [], 5, "WRONG: pgmend found 2 groups"),
        (figures(OURS, outcome("GROUP BY", found=FEWER)), ["--check"], 5, "WRONG: GROUP BY"),
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
    """Outcome: a wrong answer always counts, a missed figure only with --check."""
    monkeypatch.setattr(command, "measure", lambda *_: measured)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    assert command.main() == code
    assert shown in capsys.readouterr().out
