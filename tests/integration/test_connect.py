"""Connections: what is taken, what is refused with its remedy, and what a session pins."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from dedupe import MatchKey, Session, connect, scan
from dedupe.errors import (
    ConnectionSettingsError,
    FailureError,
    LockNotAvailable,
    PermissionDenied,
    QueryFailed,
    ServerUnavailable,
    SnapshotLost,
    TransactionPooler,
    UnknownObject,
    UnreadableData,
    UnsupportedServer,
    UsageError,
)
from dedupe.lab import Server
from dedupe.session import PINNED

from ..faults import pooler, pretender
from ..scanning import Connection, heap_groups, make_table, told_groups


def url_of(dsn: str, driver: str) -> URL:
    facts = conninfo_to_dict(dsn)
    return URL.create(
        driver,
        username=str(facts["user"]),
        database=str(facts["dbname"]),
        query={"host": str(facts["host"]), "port": str(facts["port"])},
    )


def name_of(session: Session) -> str:
    return str(session.row("SELECT current_database()::text")[0])


@pytest.mark.parametrize(
    "driver",
    ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"],
)
def test_a_url_is_taken_whatever_driver_it_names(database: str, driver: str) -> None:
    url = url_of(database, driver).render_as_string(hide_password=False)
    found = connect(url)
    assert found.where.dbname == conninfo_to_dict(database)["dbname"]
    with found.open() as session:
        assert name_of(session) == found.where.dbname


def test_an_engine_and_its_connection_are_taken(database: str) -> None:
    """Scenario: the engine's only connection is in use; its way to connect is a function.
    Outcome: sessions of their own, made in that way; pool and connection stay as they are.
    """
    made: list[object] = []

    def creator() -> object:
        made.append(None)
        return psycopg.connect(database, options="-c TimeZone=Asia/Tokyo")

    engine = create_engine("postgresql+psycopg://", creator=creator, pool_size=1, max_overflow=0)
    try:
        with engine.connect() as connection, connect(connection).open("mine") as session:
            asked = connection.exec_driver_sql("SHOW TimeZone").scalar()
            assert (asked, session.row("SHOW TimeZone")) == ("Asia/Tokyo", ("UTC",))
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            assert pid != session.pid
            assert len(made) == 3
        with connect(engine).open() as session:
            assert name_of(session) == conninfo_to_dict(database)["dbname"]
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW TimeZone").scalar() == "Asia/Tokyo"
    finally:
        engine.dispose()


def test_a_given_connection_stays_as_it_is(database: str) -> None:
    with psycopg.connect(database) as given:
        given.execute("SET TimeZone = 'Asia/Tokyo'")
        given.execute("CREATE TEMP TABLE mine (a int)")
        with connect(given).open() as session:
            assert session.row("SHOW TimeZone") == ("UTC",)
        assert given.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo",)
        assert given.execute("SELECT count(*) FROM mine").fetchone() == (0,)
        assert given.execute("SELECT 1 WHERE pg_current_xact_id() IS NOT NULL").fetchone()


@pytest.mark.parametrize("given", [None, 7, object()])
def test_what_is_no_way_to_a_database_is_refused(given: object) -> None:
    with pytest.raises(ConnectionSettingsError, match="cannot connect to a"):
        connect(given)  # type: ignore[arg-type]


def test_an_engine_of_another_database_is_refused() -> None:
    engine = create_engine("sqlite://")
    with pytest.raises(ConnectionSettingsError, match="sqlite, not to PostgreSQL"):
        connect(engine)
    engine.dispose()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "host=h password=se cret99",
        "postgresql://anna:secret99%@host/db",
        "postgresql://anna:secret99@[::1/db",
        "host=h secret99=x",
    ],
)
def test_malformed_settings_are_told_without_a_secret(text: str) -> None:
    """What cannot be read may hold a password anywhere, so none of it is repeated."""
    with pytest.raises(ConnectionSettingsError, match="cannot be read") as caught:
        connect(text)
    assert "secret99" not in str(caught.value)
    assert "cret99" not in str(caught.value)
    assert "postgresql://user@host" in (caught.value.hint or "")


def test_unknown_names_are_told_by_name(database: str) -> None:
    with pytest.raises(UnknownObject, match="no_such_database") as unknown:
        connect(make_conninfo(database, dbname="no_such_database"))
    assert unknown.value.kind == "database"
    with pytest.raises(ConnectionSettingsError, match="no_such_role") as role:
        connect(make_conninfo(database, user="no_such_role"))
    assert "pg_hba.conf" in (role.value.hint or "")


def test_nobody_listening_is_a_failure_that_can_pass() -> None:
    for text in ("postgresql://127.0.0.1:1/db", "host=/nonexistent"):
        with pytest.raises(ServerUnavailable, match="cannot be reached or went away") as caught:
            connect(text)
        assert "goes on where it stopped" in (caught.value.hint or "")


def test_passwords_are_taken_and_never_shown(own_server: Server, tmp_path: Path) -> None:
    """Scenario: a server that asks for a password; none, a wrong one, the right one.
    Outcome: told as what they are; the run and the Database keep no password.
    """
    dsn = own_server.dsn()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE ROLE anna LOGIN PASSWORD 'sesame99'")
        make_table(db, rows=300)
        db.execute("GRANT SELECT ON t TO anna")
    assert own_server.data is not None
    hba = own_server.data / "pg_hba.conf"
    hba.write_text("local all anna scram-sha-256\n" + hba.read_text())
    own_server.stop()
    own_server.start()
    anna = make_conninfo(dsn, user="anna")
    with pytest.raises(ConnectionSettingsError, match="no password supplied"):
        connect(make_conninfo(anna, passfile="/nonexistent"))
    with pytest.raises(ConnectionSettingsError, match="password authentication failed") as caught:
        connect(make_conninfo(anna, password="wrong99"))
    assert "wrong99" not in str(caught.value)
    right = make_conninfo(anna, password="sesame99")
    database = connect(right)
    assert "sesame99" not in database.where.conninfo()
    assert "sesame99" not in repr(database.where)
    scan(database, MatchKey.from_columns("t", "k"), tmp_path / "run")
    with psycopg.connect(right) as given:
        connect(given).open().close()
    engine = create_engine(
        url_of(anna, "postgresql+psycopg").set(password="sesame99"), pool_size=1, max_overflow=0
    )
    connect(engine).open().close()
    engine.dispose()
    for file in (tmp_path / "run").iterdir():
        assert b"sesame99" not in file.read_bytes()


@pytest.mark.parametrize(
    ("told", "name"), [("130023", "13"), ("100999", "10"), ("090624", "9.6")]
)
def test_a_server_that_is_too_old_is_refused(
    lab: Server, database: str, told: str, name: str
) -> None:
    with (
        pretender(database, lab.version, told) as old,
        pytest.raises(UnsupportedServer) as caught,
    ):
        connect(old)
    assert caught.value.version == int(told)
    assert f"the server runs PostgreSQL {name}; pgmend needs 14 or later" in caught.value.message
    assert "pg_upgrade" in (caught.value.hint or "")


def test_the_oldest_server_that_is_taken_is_14(lab: Server, database: str) -> None:
    with pretender(database, lab.version, "140000") as oldest, connect(oldest).open() as session:
        assert session.version == 140000


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_hands_out_other_sessions_is_refused(database: str, mode: str) -> None:
    with (
        pooler(database, mode) as pooled,
        pytest.raises(TransactionPooler, match="another server session") as caught,
    ):
        connect(pooled)
    assert "pool_mode = session" in (caught.value.hint or "")
    assert "own port" in (caught.value.hint or "")


def test_a_pooler_that_keeps_sessions_is_taken(
    database: str, db: Connection, place: Path
) -> None:
    make_table(db)
    with pooler(database, "session") as pooled:
        run = scan(pooled, MatchKey.from_columns("t", "k"), place, jobs=3)
    assert told_groups(run) == heap_groups(db, "t", "k")


def test_a_session_pins_what_the_answers_depend_on(
    lab: Server, database: str, db: Connection
) -> None:
    """In every transaction anew, also after something has changed the session's own."""
    name = conninfo_to_dict(database)["dbname"]
    db.execute(f"ALTER DATABASE {name} SET enable_tidscan = off")
    db.execute(f"ALTER DATABASE {name} SET DateStyle = 'German'")
    pins = {**PINNED, "transaction_read_only": "on", "transaction_isolation": "read committed"}
    if lab.version >= 170000:
        pins["transaction_timeout"] = "0"
    with connect(database).open("pgmend test") as session:
        session.rows("SET enable_tidscan = off")
        session.rows("SET search_path = public")
        with session.transaction():
            found = {key: session.row("SELECT current_setting($1)", [key])[0] for key in pins}
            assert found == pins
        with session.transaction(settings={"search_path": "public"}, repeatable=True):
            assert session.row("SHOW search_path") == ("public",)
            assert session.row("SHOW transaction_isolation") == ("repeatable read",)
            session.set_local({"enable_seqscan": "on"})
            assert session.row("SHOW enable_seqscan") == ("on",)
        assert session.row("SHOW enable_seqscan") == ("off",)
        assert session.row("SHOW application_name") == ("pgmend test",)


def test_a_session_cannot_write(database: str, db: Connection) -> None:
    db.execute("CREATE TABLE t (a int); CREATE SEQUENCE s")
    with connect(database).open() as session:
        for statement in (
            "INSERT INTO public.t VALUES (1)",
            "CREATE TABLE public.u ()",
            "SELECT nextval('public.s')",
            "TRUNCATE public.t",
        ):
            with pytest.raises(QueryFailed) as caught:
                session.rows(statement)
            assert caught.value.sqlstate == "25006"
            with pytest.raises(QueryFailed), session.transaction():
                session.rows(statement)
        assert session.row("SELECT count(*) FROM public.t") == (0,)


def test_a_transaction_that_failed_leaves_the_session_usable(database: str) -> None:
    with connect(database).open() as session:
        with pytest.raises(QueryFailed) as caught, session.transaction():
            session.rows("SELECT 1 / 0")
        assert caught.value.sqlstate == "22012"
        with pytest.raises(ZeroDivisionError), session.transaction():
            raise ZeroDivisionError
        assert session.row("SELECT 1") == (1,)


def test_a_snapshot_is_adopted_and_its_loss_has_a_name(database: str, db: Connection) -> None:
    db.execute("CREATE TABLE t (a int)")
    way = connect(database)
    with way.open() as holder, way.open() as other:
        with holder.transaction(repeatable=True):
            (name,) = holder.row("SELECT pg_export_snapshot()")
            db.execute("INSERT INTO t VALUES (1)")
            with other.transaction(snapshot=name):
                assert other.row("SELECT count(*) FROM public.t") == (0,)
            with other.transaction():
                assert other.row("SELECT count(*) FROM public.t") == (1,)
        with pytest.raises(SnapshotLost) as caught, other.transaction(snapshot=name):
            pass
        assert "new snapshot" in (caught.value.hint or "")
        assert other.row("SELECT 1") == (1,)


def test_the_drivers_errors_become_ours(database: str, db: Connection) -> None:
    """Each with its SQLSTATE; the driver's own is the cause."""
    db.execute(
        "CREATE TABLE t (a int);"
        "CREATE FUNCTION fail(code text) RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'because' USING ERRCODE = code; END $$"
    )
    expected: list[tuple[str, type[Exception]]] = [
        ("XX000", UnreadableData),
        ("XX001", UnreadableData),
        ("XX002", UnreadableData),
        ("42501", PermissionDenied),
        ("55P03", LockNotAvailable),
        ("40001", ServerUnavailable),
        ("57P01", ServerUnavailable),
        ("57P03", ServerUnavailable),
        ("53300", ServerUnavailable),
        ("08006", ServerUnavailable),
        ("53100", FailureError),
        ("57014", QueryFailed),
        ("22012", QueryFailed),
    ]
    with connect(database).open() as session:
        for code, kind in expected:
            with pytest.raises(kind, match="because") as caught:
                session.rows("SELECT public.fail($1)", [code])
            assert type(caught.value) is kind
            assert caught.value.facts.get("sqlstate") == code
            assert isinstance(caught.value.__cause__, psycopg.Error)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (type(again), again.message, again.hint, again.facts) == (
                kind, caught.value.message, caught.value.hint, caught.value.facts,
            )


def test_a_cancelled_statement_says_how_to_go_on(database: str) -> None:
    with connect(database).open() as session:
        timer = threading.Timer(0.3, session.cancel)
        timer.start()
        with pytest.raises(QueryFailed, match="canceling statement") as caught:
            session.rows("SELECT pg_sleep(30)")
        timer.join()
        assert "goes on where it stopped" in (caught.value.hint or "")
        assert session.row("SELECT 1") == (1,)
    session.close()
    session.cancel()


def test_text_that_is_no_utf8_is_neither_lost_nor_refused(database: str, lab: Server) -> None:
    """Scenario: a database that checks no encoding, with names and values in Latin-1.
    Outcome: they come and go byte by byte.
    """
    name = f"ascii_{conninfo_to_dict(database)['dbname']}"
    with psycopg.connect(lab.dsn(), autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
    try:
        with connect(make_conninfo(database, dbname=name)).open() as session:
            row = session.row("SELECT $1::text, $2::text[], $3::name", ["a\udce9", ["\udcff"], "ü"])
            assert row == ("a\udce9", ["\udcff"], "ü")
            assert session.row("SELECT encode($1::text::bytea, 'hex')", ["\udce9ü"]) == ("e9c3bc",)
            assert session.row("SELECT '\"\udce9\"'::json") == ("\udce9",)
            with session.transaction(settings={"search_path": '"\udcff", public'}):
                assert session.row("SHOW search_path") == ('"\udcff", public',)
    finally:
        lab.drop_database(name)


def test_a_nul_byte_is_refused_not_cut(database: str) -> None:
    with connect(database).open() as session, pytest.raises(QueryFailed, match="NUL"):
        session.rows("SELECT $1::text", ["a\0b"])


def test_errors_are_usage_refusals_or_failures() -> None:
    assert issubclass(ConnectionSettingsError, UsageError)
    assert issubclass(ServerUnavailable, FailureError)
    assert not issubclass(TransactionPooler, UsageError)
