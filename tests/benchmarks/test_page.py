"""The page of results: the same tables and plots of the same file, and no silent gaps."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from benchmarks.page import page, plain, rendered
from benchmarks.sentences import titled
from benchmarks.standing import read

ROOT = Path(__file__).parents[2]
HOSTILE = "a | b `c` $x^$ ](nowhere) <b>&amp; *x*\n\\| _y_\x00\x1b[0m # 1 | 2 |"


def outcome(contestant: str, seconds: float | None, **more: Any) -> dict[str, Any]:
    return {
        "contestant": contestant,
        "seconds": seconds,
        "sweep_seconds": 0,
        "process_seconds": None if seconds is None else seconds + 0.3,
        "rss_bytes": 37_000_000,
        "server_private_bytes": 21_000_000,
        "temp_bytes": 0,
        "network_bytes": 1_200_000,
        "groups": 22_000,
        "complete": True,
        "resumes": False,
        "failure": None,
        **more,
    }


def outcomes() -> list[dict[str, Any]]:
    rounds = []
    for slower in (1.0, 1.04, 0.97):
        rounds += [
            outcome("floor", 13.2 * slower, groups=None, complete=None),
            outcome(
                "pgmend", 20.1 * slower, sweep_seconds=1.2, rss_bytes=93_000_000,
                network_bytes=1_400_000_000, resumes=True,
            ),
            outcome("GROUP BY", 74.5 * slower, temp_bytes=5_300_000_000),
            outcome(
                "GROUP BY, 1 GB work_mem", 61.9 * slower,
                server_private_bytes=3_900_000_000, temp_bytes=2_100_000_000,
            ),
            outcome("window function", 148.0 * slower, temp_bytes=9_800_000_000),
            outcome(
                "COPY | sort | uniq", 96.3 * slower, server_private_bytes=None,
                rss_bytes=1_100_000_000, temp_bytes=4_700_000_000, groups=21_990, complete=False,
            ),
            outcome("ADBC into DuckDB", 54.4 * slower, rss_bytes=7_200_000_000),
        ]
    return [
        *rounds,
        outcome("Python script", 130.0, failure="killed: out of memory", complete=False),
        outcome(
            "CREATE UNIQUE INDEX", 41.0, groups=1, complete=False, temp_bytes=4_100_000_000,
            failure='could not create unique index "lies": Key (uri)=(https://a.b/c) is duplicated',
        ),
    ]  # fmt: skip


def timed(floor: float, times: float, **more: Any) -> dict[str, Any]:
    return {"seconds": floor * times + 1, "sweep_seconds": 1, "floor_seconds": floor, **more}


def sample() -> dict[str, Any]:
    """Return results as the benchmark writes them; the figures are invented."""
    keys = (("bigint", 1.31), ("uuid", 1.35), ("text, 72 bytes", 1.43), ("two columns", 1.61))
    shares = (("0", 1.40), ("0.1 %", 1.43), ("10 %", 1.79), ("all one group", 2.9))
    return {
        "format_version": 1,
        "made_at": "2026-11-29T02:00:00Z",
        "machine": {
            "processor": "AMD EPYC", "cores": 2, "memory_bytes": 25_769_803_776, "load": 0.05,
            "kernel": "Linux 6.1", "postgresql": "18.6", "python": "3.11.9",
            "settings": {"work_mem": "4MB", "shared_buffers": "1GB"},
            "packages": {"numpy": "2.4.6", "psycopg": "3.3.0"},
        },
        "asked": {"rows": 50_000_000, "rounds": 3, "jobs": 2, "memory": "64MB", "seed": 1},
        "contests": [
            {
                "table": "statuses", "rows": 50_000_000, "heap_bytes": 13_600_000_000,
                "truth": {"groups": 22_000, "rows_in_groups": 50_000}, "outcomes": outcomes(),
            },
        ],
        "verdicts": [
            {"name": "of_floor", "text": "pgmend / floor", "found": 1.43, "shown": "1.43",
             "wanted": "≤ 2.2", "met": True},
            {"name": "rss", "text": "client memory", "found": 1.6e8, "shown": "160 MB",
             "wanted": "≤ 150 MB", "met": False},
            {"name": "growth", "text": "memory growth", "found": 0.01, "shown": "+1.0%",
             "wanted": "< 5%", "met": None},
        ],
        "sweeps": {
            "rows": [
                timed(0.26 * rows, times, rows=rows * 1_000_000, rss_bytes=held * 1_000_000)
                for rows, times, held in
                ((1, 1.9, 88), (3, 1.6, 91), (10, 1.5, 92), (30, 1.43, 92), (50, 1.43, 93))
            ],
            "jobs": [timed(13.2, 2.1, jobs=1), timed(13.2, 1.43, jobs=2), timed(13.2, 1.4, jobs=4)],
            "order": [timed(13.2, 1.43, order="physical"), timed(13.2, 4.9, order="key")],
            "key_types": [timed(2.6, times, key=key) for key, times in keys],
            "duplicates": [
                timed(13.2, times, label=label, share=0, groups=22_000, rss_bytes=93_000_000)
                for label, times in shares
            ],
            "memory": [
                timed(13.2, times, memory=memory, rss_bytes=93_000_000)
                for memory, times in (("16MB", 1.66), ("64MB", 1.43), ("1GB", 1.38))
            ],
            "kills": [{"phase": "main", "seconds_lost": lost} for lost in (0.4, 1.1)],
            "live": [
                {"load": "alone", "tps": 1490.2, "p99_ms": 3.1},
                {"load": "beside a scan", "tps": 1122.0, "p99_ms": 5.4},
                {"load": "beside a niced scan", "tps": 1391.0, "p99_ms": 3.9},
            ],
            "five_keys": [
                {"what": "one pass", "seconds": 31.0}, {"what": "five scans", "seconds": 92.4},
            ],
        },
    }  # fmt: skip


def nothing_known(row: dict[str, Any]) -> None:
    row.update({name: None for name, value in row.items() if isinstance(value, int | float)})


def shown(results: dict[str, Any]) -> str:
    return rendered(results, titled(results))


def made(results: Any, into: Path) -> dict[str, bytes]:
    """Run the command and return every file it wrote."""
    source = into.with_suffix(".json")
    source.write_text(json.dumps(results), "utf-8")
    done = CliRunner().invoke(page, [str(source), "--into", str(into)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return {path.name: path.read_bytes() for path in sorted(into.iterdir())}


def cells(text: str) -> list[list[str]]:
    """Return the cells of every line that is one of a table, as Markdown splits them."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)(?:\\\\)*\|", row)[1:-1] for row in rows]


def test_page_tells_what_was_found() -> None:
    text = shown(sample())
    assert "At 50 million rows of statuses, a scan took 18.9 s, 1.43 times the floor," in text
    assert "ADBC into DuckDB, took 54.4 s, 2.88 times as long" in text
    assert "As wanted: 1 of 2. Not judged: 1." in text
    assert "| client memory | ≤ 150 MB | 160 MB | **missed** |" in text
    assert "| pgmend | 3 | 19.5 s | 20.1 s | 20.9 s | 1.20 s | 20.4 s | 1.43 | " in text
    assert "incomplete: found 21,990 of 22,000 groups" in text
    assert "Five scans took 2.98 times as long as one pass" in text
    assert "Killed 2 times and resumed: 0.75 s of work lost (median), 1.10 s at most." in text
    assert "not run" not in text


def test_what_was_not_run_is_said() -> None:
    results = sample()
    whole = list(results["sweeps"])
    results["sweeps"] = {"jobs": [], "later": [{}]}
    gone = {"GROUP BY", "pgmend"}
    contest = results["contests"][0]
    contest["outcomes"] = [run for run in outcomes() if run["contestant"] not in gone]
    text = shown(results)
    assert [name for name in whole if f"\nnot run: {name}\n" in text] == whole
    assert "\nnot run: pgmend; GROUP BY\n" in text
    assert "In results.json but not shown here: later." in text


def test_an_almost_empty_file_makes_a_page() -> None:
    text = shown({"format_version": 1})
    assert text.count("not run: ") == 11
    assert titled({"format_version": 1}) == {}


def test_figures_that_are_null_are_dashes() -> None:
    results = sample()
    for run in results["contests"][0]["outcomes"]:
        nothing_known(run)
    for rows in results["sweeps"].values():
        for row in rows:
            nothing_known(row)
    assert "| pgmend | 3 | - | - | - | - | - | - |  |" in shown(results)


def test_hostile_texts_break_no_table() -> None:
    results = sample()
    whole = cells(shown(results))
    for run in results["contests"][0]["outcomes"]:
        if run["failure"]:
            run["failure"] = HOSTILE
    results["machine"]["processor"] = results["verdicts"][0]["text"] = HOSTILE
    text = shown(results)
    broken = cells(text)
    assert [len(row) for row in broken] == [len(row) for row in whole]
    assert "](nowhere" not in text
    assert text.count("\n") == shown(sample()).count("\n")
    assert not set(plain(HOSTILE)) & set("`<>[]*$\n\x00\x1b")


def test_text_is_plain() -> None:
    assert plain("GROUP BY, 1 GB work_mem") == "GROUP BY, 1 GB work_mem"
    assert plain("COPY | sort | uniq") == r"COPY \| sort \| uniq"
    assert plain("a\\|b\n\nc") == r"a\\\|b c"
    assert len(plain("x" * 1000)) == 200


@pytest.mark.parametrize("version", [None, 2, "1", 1.5, True])
def test_an_unknown_format_is_one_error(version: Any, tmp_path: Path) -> None:
    source = tmp_path / "results.json"
    source.write_text(json.dumps({**sample(), "format_version": version}), "utf-8")
    done = CliRunner().invoke(page, [str(source), "--into", str(tmp_path / "into")])
    assert done.exit_code == 2
    assert f"format_version {version!r}" in done.output
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"format_version": 1, "a": NaN}', '{"format_version": 1, "contests": [3]}']
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    source = tmp_path / "results.json"
    source.write_text(text, "utf-8")
    with pytest.raises(click.UsageError, match=re.escape(str(source))):
        read(source)


def test_the_command_ends_with_2(tmp_path: Path) -> None:
    """Outcome: one line that names the file, no traceback."""
    source = tmp_path / "results.json"
    source.write_text('{"format_version": 9}', "utf-8")
    argv = [sys.executable, "-m", "benchmarks.page", str(source), "--into", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "format_version 9" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_matplotlib_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    files = made(sample(), tmp_path / "into")
    assert sorted(files) == ["results.json", "results.md"]
    assert b"Plots: not drawn: matplotlib is not installed" in files["results.md"]
    assert b".svg" not in files["results.md"]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    """Outcome: so does the copy of the results, and it holds what it is a copy of."""
    pytest.importorskip("matplotlib")
    first = made(sample(), tmp_path / "first")
    assert sorted(first) == [
        "live.svg", "memory_statuses.svg", "peers_statuses.svg", "results.json", "results.md",
        "rows.svg", "sweeps.svg",
    ]  # fmt: skip
    assert json.loads(first["results.json"]) == sample()
    assert made(json.loads(first["results.json"]), tmp_path / "again") == first
    page_text = first["results.md"].decode()
    assert set(re.findall(r"\((\w+\.svg)\)", page_text)) == {n for n in first if n.endswith("svg")}


def test_plots_of_hostile_and_missing_figures(tmp_path: Path) -> None:
    """Outcome: texts are texts, never formulas or markup; every plot is well-formed XML."""
    pytest.importorskip("matplotlib")
    from xml.etree import ElementTree as ET

    results = copy.deepcopy(sample())
    contest = results["contests"][0]
    contest["outcomes"] += [
        outcome("nothing known", None, failure=HOSTILE, rss_bytes=None, temp_bytes=None),
        outcome(HOSTILE, 10),
    ]
    results["contests"].append({**contest, "rows": 100, "outcomes": contest["outcomes"][:2]})
    results["sweeps"] = {
        "rows": [{"rows": 5, "seconds": 2}], "live": [{"load": HOSTILE}], "jobs": [{"jobs": 1}],
    }  # fmt: skip
    files = made(results, tmp_path / "into")
    drawn = [name for name in files if name.endswith(".svg")]
    assert len(drawn) == 6
    for name in drawn:
        assert "svg" in ET.fromstring(files[name]).tag
        assert b"<text" in files[name]
