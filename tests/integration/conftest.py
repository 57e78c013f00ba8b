from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import psycopg
import pytest

from dedupe.lab import Server, server
from dedupe.repair import repairer

from ..faults import Breakable
from ..promises.heap import observer
from ..promises.shop import Shop
from ..scanning import Connection, Moments, act_on_scans


@pytest.fixture
def db(database: str) -> Iterator[Connection]:
    """Give a superuser's connection to the test's own database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def broken_often() -> Iterator[Server]:
    """Give a server for the tests that break one."""
    if os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server() as started:
        yield started


@pytest.fixture
def breakable(broken_often: Server) -> Iterator[Breakable]:
    """Give a server to stop, crash and damage, with a fresh database."""
    with Breakable.serve(broken_often) as fresh:
        yield fresh


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """Give a scan that tells everything, saves after each chunk, and can be acted upon."""
    return act_on_scans(monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a run directory that does not exist yet."""
    return tmp_path / "run"


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a repair give up soon what it cannot do: each round is a scan."""
    monkeypatch.setattr(repairer, "MOST_ROUNDS", 2)


@pytest.fixture
def shop(database: str, place: Path) -> Iterator[Shop]:
    """Give a database to damage, and the steps of its repair."""
    with observer(database) as watching:
        watching.execute("CREATE EXTENSION amcheck")
        yield Shop(dsn=database, server=watching, run=place)


@pytest.fixture
def small_tables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let surveys take tables of a megabyte."""
    monkeypatch.setattr(import_module("dedupe.repair.survey"), "_LEAST_BYTES", 0)
