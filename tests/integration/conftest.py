from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ..scanning import Connection, Moments, act_on_scans


@pytest.fixture
def db(database: str) -> Iterator[Connection]:
    """Give a superuser's connection to the test's own database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """Give a scan that tells everything, saves after each chunk, and can be acted upon."""
    return act_on_scans(monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a run directory that does not exist yet."""
    return tmp_path / "run"
