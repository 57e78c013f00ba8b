"""What concerns the whole cluster: each rule on one that fails it and one that does not."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from dedupe.lab import Server
from migrations_check import Asked, Finding, check_server

from .servers import MAJORS, of_major, run


@pytest.fixture(params=MAJORS, ids=str, scope="module")
def spare(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server of each major whose settings allow for what the rules look for."""
    settings = {"max_prepared_transactions": "5", "wal_level": "logical"}
    with of_major(request.param, settings) as started:
        yield started


def findings(server: Server, rule: str, **asked: object) -> list[Finding]:
    report = check_server(server.dsn(), Asked(**{"to": 18, "quick": True, **asked})).report
    return [one for one in report.findings if one.rule == rule]


def found(server: Server, rule: str, **asked: object) -> list[tuple[str, str]]:
    return [(one.object, one.severity) for one in findings(server, rule, **asked)]


def test_prepared_transactions(spare: Server) -> None:
    assert found(spare, "prepared-transactions") == []
    run(spare.dsn(), "CREATE TABLE waiting (a int)")
    with psycopg.connect(spare.dsn()) as connection:
        connection.execute("INSERT INTO waiting VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'it''s late'")
    assert found(spare, "prepared-transactions") == [("postgres/it's late", "blocker")]
    run(spare.dsn(), "ROLLBACK PREPARED 'it''s late'", "DROP TABLE waiting")
    assert found(spare, "prepared-transactions") == []


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
    run(spare.dsn(), "CREATE TABLE lies (a int PRIMARY KEY) TABLESPACE inside",
        "CREATE INDEX there ON lies (a) TABLESPACE inside",
        "CREATE DATABASE housed TABLESPACE inside")
    (one,) = findings(spare, "tablespaces")
    as_it_says(spare, one.remedy)
    assert found(spare, "tablespaces") == []
    run(spare.dsn(), "DROP TABLE lies", "DROP DATABASE housed", "DROP TABLESPACE outside")


def test_tablespaces_that_were_made_in_place(spare: Server) -> None:
    run(spare.dsn(), "SET allow_in_place_tablespaces = on", "CREATE TABLESPACE here LOCATION ''",
        "CREATE MATERIALIZED VIEW lies TABLESPACE here AS SELECT 1 AS a")
    (one,) = findings(spare, "tablespaces")
    assert (one.object, one.severity) == ("here", "blocker")
    as_it_says(spare, one.remedy)
    assert found(spare, "tablespaces") == []
    run(spare.dsn(), "DROP MATERIALIZED VIEW lies")


def as_it_says(server: Server, remedy: str) -> None:
    """Run the statements of a remedy, those in the database postgres there."""
    run(server.dsn(), *(one.removeprefix("in postgres: ")
                        for one in remedy.partition("; or")[0].split("; ")))


def test_roles_with_the_systems_names(spare: Server) -> None:
    assert found(spare, "reserved-roles") == []
    run(spare.dsn(), "CREATE ROLE keeper",
        "UPDATE pg_authid SET rolname = 'pg_keeper' WHERE rolname = 'keeper'")
    (one,) = findings(spare, "reserved-roles")
    assert (one.object, one.severity) == ("pg_keeper", "blocker")
    run(spare.dsn(), one.remedy.partition("has one: ")[2])
    assert found(spare, "reserved-roles") == []
    run(spare.dsn(), "DROP ROLE was_pg_keeper")


def test_templates_that_pg_upgrade_needs(spare: Server) -> None:
    assert found(spare, "databases") == []
    for name, *harm in (
        ("template0", "ALTER DATABASE template0 ALLOW_CONNECTIONS true"),
        ("template0", "ALTER DATABASE template0 IS_TEMPLATE false", "DROP DATABASE template0"),
        ("template1", "ALTER DATABASE template1 IS_TEMPLATE false", "DROP DATABASE template1"),
    ):
        run(spare.dsn(), *harm)
        (one,) = findings(spare, "databases")
        assert (one.object, one.severity) == (name, "blocker")
        run(spare.dsn(), one.remedy)
        assert found(spare, "databases") == []


def test_a_drop_of_a_database_that_was_interrupted(spare: Server) -> None:
    """Scenario: DROP DATABASE is cancelled when it has begun to remove files."""
    if spare.version < 130012:
        pytest.skip("such a database is not marked before 13.12")
    run(spare.dsn(), "CREATE DATABASE half")
    with psycopg.connect(spare.dsn()) as lock:
        # It reads the tablespaces once there is no way back.
        lock.execute("LOCK TABLE pg_tablespace IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.QueryCanceled):
            run(spare.dsn(), "SET statement_timeout = '300ms'", "DROP DATABASE half")
    report = check_server(spare.dsn(), Asked(to=18, quick=True)).report
    (one,) = [one for one in report.findings if one.rule == "databases"]
    assert (one.object, one.severity) == ("half", "blocker")
    assert not [one for one in report.unseen if one.rule == "databases"]
    run(spare.dsn(), one.remedy)
    assert found(spare, "databases") == []


def test_lines_of_authentication(spare: Server) -> None:
    assert found(spare, "authentication") == []
    assert spare.data is not None
    hba = spare.data / "pg_hba.conf"
    was = hba.read_text()
    hba.write_text(was + "hostssl all all 10.0.0.0/8 cert clientcert=1\nlocal all all nonsense\n"
                   "hostssl all all 10.0.0.0/8 md5\n")
    lines = len(was.splitlines())
    told = found(spare, "authentication")
    hba.write_text(was)
    assert (f"pg_hba.conf:{lines + 2}", "warning") in told
    assert (f"pg_hba.conf:{lines + 1}", "warning") in told
    assert f"pg_hba.conf:{lines + 3}" not in [name for name, _ in told]


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
