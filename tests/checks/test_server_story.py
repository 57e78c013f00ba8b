"""The whole story: damage, the check, a restore that fails where it said, a repair, a restore."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dedupe import load_recipe, run_recipe
from dedupe.lab import Server
from dedupe.lab.instance import make_instance
from migrations_check import Asked, check_server

from .servers import run


def restored(old: Server, new: Server, dbname: str, name: str, where: Path) -> set[str]:
    """Dump a database and restore it into the newer server; return the indexes that failed."""
    assert old.bindir is not None
    assert new.bindir is not None
    dump = where / f"{name}.dump"
    subprocess.run([old.bindir / "pg_dump", "-Fc", "-f", dump, "-d", old.dsn(dbname)], check=True)
    run(new.dsn(), f"CREATE DATABASE {name}")
    done = subprocess.run(
        [new.bindir / "pg_restore", "-d", new.dsn(name), dump], capture_output=True, text=True,
        check=False,
    )
    errors = re.findall(r"ERROR:  (.*)", done.stderr)
    failed = {match[1] for one in errors
              if (match := re.fullmatch(r'could not create unique index "(.*)"', one))}
    assert bool(done.returncode) == bool(errors)
    assert len(failed) == len(errors), errors
    return failed


@pytest.mark.slow
def test_the_whole_story(servers: Callable[[int], Server], tmp_path: Path) -> None:
    old, new = servers(15), servers(18)
    run(old.dsn(), "CREATE DATABASE story")
    dsn = old.dsn("story")
    manifest = make_instance(dsn, "3.5.3", statuses=200, seed=7)
    planted = {group.index for group in manifest.groups}
    assert len(planted) > 5

    def blockers(place: str) -> set[str]:
        asked = Asked(to=18, only=("story",), run=tmp_path / place)
        report = check_server(dsn, asked).report
        assert {one.rule for one in report.blockers} <= {"duplicate-keys"}
        return {one.object.removeprefix("story/public.") for one in report.blockers}

    assert blockers("before") == planted
    assert restored(old, new, "story", "ruined", tmp_path) == planted
    run_recipe(load_recipe("mastodon"), tmp_path / "fix", dsn, defaults=True, execute=True,
               reason="a rehearsal")
    assert blockers("after") == set()
    assert restored(old, new, "story", "mended", tmp_path) == set()
    for server, name in ((old, "story"), (new, "ruined"), (new, "mended")):
        server.drop_database(name)
