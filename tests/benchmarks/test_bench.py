"""The benchmark end to end on a small table, its peers one by one, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.contest import Outcome
from benchmarks.figures import Asked, Contest, Figures
from benchmarks.floor import FLOOR
from benchmarks.machine import Machine
from benchmarks.peers import BUILD, GROUP_BY, PEERS, SORT
from benchmarks.results import load
from benchmarks.truth import Found, found_in

from .running import bench

TRUTH = Found(groups=2, rows_in_groups=5, fingerprint="00")
OTHERS = Found(groups=2, rows_in_groups=5, fingerprint="01")
FEWER = Found(groups=1, rows_in_groups=2, fingerprint="02")


def test_the_benchmark_prints_its_figures(tmp_path: Path) -> None:
    """Outcome: floor, pgmend and peers are there for both tables, the groups are the
    planted ones, nothing is left, and the file has what is printed.
    """
    file = tmp_path / "results.json"
    done = bench("benchmarks", "--rows", "20000", "--check", "--output", str(file))
    assert done.returncode == 0, done.stderr
    assert re.match(
        r"\d\d:\d\d:\d\d 20,000 rows need up to 0\.\d GB under .*, and 1 minutes", done.stderr
    )
    lines = done.stdout.splitlines()
    for contestant in (FLOOR, *PEERS):
        found = [line for line in lines if line.startswith(f"{contestant.name}  ")]
        assert len(found) == 2, f"{contestant.name!r}\n{done.stdout}"
    for start in (
        "pgmend  ", "statuses: 20,000 rows", "conversations: 20,000 rows",
        "statuses, a tenth: 2,000 rows", "one group: 10,000 rows",
        "statuses: pgmend / floor  ", "conversations: GROUP BY / pgmend  ",
        "statuses: best complete peer / pgmend  ", "client memory  ",
        "client memory, all one group  ", "memory growth from 2,000 rows  ",
    ):  # fmt: skip
        assert [line for line in lines if line.startswith(start)], f"{start!r}\n{done.stdout}"
    (temporary,) = (line for line in lines if line.startswith("temporary bytes on the server "))
    assert temporary.split()[-4:] == ["wanted", "0:", "0", "PASS"]
    assert lines[-1] == "Every complete run found what was planted: 8 groups of 20 rows in 20,000."

    told = load(file)
    assert [contest["table"] for contest in told["contests"]] == [
        "statuses", "conversations", "statuses, a tenth", "one group",
    ]  # fmt: skip
    assert {verdict["name"] for verdict in told["verdicts"]} >= {
        "statuses_of_floor", "conversations_of_best", "rss_growth",
    }  # fmt: skip
    assert told["as_planted"] is True
    assert told["asked"]["rounds"] == 1
    for contest in told["contests"][:2]:
        runs = {run["contestant"]: run for run in contest["outcomes"]}
        assert list(runs) == ["floor", "pgmend", *(peer.name for peer in PEERS)]
        assert runs["pgmend"]["complete"] is runs["pgmend"]["resumes"] is True
        assert runs["floor"]["complete"] is None
        assert runs[BUILD.name]["complete"] is False
        assert runs[BUILD.name]["groups"] == 1
        # The keys of a third or of all rows have to reach a client that sorts them.
        assert runs[SORT.name]["network_bytes"] > contest["keyed_rows"] * 60
        assert runs[GROUP_BY.name]["network_bytes"] < contest["keyed_rows"] * 10
        assert runs["pgmend"]["disk_bytes"] > 0


@pytest.mark.slow
def test_rounds_seed_and_json() -> None:
    """Scenario: two rounds and another seed. Outcome: every run in turn, peers once."""
    done = bench("benchmarks", "--rows", "10000", "--rounds", "2", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    contest = told["contests"][0]
    names = [run["contestant"] for run in contest["outcomes"]]
    first, second = PEERS[0::2], PEERS[1::2]
    assert names == [
        "floor", "pgmend", *(peer.name for peer in first),
        "floor", "pgmend", *(peer.name for peer in second),
    ]  # fmt: skip
    assert contest["truth"]["rows_in_groups"] == 9
    for run in contest["outcomes"]:
        if run["failure"] is None:
            assert 0 < run["seconds"] < run["process_seconds"]
            assert 10_000_000 < run["rss_bytes"] < 400_000_000


def test_too_small_a_disk_is_refused_first() -> None:
    done = bench("benchmarks", "--rows", str(10**12))
    assert done.returncode == 2
    assert "1,000,000,000,000 rows need 550000.4 GB under" in done.stderr
    assert "statuses" not in done.stderr


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
            "found": TRUTH, "complete": True,
        } | facts
    )  # fmt: skip


def figures(
    ours: Outcome, *peers: Outcome, memory: str = "64MB", rows: int = 10_000_000
) -> Figures:
    """Make figures in which everything but these is as it is wanted."""

    def contest(table: str, *outcomes: Outcome) -> Contest:
        return Contest(
            table=table, rows=rows, keyed_rows=rows, heap_bytes=1, truth=TRUTH,
            outcomes=outcomes,
        )  # fmt: skip

    floor = outcome("floor", seconds=1.0, found=None, complete=None)
    return Figures(
        asked=Asked(rows=rows, rounds=1, jobs=2, memory=memory, seed=1, limit=900.0),
        machine=Machine(
            processor="x", cores=2, memory_bytes=1, load=0.0, kernel="x", postgresql="18",
            settings={}, python="3", packages={},
        ),
        made_at="2026-01-01T00:00:00+00:00",
        statuses=contest("statuses", floor, ours, *peers),
        conversations=contest(
            "conversations", floor, outcome("pgmend", seconds=1.4), outcome("GROUP BY", seconds=8.0)
        ),
        tenth=contest("statuses, a tenth", outcome("pgmend")),
        one_group=contest("one group", outcome("pgmend")),
    )  # fmt: skip


OURS = outcome("pgmend", seconds=2.6, sweep_seconds=0.5)
QUICK = outcome("pgmend", seconds=1.4)
PEER = outcome("GROUP BY", seconds=8.0)
LARGER = outcome("GROUP BY, 1 GB work_mem", seconds=2.0)
ENDED = outcome(
    "GROUP BY", seconds=None, complete=None, found=None, failure="not done after 900 s"
)
MANY = 50_000_000


@pytest.mark.parametrize(
    ("measured", "arguments", "code", "shown"),
    [
        (figures(OURS, PEER), ["--check"], 0, "2.10  PASS"),
        (figures(outcome("pgmend", seconds=2.3), PEER), ["--check"], 1, "2.30  FAIL"),
        (figures(outcome("pgmend", seconds=2.3), PEER), [], 0, "2.30  FAIL"),
        (figures(OURS, outcome("GROUP BY", seconds=7.0)), ["--check"], 1, "3.33  FAIL"),
        (figures(QUICK, PEER, rows=MANY), ["--check"], 0, "1.40  PASS"),
        (figures(OURS, outcome("GROUP BY", seconds=12.0), rows=MANY), ["--check"], 1,
         "2.10  FAIL"),
        (figures(outcome("pgmend", seconds=2.0), PEER, rows=MANY), ["--check"], 1, "4.00  FAIL"),
        (figures(OURS, PEER, LARGER), ["--check"], 1, "0.95 (GROUP BY, 1 GB work_mem)  FAIL"),
        (figures(OURS, PEER, outcome("CREATE UNIQUE INDEX", seconds=0.1, found=FEWER,
                                     complete=False, partial=True)), ["--check"], 0, "(GROUP BY)"),
        (figures(OURS, ENDED), ["--check"], 0, "GROUP BY  failed: not done after 900 s"),
        (figures(outcome("pgmend", temp_bytes=8192), PEER), ["--check"], 1, "8,192  FAIL"),
        (figures(outcome("pgmend", rss_bytes=129_000_000), PEER), ["--check"], 1, "129 MB  FAIL"),
        (figures(outcome("pgmend", rss_bytes=106_000_000), PEER), ["--check"], 1, "+6.0%  FAIL"),
        (figures(outcome("pgmend", seconds=2.3), PEER, memory="1GB"), ["--check"], 0, "2.30     -"),
        (figures(outcome("pgmend", found=OTHERS, complete=False), PEER), [], 5,
         "WRONG: pgmend found 2 groups"),
        (figures(OURS, outcome("GROUP BY", found=FEWER, complete=False)), ["--check"], 5,
         "WRONG: GROUP BY"),
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
    text = capsys.readouterr().out
    assert re.sub(" +", " ", shown) in re.sub(" +", " ", text), text
