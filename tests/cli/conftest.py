from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from .forking import Forks

ROOT = Path(__file__).parents[2]
#: variables that say something to the interpreter as it starts
_OF_THE_INTERPRETER = ("LANG", "LC_", "PYTHON")
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Command:
    """Runs ``pgmend`` as a process of its own, in an empty directory, without settings."""

    where: Path
    env: Mapping[str, str]
    forks: Forks

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "cli", *arguments]

    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        whole = {**self.env, **(env or {})}
        if not any(name.startswith(_OF_THE_INTERPRETER) for name in env or {}):
            return self.forks.run(arguments, cwd=cwd or self.where, env=whole)
        # A terminal or pipe on stdin that the command reads would make the test hang.
        return subprocess.run(
            self.argv(*arguments),
            cwd=cwd or self.where,
            env=whole,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.where,
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )


def clean_environment() -> dict[str, str]:
    """Return the environment without anything that names a database or a setting."""
    dropped = ("PG", "DATABASE_URL", "NO_COLOR")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    # PGMEND_… of the tests themselves name servers, not settings of the command.
    return {**kept, "PYTHONPATH": str(ROOT), "PGPASSFILE": "/nonexistent"}


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Give the process that forks for the runs of the command."""
    started = Forks(clean_environment())
    yield started
    started.close()


@pytest.fixture
def offline(tmp_path: Path, forks: Forks) -> Command:
    """Give the command without a database."""
    where = tmp_path / "cwd"
    where.mkdir()
    return Command(where, clean_environment(), forks)


@pytest.fixture
def pgmend(offline: Command, database: str) -> Command:
    """Give the command with DATABASE_URL naming the test's own database."""
    return Command(offline.where, {**offline.env, "DATABASE_URL": database}, offline.forks)


@pytest.fixture
def db(database: str) -> Iterator[Connection]:
    """Give a superuser's connection to the test's own database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def people(db: Connection) -> None:
    """Make a table with two groups of duplicates under a key that no index enforces."""
    db.execute(
        """
        CREATE TABLE people (id int8 PRIMARY KEY, name text, domain text);
        INSERT INTO people VALUES (1, 'anna', NULL), (2, 'Anna', NULL), (3, 'bert', 'a.example'),
            (4, 'carl', 'b.example'), (5, 'CARL', 'B.example'), (6, 'carl', 'B.EXAMPLE'),
            (7, NULL, NULL), (8, 'dora', NULL);
        CREATE INDEX people_key ON people (lower(name), coalesce(lower(domain), ''))
        """
    )


@pytest.fixture
def crowd(db: Connection) -> None:
    """Make a table that a gentle scan needs many seconds for."""
    db.execute(
        """
        CREATE TABLE crowd (id int8 PRIMARY KEY, name text, filler text);
        INSERT INTO crowd SELECT n, 'name ' || n % 99990, repeat('x', 200)
            FROM generate_series(1, 100000) n
        """
    )


@pytest.fixture
def role(db: Connection, database: str) -> Iterator[Callable[[str], str]]:
    """Give a function that makes a role and returns connection settings for it."""
    made: list[str] = []

    def make(name: str) -> str:
        with psycopg.connect(database) as connection:
            unique = f"{name}_{connection.info.backend_pid}"
        db.execute(f'CREATE ROLE "{unique}" LOGIN')
        made.append(unique)
        return psycopg.conninfo.make_conninfo(database, user=unique)

    yield make
    for name in made:
        db.execute(f'DROP OWNED BY "{name}"')
        db.execute(f'DROP ROLE "{name}"')
