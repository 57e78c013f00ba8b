"""Whatever names a database is only asked where it leads; what goes wrong is an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.pool import StaticPool

from dedupe import DedupeError, MatchKey, Run, connect, scan
from dedupe.errors import ConnectionSettingsError, ServerUnavailable

from .heap import Connection, groups_found, guests_in_heap, sessions

KEY = MatchKey.from_columns("guests", "name")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("postgresql://nobody@localhost:1/none", ServerUnavailable),
        ("postgresql://[", ConnectionSettingsError),
        ("host=/nonexistent dbname=none", ServerUnavailable),
        (sqlalchemy.create_engine("sqlite://"), ConnectionSettingsError),
        (sqlalchemy.create_engine("postgresql+psycopg://nobody@localhost:1/none"),
         ServerUnavailable),
        (7, ConnectionSettingsError),
    ],
)  # fmt: skip
def test_every_error_of_connecting_is_ours(given: Any, kind: type[DedupeError]) -> None:
    with pytest.raises(kind):
        connect(given)


def test_every_error_of_scanning_is_ours(
    database: str, guests: Connection, tmp_path: Path
) -> None:
    a_file = tmp_path / "file"
    a_file.touch()
    a_full_directory = tmp_path / "full"
    a_full_directory.mkdir()
    (a_full_directory / "letter").touch()
    run = tmp_path / "run"
    cases: list[Callable[[], object]] = [
        lambda: scan(database, MatchKey.from_columns("nobody", "name"), run),
        lambda: scan(database, MatchKey.from_columns("guests", "nothing"), run),
        lambda: scan(database, MatchKey.from_index("nothing"), run),
        lambda: scan(database, [], run),
        lambda: scan(database, KEY, run, jobs=0),
        lambda: scan(database, KEY, run, memory="little"),
        lambda: scan(database, KEY, run, memory=1),
        lambda: scan(database, KEY, run, nice=-1),
        lambda: scan(database, KEY, run, order="random"),
        lambda: scan(database, KEY, a_file),
        lambda: scan(database, KEY, a_file / "below"),
        lambda: scan(database, KEY, a_full_directory),
        lambda: scan(conninfo_of(database, dbname="nobody's"), KEY, run),
        lambda: scan(conninfo_of(database, user="nobody"), KEY, run),
        lambda: Run.open(tmp_path / "none"),
        lambda: Run.open(a_file),
        lambda: Run(tmp_path / "none").stop(),
    ]
    for case in cases:
        with pytest.raises(DedupeError) as caught:
            case()
        assert caught.value.message
    assert not run.exists()
    assert sessions(guests) == []


def conninfo_of(database: str, **changes: str) -> str:
    return psycopg.conninfo.make_conninfo(database, **changes)


def engine_of(database: str, **options: Any) -> sqlalchemy.Engine:
    facts = conninfo_to_dict(database)
    return sqlalchemy.create_engine(
        sqlalchemy.URL.create(
            "postgresql+psycopg", username=str(facts["user"]), database=str(facts["dbname"]),
            query={"host": str(facts["host"]), "port": str(facts["port"])},
        ),
        **options,
    )  # fmt: skip


SETTINGS = "SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings"


@pytest.mark.parametrize(
    "options",
    [{}, {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}, {"poolclass": StaticPool}],
    ids=["pool", "small pool", "one connection"],
)
def test_an_engine_keeps_its_connections(
    database: str, guests: Connection, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Scenario: an engine is given, then one of its connections in the middle of a transaction.
    Outcome: both scans find the groups; the engine's connections are as they were, its
    transaction too, and none is lent or lost.
    """
    engine = engine_of(database, **options)
    with engine.connect() as connection:
        before = connection.exec_driver_sql(SETTINGS).scalar()
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    pool = engine.pool.status()
    assert groups_found(scan(engine, KEY, tmp_path / "engine")) == guests_in_heap(guests)
    assert engine.pool.status() == pool
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO guests VALUES (9000, 'name 5', 'unfinished')")
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() == pid
        found = groups_found(scan(connection, KEY, tmp_path / "connection"))
        assert found == guests_in_heap(guests)
        assert connection.in_transaction()
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() == pid
        assert connection.exec_driver_sql(SETTINGS).scalar() == before
        connection.rollback()
    assert engine.pool.status() == pool
    engine.dispose()
    assert sessions(guests) == []


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_psycopg_connection_is_only_asked_where_it_leads(
    database: str, guests: Connection, tmp_path: Path, autocommit: bool
) -> None:
    with psycopg.connect(database, autocommit=autocommit) as connection:
        before = connection.execute(SETTINGS).fetchone()
        status = connection.info.transaction_status
        assert groups_found(scan(connection, KEY, tmp_path / "run")) == guests_in_heap(guests)
        assert connection.info.transaction_status == status
        assert connection.autocommit is autocommit
        assert connection.execute(SETTINGS).fetchone() == before
        assert isinstance(connection.cursor(), psycopg.Cursor)
    with pytest.raises(ConnectionSettingsError):
        connect(connection)
    assert sessions(guests) == []


def test_a_url_is_taken_too(database: str, guests: Connection, tmp_path: Path) -> None:
    facts = conninfo_to_dict(database)
    url = (
        f"postgresql+psycopg://{facts['user']}@/{facts['dbname']}"
        f"?host={facts['host']}&port={facts['port']}"
    )
    assert groups_found(scan(url, KEY, tmp_path / "run")) == guests_in_heap(guests)
