"""Whether the server and its indexes can be believed: each rule on a cluster that fails it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dedupe.lab import Server
from migrations_check import Asked, Finding, check_server

from .conftest import Checked
from .servers import of_major, run


def test_an_invalid_unique_index_is_told(checked: Checked) -> None:
    checked.run("CREATE TABLE people (name int)", "INSERT INTO people VALUES (1), (1)")
    with pytest.raises(Exception, match="could not create unique index"):
        checked.run("CREATE UNIQUE INDEX CONCURRENTLY people_key ON people (name)")
    (found,) = checked.found("invalid-index")
    assert found.object == f"{checked.dbname}/public.people_key"
    assert found.severity == "warning"
    checked.run("TRUNCATE people", "DROP INDEX people_key",
                "CREATE UNIQUE INDEX people_key ON people (name)")
    assert checked.found("invalid-index") == []


def test_every_index_of_a_changed_collation_is_told(checked: Checked) -> None:
    if not checked.server.icu:
        pytest.skip("the server was built without ICU")
    checked.run(
        "CREATE COLLATION german (provider = icu, locale = 'de')",
        "CREATE TABLE words (word text COLLATE german, other text COLLATE german, plain int)",
        "CREATE UNIQUE INDEX words_key ON words (word)", "CREATE INDEX others ON words (other)",
        "CREATE INDEX plain ON words (plain)",
    )
    assert checked.found("collation-version") == []
    checked.run("UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'german'")
    found = checked.found("collation-version")
    names = [f"{checked.dbname}/public.{name}" for name in ("others", "words_key")]
    assert [one.object for one in found] == names
    assert all("REFRESH VERSION" in one.remedy for one in found)


def test_every_index_of_a_changed_default_collation_is_told(checked: Checked) -> None:
    if checked.major < 15:
        pytest.skip("no version of the database's collation is kept before 15")
    checked.run('CREATE TABLE words (word text PRIMARY KEY, byte text COLLATE "C" UNIQUE)')
    was = checked.run("SELECT datcollversion FROM pg_database WHERE datname = current_database()")
    checked.run("UPDATE pg_database SET datcollversion = '2.28'"
                " WHERE datname = current_database()")
    found = checked.found("collation-version")
    ((now,),) = checked.run("SELECT pg_database_collation_actual_version(oid)"
                            " FROM pg_database WHERE datname = current_database()")
    if was == [(None,)] and now is None:
        # The C library gives its own locale C.UTF-8 no version: it does not change.
        assert "2.28" in found[0].message
    assert [one.object for one in found] == [f"{checked.dbname}/public.words_pkey"]


@pytest.mark.parametrize(
    ("version", "told"),
    [(140003, True), (140004, False), (130001, True), (130002, False), (100015, True),
     (180000, False)],
)
def test_the_ranges_of_damaging_minors(version: int, told: bool) -> None:
    from migrations_check.server.majors import damaging_minors

    hit = [one for one in damaging_minors() if one["first"] <= version < one["mended"]]
    assert bool(hit) is told


def test_a_server_of_a_damaging_minor(servers: Callable[[int], Server], tmp_path: Path) -> None:
    """Scenario: a real 14.3, which builds an index concurrently, and one that was mended."""
    server = servers(14)
    assert server.version == 140003
    dsn = server.create_database("built")
    run(dsn, "CREATE TABLE people (name text)", "INSERT INTO people VALUES ('a'), ('b')",
        "CREATE UNIQUE INDEX CONCURRENTLY people_key ON people (name)")

    def told(server: Server, dbname: str = "postgres") -> list[Finding]:
        asked = Asked(to=18, only=(dbname,), run=tmp_path / "keys")
        report = check_server(server.dsn(dbname), asked).report
        assert not report.blockers
        return [one for one in report.findings if one.rule == "damaging-minor"]

    (found,) = told(server, "built")
    assert (found.object, found.severity) == ("PostgreSQL 14.3", "warning")
    assert "release/14.4/" in found.message
    assert "Update to 14.4" in found.remedy
    assert [told(servers(major)) for major in (18, 15, 13, 10)] == [[]] * 4
    server.drop_database("built")


def test_unsafe_settings_are_told_and_safe_ones_are_not() -> None:
    def found(**settings: str) -> list[str]:
        with of_major(18, settings) as server:
            report = check_server(server.dsn(), Asked(to=18, quick=True)).report
        assert not report.blockers
        return [one.object for one in report.findings]

    bad = {"fsync": "off", "full_page_writes": "off", "zero_damaged_pages": "on"}
    assert found(**bad) == ["fsync", "full_page_writes", "zero_damaged_pages"]
    assert found() == []


def test_missing_checksums_are_told_once_and_as_a_warning(checked: Checked) -> None:
    on = checked.run("SELECT current_setting('data_checksums')") == [("on",)]
    found = [one for one in checked.found("unsafe-settings") if one.object == "data_checksums"]
    assert len(found) == (0 if on else 1)
    assert all(one.severity == "warning" and "18" in one.message for one in found)


def test_a_database_that_nobody_may_enter_stops_the_upgrade(checked: Checked) -> None:
    assert checked.found("databases") == []
    checked.run("CREATE DATABASE closed", "ALTER DATABASE closed ALLOW_CONNECTIONS false")
    try:
        (found,) = checked.found("databases")
        assert (found.object, found.severity) == ("closed", "blocker")
        run(checked.dsn, found.remedy)
        assert checked.found("databases") == []
    finally:
        checked.run("ALTER DATABASE closed ALLOW_CONNECTIONS true", "DROP DATABASE closed")
