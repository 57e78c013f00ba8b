"""A check that was killed goes on with the keys that it has not scanned yet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dedupe import Run, RunStatus
from dedupe.lab import Damage, Server, damage

from .servers import run

ROOT = Path(__file__).parents[2]


def test_a_killed_check_goes_on(servers: Callable[[int], Server], tmp_path: Path) -> None:
    server = servers(18)
    dsn = server.create_database("killed")
    tables = [f"t{n:02}" for n in range(12)]
    for table in tables:
        run(dsn, f"CREATE TABLE {table} (a int PRIMARY KEY, b text UNIQUE)",
            f"INSERT INTO {table} SELECT n, n FROM generate_series(1, 20000) n")
    damage(dsn, "t11_b_key", Damage.LOST_ENTRIES, ["INSERT INTO t11 VALUES (0, '7')"])
    place = tmp_path / "keys"
    words = [sys.executable, "-m", "cli", "check", "server", "-d", dsn, "--only-database",
             "killed", "--run", str(place), "--json", "--ignore", "snapshot"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        while len(finished(place)) < 3 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = finished(place)
    assert 3 <= len(before) < len(tables)
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode == 4, done.stderr
    (found,) = json.loads(done.stdout)["findings"]
    assert found["object"] == "killed/public.t11_b_key"
    after = finished(place)
    assert len(after) == len(tables)
    assert before.items() <= after.items()
    server.drop_database("killed")


def finished(place: Path) -> dict[str, str]:
    """Return the runs that came to their end, by their directory."""
    found = {}
    for one in sorted(place.glob("*/state.sqlite")) if place.exists() else []:
        opened = Run.open(one.parent)
        if opened.status is RunStatus.FINISHED:
            found[one.parent.name] = opened.id
    return found
