"""``pgmend check server`` as its users have it: output, exit codes, what is ignored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dedupe.lab import Damage, Server, damage

from .conftest import Checked, _numbers

ROOT = Path(__file__).parents[2]


class Pgmend:
    """Runs the command in a directory of its own."""

    def __init__(self, where: Path, checked: Checked) -> None:
        self.where = where
        self.checked = checked
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "DATABASE_URL"))}
        self.env = {**kept, "PYTHONPATH": str(ROOT), "PGPASSFILE": "/nonexistent"}

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "cli", "check", "server", "-d", self.checked.dsn,
             "--only-database", self.checked.dbname, *words],
            cwd=self.where, env={**self.env, **env}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = self("--json", *words)
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def pgmend(servers: Callable[[int], Server], tmp_path: Path) -> Pgmend:
    server = servers(18)
    name = f"command_{next(_numbers)}"
    server.create_database(name)
    checked = Checked(server, name, tmp_path)
    checked.run(
        "CREATE TABLE people (id int PRIMARY KEY, name text)",
        "INSERT INTO people SELECT n, 'name ' || n FROM generate_series(1, 100) n",
        "CREATE UNIQUE INDEX people_name ON people (name)",
    )
    (tmp_path / "cwd").mkdir()
    return Pgmend(tmp_path / "cwd", checked)


def broken(pgmend: Pgmend) -> None:
    damage(pgmend.checked.dsn, "people_name", Damage.LOST_ENTRIES,
           ["INSERT INTO people VALUES (201, 'name 7')"])


def test_nothing_to_tell_is_0_and_something_unseen_is_1(pgmend: Pgmend) -> None:
    code, told = pgmend.json()
    assert (code, told["findings"]) == (1, [])
    assert [one["rule"] for one in told["unseen"]] == ["snapshot"]
    code, told = pgmend.json("--ignore", "snapshot")
    assert (code, told) == (0, {"format_version": 1, "findings": [], "unseen": []})


def test_quick_says_what_it_left_out_and_holds_it_against_nobody(pgmend: Pgmend) -> None:
    broken(pgmend)
    code, told = pgmend.json("--quick", "--ignore", "snapshot")
    assert (code, told["findings"]) == (0, [])
    assert [one["rule"] for one in told["unseen"]] == [
        "duplicate-keys", "wide-keys", "amcheck"]
    assert list(pgmend.where.iterdir()) == []


def test_a_blocker_is_4_and_its_remedy_can_be_run(pgmend: Pgmend) -> None:
    broken(pgmend)
    code, told = pgmend.json()
    assert code == 4
    (finding,) = told["findings"]
    assert set(finding) == {"rule", "severity", "object", "message", "remedy"}
    assert finding["object"] == f"{pgmend.checked.dbname}/public.people_name"
    first = finding["remedy"].partition(", and then: ")[0]
    words = first.split()
    assert words[:2] == ["pgmend", "plan"]
    done = subprocess.run([sys.executable, "-m", "cli", *words[1:]], cwd=pgmend.where,
                          env=pgmend.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 group" in done.stdout
    text = pgmend()
    assert text.returncode == 4
    assert text.stdout.startswith("blocker: ")
    assert text.stdout.splitlines()[-1].startswith("1 blocker, 0 warnings")


def test_what_is_ignored_needs_a_reason_in_the_file(pgmend: Pgmend) -> None:
    broken(pgmend)
    what = f"{pgmend.checked.dbname}/public.people_name"
    code, told = pgmend.json("--ignore", f"duplicate-keys:{what}", "--ignore", "snapshot")
    assert (code, told["findings"]) == (0, [])
    file = pgmend.where / "pgmend.toml"
    entry = f'rule = "duplicate-keys", object = "{what}"'
    file.write_text(f"[check]\nignore = [{{ {entry} }}]\n")
    done = pgmend("--quick")
    assert done.returncode == 2
    assert "has no reason" in done.stderr
    file.write_text(f'[check]\nignore = [{{ {entry}, reason = "known" }}]\n')
    code, told = pgmend.json("--ignore", "snapshot")
    assert (code, told["findings"]) == (0, [])
    file.write_text("[check]\nignore = [{ rule = 'no-such-rule', reason = 'x' }]\n")
    done = pgmend("--quick")
    assert done.returncode == 2
    assert "no-such-rule" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "17"), "from 18 to 17"),
        (("--to", "99"), "from 18 to 99"),
        (("--to", "eleven"), "not a valid integer"),
        (("--only-database", "nowhere"), "there is no database nowhere"),
        (("--expected", "no/such.sql", "--quick"), "neither a file nor a connection string"),
        (("--ignore", "duplicate_keys"), "duplicate_keys"),
        (("-d", "dbname=other"), "two different targets"),
    ],
)
def test_bad_input_has_one_error_and_code_2(
    pgmend: Pgmend, words: tuple[str, ...], said: str
) -> None:
    done = pgmend(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pgmend: error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_is_a_failure(pgmend: Pgmend, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "check", "server", "-h", str(tmp_path), "-d", "x"],
        cwd=pgmend.where, env=pgmend.env, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 5
    assert done.stderr.startswith("pgmend: error: ")
