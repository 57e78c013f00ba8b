"""Sweeps over small tables, and the comparison that CI makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.regression import MOST_CPU_SECONDS, MOST_SECONDS, Ratios, slower
from benchmarks.results import FORMAT_VERSION

from .running import ROOT, bench

#: per-row Python where one numpy call turns the server's answer into digests
_QUICK = "return digests.astype(np.uint64), addresses"
_SLOW = "return np.array([int(word) for word in digests], np.uint64), addresses"


@pytest.mark.slow
def test_a_sweep_is_added_to_the_results(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"format_version": FORMAT_VERSION, "sweeps": {"jobs": [1]}}))
    done = bench(
        "benchmarks.sweeps", "--rows", "10000", "--rounds", "1", "--only", "order",
        "--only", "five_keys", "--into", str(file),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sweeps = json.loads(file.read_text())["sweeps"]
    assert sweeps["jobs"] == [1], "what was there stays"
    assert [row["order"] for row in sweeps["order"]] == ["physical", "key"]
    assert all(row["seconds"] > 0 < row["floor_seconds"] for row in sweeps["order"])
    assert [row["what"] for row in sweeps["five_keys"]] == ["one pass", "five scans"]
    assert json.loads(done.stdout) == {name: sweeps[name] for name in ("order", "five_keys")}


def test_results_of_another_format_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text('{"format_version": 99}')
    done = bench("benchmarks.sweeps", "--only", "jobs", "--into", str(file))
    assert done.returncode == 5
    assert f"error: {file} has no results of format {FORMAT_VERSION}" in done.stderr


@pytest.mark.slow
def test_every_sweep_is_run(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"format_version": FORMAT_VERSION}))
    done = bench("benchmarks.sweeps", "--rows", "50000", "--rounds", "1", "--into", str(file))
    assert done.returncode == 0, done.stderr
    sweeps = json.loads(file.read_text())["sweeps"]
    assert {name: len(rows) for name, rows in sweeps.items() if name != "kills"} == {
        "rows": 5, "jobs": 3, "order": 2, "memory": 3, "live": 3, "five_keys": 2,
        "key_types": 5, "duplicates": 4,
    }  # fmt: skip
    assert len({row["groups"] for row in sweeps["key_types"]}) == 1
    assert [row["groups"] for row in sweeps["duplicates"]][0::3] == [0, 1]
    assert sweeps["kills"], "no scan was killed before it was done"


def test_either_ratio_can_tell_that_a_scan_is_slower() -> None:
    sound = Ratios(seconds=MOST_SECONDS, cpu_seconds=MOST_CPU_SECONDS)
    assert not slower(sound)
    assert slower(Ratios(seconds=MOST_SECONDS * 1.01, cpu_seconds=0.1))
    assert slower(Ratios(seconds=1.0, cpu_seconds=MOST_CPU_SECONDS * 1.01))


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "code"), [(False, 0), (True, 1)])
def test_python_for_each_row_turns_the_comparison_red(
    tmp_path: Path, changed: bool, code: int
) -> None:
    """Scenario: the source, and the source with one line that looks at each row in Python."""
    for package in ("dedupe", "cli", "benchmarks", "migrations_check"):
        shutil.copytree(ROOT / package, tmp_path / package)
    source = tmp_path / "dedupe" / "scan" / "records.py"
    text = source.read_text()
    assert _QUICK in text
    if changed:
        source.write_text(text.replace(_QUICK, _SLOW))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.regression"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.endswith("FAIL: a scan has become slower\n" if changed else "PASS\n")
