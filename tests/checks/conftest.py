from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dedupe.lab import Server
from migrations_check import Asked, Finding, Report, check_server

from .apps import Instance
from .servers import MAJORS, of_major, run

_numbers = count(1)


@dataclass(frozen=True)
class Checked:
    """A fresh database of a server, and the check of it."""

    server: Server
    dbname: str
    where: Path

    @property
    def major(self) -> int:
        return self.server.version // 10000

    @property
    def dsn(self) -> str:
        return self.server.dsn(self.dbname)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        return run(self.dsn, *statements)

    def check(self, **asked: Any) -> Report:
        """Check this database, by default without reading rows."""
        facts = {"to": 18, "only": (self.dbname,), "quick": True, "run": self.where / "keys"}
        return check_server(self.dsn, Asked(**{**facts, **asked})).report

    def found(self, rule: str, **asked: Any) -> list[Finding]:
        return [one for one in self.check(**asked).findings if one.rule == rule]


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[int], Server]]:
    """Give a server of each major that is asked for, once."""
    with ExitStack() as stack:
        started: dict[int, Server] = {}

        def get(major: int) -> Server:
            if major not in started:
                started[major] = stack.enter_context(of_major(major))
            return started[major]

        yield get


@pytest.fixture(params=MAJORS, ids=str)
def checked(
    request: pytest.FixtureRequest, servers: Callable[[int], Server], tmp_path: Path
) -> Iterator[Checked]:
    """Give a fresh database on a server of each major."""
    server = servers(request.param)
    name = f"check_{next(_numbers)}"
    server.create_database(name)
    yield Checked(server, name, tmp_path)
    run(server.dsn(), f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def application(lab: Server) -> Iterator[str]:
    """Give the name of a database for one application after the other."""
    name = f"app_{os.getpid()}"
    lab.create_database(name)
    yield name
    lab.drop_database(name)


@pytest.fixture
def instance(lab: Server, application: str, tmp_path: Path) -> Instance:
    """Give an empty database for an application; emptied, which is quicker than a new one."""
    given = Instance(lab, application, tmp_path)
    schemas = given.run(
        "SELECT quote_ident(nspname) FROM pg_namespace"
        " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
    )
    given.run(*(f"DROP SCHEMA {name} CASCADE" for (name,) in schemas), "CREATE SCHEMA public",
              "GRANT USAGE ON SCHEMA public TO PUBLIC", f"ALTER DATABASE {application} RESET ALL")
    return given
