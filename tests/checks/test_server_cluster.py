"""What concerns the whole cluster: each rule on one that fails it and one that does not."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from dedupe.lab import Server
from migrations_check import Asked, check_server

from .servers import MAJORS, of_major, run


@pytest.fixture(params=MAJORS, ids=str, scope="module")
def spare(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server of each major whose settings allow for what the rules look for."""
    settings = {"max_prepared_transactions": "5", "wal_level": "logical"}
    with of_major(request.param, settings) as started:
        yield started


def found(server: Server, rule: str, **asked: object) -> list[tuple[str, str]]:
    report = check_server(server.dsn(), Asked(**{"to": 18, "quick": True, **asked})).report
    return [(one.object, one.severity) for one in report.findings if one.rule == rule]


def test_prepared_transactions(spare: Server) -> None:
    assert found(spare, "prepared-transactions") == []
    run(spare.dsn(), "CREATE TABLE waiting (a int)")
    with psycopg.connect(spare.dsn()) as connection:
        connection.execute("INSERT INTO waiting VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'it''s late'")
    assert found(spare, "prepared-transactions") == [("postgres/it's late", "blocker")]
    run(spare.dsn(), "ROLLBACK PREPARED 'it''s late'", "DROP TABLE waiting")
    assert found(spare, "prepared-transactions") == []


def test_slots_and_subscriptions(spare: Server) -> None:
    assert found(spare, "replication") == []
    run(spare.dsn(), "SELECT pg_create_physical_replication_slot('standby')",
        "SELECT pg_create_logical_replication_slot('feed', 'test_decoding')",
        "CREATE SUBSCRIPTION taken CONNECTION 'dbname=nowhere' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE)")
    told = found(spare, "replication")
    if spare.version >= 180000:
        assert told == []
    else:
        assert told == [("feed", "warning"), ("standby", "warning"), ("postgres/taken", "warning")]
    assert found(spare, "replication", to=spare.version // 10000) == []
    run(spare.dsn(), "DROP SUBSCRIPTION taken",
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_tablespaces_inside_of_the_data_directory(spare: Server) -> None:
    assert found(spare, "tablespaces") == []
    assert spare.data is not None
    for place in ("inside", "../outside"):
        run(spare.dsn(), f"COPY (SELECT 1) TO PROGRAM"
            f" 'cat >/dev/null; mkdir {spare.data / place}'")
    run(spare.dsn(), f"CREATE TABLESPACE outside LOCATION '{spare.data.parent / 'outside'}'")
    assert found(spare, "tablespaces") == []
    run(spare.dsn(), f"CREATE TABLESPACE inside LOCATION '{spare.data / 'inside'}'")
    assert found(spare, "tablespaces") == [("inside", "warning")]
    run(spare.dsn(), "DROP TABLESPACE inside", "DROP TABLESPACE outside")


def test_roles_with_the_systems_names(spare: Server) -> None:
    assert found(spare, "reserved-roles") == []
    run(spare.dsn(), "CREATE ROLE keeper",
        "UPDATE pg_authid SET rolname = 'pg_keeper' WHERE rolname = 'keeper'")
    assert found(spare, "reserved-roles") == [("pg_keeper", "blocker")]
    run(spare.dsn(), "UPDATE pg_authid SET rolname = 'keeper' WHERE rolname = 'pg_keeper'",
        "DROP ROLE keeper")


def test_databases_that_are_old(spare: Server) -> None:
    assert found(spare, "xid-age") == []
    run(spare.dsn(), "CREATE DATABASE aged")
    ((was,),) = run(spare.dsn(), "SELECT datfrozenxid::text FROM pg_database"
                    " WHERE datname = 'aged'")
    old = (int(was) - 1_600_000_000) % 2**32
    run(spare.dsn(), f"UPDATE pg_database SET datfrozenxid = '{old}' WHERE datname = 'aged'")
    assert found(spare, "xid-age") == [("aged", "warning")]
    run(spare.dsn(), f"UPDATE pg_database SET datfrozenxid = '{was}' WHERE datname = 'aged'",
        "DROP DATABASE aged")


def test_lines_of_authentication(spare: Server) -> None:
    assert found(spare, "authentication") == []
    assert spare.data is not None
    hba = spare.data / "pg_hba.conf"
    was = hba.read_text()
    hba.write_text(was + "hostssl all all 10.0.0.0/8 cert clientcert=1\nlocal all all nonsense\n")
    lines = len(was.splitlines())
    told = found(spare, "authentication")
    hba.write_text(was)
    assert (f"pg_hba.conf:{lines + 2}", "warning") in told
    assert (f"pg_hba.conf:{lines + 1}", "warning") in told


def test_what_a_role_may_not_see_is_unseen_and_never_passed(spare: Server) -> None:
    run(spare.dsn(), "CREATE ROLE guest LOGIN", "CREATE DATABASE private",
        "REVOKE CONNECT ON DATABASE private FROM public")
    dsn = psycopg.conninfo.make_conninfo(spare.dsn(), user="guest")
    try:
        report = check_server(dsn, Asked(to=18, quick=True)).report
        unseen = {(one.rule, one.object) for one in report.unseen if not one.left_out}
        assert ("databases", "private") in unseen
        assert ("authentication", "pg_hba.conf") in unseen
        if spare.version < 170000:
            assert ("removed-settings", "configuration files") in unseen
        assert report.doubts
    finally:
        run(spare.dsn(), "DROP DATABASE private", "DROP ROLE guest")


def test_space_is_told_with_its_arithmetic(
    spare: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migrations_check.server import space

    if spare.version >= 180000:
        assert found(spare, "space") == []
        return
    real = space.shutil.disk_usage

    def full(place: object) -> object:
        return real(str(place))._replace(free=70 << 20)

    assert found(spare, "space") == []
    monkeypatch.setattr(space.shutil, "disk_usage", full)
    report = check_server(spare.dsn(), Asked(to=18, quick=True)).report
    (one,) = [one for one in report.findings if one.rule == "space"]
    assert one.severity == "warning"
    assert "copy:" in one.message
    assert "free: 73 MB" in one.message
