"""The examples of the README, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from dedupe.lab.instance import make_instance

ROOT = Path(__file__).parents[2]


def example(language: str, number: int = 0) -> str:
    """Return one of the README's code blocks of a language."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(blocks[number])


@pytest.fixture
def environment(database: str, tmp_path: Path) -> dict[str, str]:
    """Give the environment that the examples run in."""
    # The command stands first in the path under the name that the README gives it.
    command = tmp_path / "bin" / "pgmend"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli "$@"\n')
    command.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "DATABASE_URL"))}
    return {
        **kept,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database,
    }


@pytest.fixture
def mastodon(database: str, environment: dict[str, str]) -> dict[str, str]:
    """Make the table of the examples; give the environment that they run in."""
    with psycopg.connect(database) as connection:
        connection.execute(
            """
            CREATE TABLE accounts (id int8 PRIMARY KEY, username text NOT NULL, domain text);
            INSERT INTO accounts VALUES (1, 'anna', NULL), (2, 'Anna', NULL),
                (3, 'bert', 'a.example'), (4, 'bert', 'A.example'), (5, 'carl', NULL);
            CREATE INDEX index_accounts_on_username_and_domain_lower
                ON accounts (lower(username), coalesce(lower(domain), ''));
            """
        )
    return environment


def run(arguments: list[str], text: str, env: dict[str, str], where: Path) -> str:
    done = subprocess.run(
        arguments, input=text, cwd=where, env=env, capture_output=True, text=True,
        timeout=600, check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_example(mastodon: dict[str, str], tmp_path: Path) -> None:
    """Outcome: ten lines of code, and every row of both groups is printed."""
    text = example("python")
    assert len([line for line in text.splitlines() if line.strip()]) <= 10
    out = run([sys.executable, "-W", "error", "-"], text, mastodon, tmp_path)
    lines = out.splitlines()
    assert len(lines) == 4
    assert sum("'anna'" in line for line in lines) == 2
    assert all(line.split()[1:3] == ["public", "accounts"] for line in lines)


def test_the_command_example(mastodon: dict[str, str], tmp_path: Path) -> None:
    """Outcome: ten lines of shell; the groups are told, repaired, and come back."""
    text = example("sh")
    assert len([line for line in text.splitlines() if line.strip()]) <= 10
    out = run(["bash", "-s"], text, mastodon, tmp_path)
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert len(rows) == 4
    assert {row["key_name"] for row in rows} == {"index_accounts_on_username_and_domain_lower"}
    assert "Nothing was written. Add --execute to do it." in out
    assert "2 of 2 groups repaired in 1 round" in out
    with psycopg.connect(mastodon["DATABASE_URL"]) as connection:
        ids = connection.execute("SELECT array_agg(id ORDER BY id) FROM accounts").fetchone()
    assert ids == ([1, 2, 3, 4, 5],), "the undo brought them back"
    everything = json.loads((tmp_path / "result.json").read_text())
    assert everything["status"] == "finished"
    assert [key["name"] for key in everything["keys"]] == ["accounts_pkey"]


def test_the_example_of_a_whole_application(
    database: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Outcome: a damaged instance is repaired, verified, and is what it was in the end."""
    make_instance(database, "3.5.3", statuses=100, seed=1)
    counting = "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM statuses)"
    with psycopg.connect(database, autocommit=True) as connection:
        before = connection.execute(counting).fetchone()
    out = run(["bash", "-e"], example("sh", 1), environment, tmp_path)
    assert "Nothing was written" in out
    assert "all is well" in out
    assert "taken back" in out
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute(counting).fetchone() == before
