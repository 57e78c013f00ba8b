"""What a newer major does not have: each rule on a database that fails it and one that does not."""

from __future__ import annotations

import re

import pytest

from migrations_check.server.majors import NEWEST, removed

from .conftest import Checked
from .servers import run


def only(majors: range, checked: Checked, why: str) -> None:
    if checked.major not in majors:
        pytest.skip(why)


def test_every_entry_cites_the_release_note_of_its_major() -> None:
    kinds = ("types", "columns", "functions", "operators", "settings", "extensions", "languages")
    entries = [entry for kind in kinds for entry in removed(kind, 9, NEWEST)]
    assert entries
    for entry in entries:
        assert entry.note == f"https://www.postgresql.org/docs/release/{entry.major}.0/"


def test_types_that_are_gone_are_found_where_they_are_stored(checked: Checked) -> None:
    checked.run("CREATE TABLE fine (at timestamptz, acl text, kind regclass)",
                "CREATE VIEW seen AS SELECT 'now'::regproc AS not_stored")
    assert checked.found("removed-types") == []
    if checked.major < 12:
        checked.run("CREATE TABLE old (at abstime, spans reltime[])")
    if checked.major < 16:
        checked.run("CREATE DOMAIN rights AS aclitem", "CREATE TABLE acls (a rights)")
    if checked.major < 18:
        checked.run("CREATE TYPE pair AS (f regproc, n int)", "CREATE TABLE calls (p pair)")
    expected = [] if checked.major >= 18 else ["public.calls.p"]
    expected = ["public.acls.a"] * (checked.major < 16) + expected
    if checked.major < 12:
        expected += ["public.old.at", "public.old.spans"]
    found = checked.found("removed-types")
    assert [one.object.removeprefix(f"{checked.dbname}/") for one in found] == expected
    assert all(one.severity == "blocker" for one in found)
    assert checked.found("removed-types", to=checked.major) == []


def test_functions_that_are_gone_are_found_in_views_and_bodies(checked: Checked) -> None:
    only(range(10, 15), checked, "what was removed in 15 is gone here")
    checked.run("CREATE VIEW fine AS SELECT 'pg_start_backup()' AS text",
                "CREATE FUNCTION fine() RETURNS text LANGUAGE sql AS 'SELECT now()::text'")
    assert checked.found("removed-objects") == []
    checked.run(
        "CREATE VIEW backing AS SELECT pg_is_in_backup() AS on",
        "CREATE FUNCTION begin_backup() RETURNS text LANGUAGE sql"
        " AS 'SELECT pg_start_backup(''x'')::text'",
    )
    found = {one.object: one.severity for one in checked.found("removed-objects")}
    assert found == {
        f"{checked.dbname}/public.backing": "blocker",
        f"{checked.dbname}/public.begin_backup()": "warning",
    }
    assert checked.found("removed-objects", to=14) == []


def test_columns_of_catalogs_that_are_gone_are_found_in_views(checked: Checked) -> None:
    only(range(10, 18), checked, "nothing of these is left to remove")
    column = {10: "consrc FROM pg_constraint", 13: "datlastsysoid FROM pg_database",
              15: "daticulocale FROM pg_database"}[checked.major]
    name = column.split()[0]
    checked.run(f"CREATE TABLE own ({name} text)", f"CREATE VIEW fine AS SELECT {name} FROM own")
    assert checked.found("removed-objects") == []
    checked.run(f"CREATE VIEW broken AS SELECT {column}")
    (found,) = checked.found("removed-objects")
    assert (found.object, found.severity) == (f"{checked.dbname}/public.broken", "blocker")
    assert name in found.message
    assert re.search(r"release/1\d\.0/", found.message)


def test_operators_that_are_gone_are_found_by_their_operands(checked: Checked) -> None:
    only(range(10, 14), checked, "what was removed in 14 is gone here")
    checked.run("CREATE VIEW fine AS SELECT NOT true AS no, 'a' ~ 'b' AS matches, ~ 1 AS bits,"
                " @ (-1) AS absolute")
    assert checked.found("removed-objects") == []
    checked.run("CREATE VIEW factorials AS SELECT 5::int8 ! AS f",
                "CREATE TABLE boxes (b box CHECK (b ~ box '((0,0),(1,1))'))")
    found = [one.object for one in checked.found("removed-objects")]
    assert found == [f"{checked.dbname}/public.boxes_b_check",
                     f"{checked.dbname}/public.factorials"]


def test_postfix_operators_polymorphics_and_conversions(checked: Checked) -> None:
    checked.run("CREATE AGGREGATE fine (int) (sfunc = int4pl, stype = int)")
    assert checked.found("changed-signatures") == []
    if checked.major >= 14:
        return
    checked.run(
        "CREATE OPERATOR !! (leftarg = int8, procedure = numeric_fac)",
        "CREATE AGGREGATE collected (anyelement) (sfunc = array_append, stype = anyarray)",
    )
    found = [one.object for one in checked.found("changed-signatures")]
    names = ["public.!!", "public.collected(anyelement)"]
    assert found == [f"{checked.dbname}/{name}" for name in names]
    assert checked.found("changed-signatures", to=13) == []


def test_tables_with_oids(checked: Checked) -> None:
    checked.run("CREATE TABLE fine (a int)")
    assert checked.found("oids") == []
    if checked.major >= 12:
        return
    checked.run("CREATE TABLE old (a int) WITH OIDS")
    (found,) = checked.found("oids")
    assert (found.object, found.severity) == (f"{checked.dbname}/public.old", "blocker")
    checked.run(found.remedy.partition(",")[0])
    assert checked.found("oids") == []


def test_settings_that_are_gone(checked: Checked) -> None:
    name = {10: "wal_keep_segments", 13: "operator_precedence_warning",
            15: "force_parallel_mode"}.get(checked.major)
    checked.run("CREATE FUNCTION fine() RETURNS int LANGUAGE sql SET work_mem = '4MB'"
                " AS 'SELECT 1'")
    assert checked.found("removed-settings") == []
    assert checked.found("function-settings") == []
    if name is None:
        return
    try:
        checked.run(f"ALTER SYSTEM SET {name} = DEFAULT")
        if checked.major != 10:
            checked.run(f"ALTER DATABASE {checked.dbname} SET {name} = 'on'",
                        "CREATE FUNCTION sets() RETURNS int LANGUAGE sql"
                        f" SET {name} = 'on' AS 'SELECT 1'")
            (found,) = checked.found("removed-settings")
            assert found.severity == "blocker"
            assert found.object == f"{name} of DATABASE {checked.dbname}"
            run(checked.server.dsn(), found.remedy)
            (function,) = checked.found("function-settings")
            assert function.severity == "blocker"
        checked.run(f"ALTER SYSTEM SET {name} = '{'5' if checked.major == 10 else 'off'}'")
        (line,) = checked.found("removed-settings")
        assert line.severity == "warning"
        assert "postgresql.auto.conf:" in line.object
    finally:
        checked.run("ALTER SYSTEM RESET ALL")


def test_extensions(checked: Checked) -> None:
    checked.run("CREATE EXTENSION citext", "CREATE EXTENSION pg_trgm")
    assert checked.found("extensions") == []
    report = checked.check()
    assert not [one for one in report.unseen if one.rule == "extensions"]
    if checked.major >= 17:
        return
    checked.run("CREATE EXTENSION adminpack")
    (found,) = checked.found("extensions")
    assert (found.object, found.severity) == (f"{checked.dbname}/adminpack", "blocker")
    assert checked.found("extensions", to=max(checked.major, 16)) == []
    checked.run("DROP EXTENSION adminpack")
    assert checked.found("extensions") == []


def test_a_foreign_extension_is_looked_for_beside_the_target(checked: Checked) -> None:
    only(range(10, 18), checked, "an upgrade goes to another major")
    checked.run("UPDATE pg_extension SET extname = 'postgis' WHERE extname = 'plpgsql'")
    (doubt,) = [one for one in checked.check().unseen if one.rule == "extensions"]
    assert doubt.object == f"{checked.dbname}/postgis"
    from dedupe.lab.binaries import find

    (found,) = list(checked.found("extensions", new_bindir=find()))
    assert (found.object, found.severity) == (f"{checked.dbname}/postgis", "blocker")


def test_a_language_that_is_gone(checked: Checked) -> None:
    only(range(10, 15), checked, "the language is gone here")
    checked.run("UPDATE pg_language SET lanname = 'plpython2u' WHERE lanname = 'plpgsql'")
    (found,) = checked.found("extensions")
    assert (found.object, found.severity) == (f"{checked.dbname}/plpython2u", "blocker")
