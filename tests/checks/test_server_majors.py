"""What a newer major does not have: each rule on a database that fails it and one that does not."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from dedupe.errors import UnsupportedServer
from dedupe.lab import Server
from migrations_check import Asked, check_server
from migrations_check.server.majors import NEWEST, removed

from ..faults import pretender
from .conftest import Checked
from .servers import run


def only(majors: range, checked: Checked, why: str) -> None:
    if checked.major not in majors:
        pytest.skip(why)


def test_every_entry_cites_the_release_note_of_its_major() -> None:
    kinds = ("types", "columns", "functions", "operators", "settings", "values", "extensions",
             "languages")
    entries = [entry for kind in kinds for entry in removed(kind, 9, NEWEST)]
    assert entries
    for entry in entries:
        assert entry.note == f"https://www.postgresql.org/docs/release/{entry.major}.0/"


def test_every_major_has_something_of_its_own() -> None:
    kinds = ("types", "columns", "functions", "operators", "settings", "values", "extensions")
    majors = {entry.major for kind in kinds for entry in removed(kind, 9, NEWEST)}
    assert majors == set(range(10, NEWEST + 1))


#: what there is, by the kind of an entry
HERE = {
    "functions": "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace",
    "settings": "SELECT name FROM pg_settings",
    "types": "SELECT 'pg_catalog.' || typname FROM pg_type WHERE typtype <> 'p'",
    "columns": "SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c"
    " ON c.oid = a.attrelid WHERE c.relnamespace = 'pg_catalog'::regnamespace",
}


@pytest.mark.parametrize("major", [18, 17, 15, 14, 13, 10])
def test_what_is_said_to_be_gone_was_there_and_is_gone(
    servers: Callable[[int], Server], major: int
) -> None:
    for kind, query in HERE.items():
        here = {name for (name,) in run(servers(major).dsn(), query)}
        for entry in removed(kind, 0, NEWEST):
            if entry.facts.get("why", "").startswith("the type is stored"):
                continue
            relation = entry.facts.get("relation")
            names = {f"{relation}.{name}" if relation else name for name in entry.names}
            if entry.major <= major:
                assert not names & here
            elif entry.major == major + 1:
                assert names <= here


def test_a_server_of_9_6_is_refused_with_what_to_do(servers: Callable[[int], Server]) -> None:
    with (
        pretender(servers(10).dsn(), "10.23", "9.6.2") as old,
        pytest.raises(UnsupportedServer, match=r"PostgreSQL 9\.6; the checks need 10") as caught,
    ):
        check_server(old, Asked(to=18, quick=True))
    assert caught.value.version == 90602
    assert "Restore a copy" in str(caught.value.hint)


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
    checked.run("DROP VIEW IF EXISTS seen", *(one.remedy for one in found))
    assert checked.found("removed-types") == []


def test_types_that_are_gone_become_others_without_a_loss(checked: Checked) -> None:
    only(range(10, 12), checked, "the types are gone here")
    checked.run(
        "CREATE TABLE old (a abstime, r reltime, t tinterval)",
        "INSERT INTO old SELECT a, '1 day'::reltime, tinterval(a, b) FROM (SELECT"
        " '2001-02-03 04:05:06+00'::abstime AS a, '2001-02-03 05:05:06+00'::abstime AS b) x",
        "CREATE TABLE child () INHERITS (old)",
        "CREATE MATERIALIZED VIEW kept AS SELECT a FROM old",
    )
    found = checked.found("removed-types")
    names = ["kept.a", "old.a", "old.r", "old.t"]
    assert [one.object for one in found] == [f"{checked.dbname}/public.{name}" for name in names]
    checked.run(found[0].remedy.partition("after: ")[2], *(one.remedy for one in found[1:]))
    assert checked.run(
        "SELECT a = '2001-02-03 04:05:06+00', r = '1 day',"
        " t = tstzrange('2001-02-03 04:05:06+00', '2001-02-03 05:05:06+00') FROM old"
    ) == [(True, True, True)]
    assert checked.found("removed-types") == []


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
    # Both are named, and the view reads another column.
    relation = column.split()[-1]
    checked.run(f"CREATE VIEW named AS SELECT o.{name}, c.oid AS {name}_, c.oid::text || 'x'"
                f" AS {name}__ FROM own o, {relation} c WHERE c.oid = 1",
                f"CREATE VIEW new_name AS SELECT oid AS {name} FROM {relation}")
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


def test_what_is_gone_is_found_wherever_expressions_are_kept(checked: Checked) -> None:
    only(range(10, 14), checked, "what was removed in 14 is gone here")
    gone = "(box '((0,0),(1,1))' @ box '((0,0),(2,2))')"
    checked.run(
        "CREATE TABLE boxes (id int, b box, ok bool)", "CREATE INDEX place ON boxes ((b @ b), id)",
        f"ALTER TABLE boxes ALTER COLUMN ok SET DEFAULT {gone}",
        f"CREATE RULE no_loss AS ON DELETE TO boxes WHERE {gone} DO INSTEAD NOTHING",
        "CREATE POLICY mine ON boxes USING (b @ b)",
        "CREATE TRIGGER same BEFORE UPDATE ON boxes FOR EACH ROW WHEN (new.b @ old.b)"
        " EXECUTE PROCEDURE suppress_redundant_updates_trigger()",
        f"CREATE DOMAIN answer AS bool DEFAULT {gone}",
        "CREATE DOMAIN itself AS box CHECK (VALUE @ VALUE)",
        "CREATE TABLE parts (b box) PARTITION BY RANGE ((b @ b))",
        f"CREATE FUNCTION asks(ok bool DEFAULT {gone}) RETURNS bool LANGUAGE sql AS 'SELECT $1'",
        f"CREATE MATERIALIZED VIEW kept AS SELECT {gone} AS ok",
    )
    found = checked.found("removed-objects")
    assert sorted(one.object.removeprefix(f"{checked.dbname}/public.") for one in found) == [
        "answer", "asks()", "boxes", "boxes.mine", "boxes.ok", "boxes.same", "itself_check",
        "kept", "parts", "place"]
    assert {one.severity for one in found} == {"blocker"}


def test_an_sql_body_that_is_kept_as_a_tree(checked: Checked) -> None:
    only(range(14, 17), checked, "there are none before 14, and nothing of it is gone after 17")
    checked.run("CREATE FUNCTION writes() RETURNS bigint"
                " RETURN pg_stat_get_buf_written_backend()")
    (found,) = checked.found("removed-objects")
    assert (found.object, found.severity) == (f"{checked.dbname}/public.writes()", "blocker")


def function(name: str, code: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS void LANGUAGE plpgsql AS $_$BEGIN {code}; END$_$"


def test_bodies_that_name_what_is_gone_since_9_6(checked: Checked) -> None:
    """Scenario: functions came along from 9.6, as they do, for nothing looks into them.
    Outcome: they are told, but for those that know better.
    """
    asked = "IF current_setting('server_version_num')::int >= 100000 THEN RETURN; END IF; PERFORM "
    checked.run(
        function("guarded", f"{asked} pg_switch_xlog()"),
        function("own", "PERFORM public.pg_switch_xlog()"),
        function("told", "-- pg_switch_xlog() is gone\n /* pg_xlogfile_name() */ RETURN"),
        function("asks", "PERFORM current_setting('sql_inheritance', true)"),
    )
    assert checked.found("removed-objects") == checked.found("function-settings") == []
    checked.run(
        function("switches", "PERFORM pg_switch_xlog()"),
        function("lags", "PERFORM replay_location FROM pg_stat_replication"),
        function("runs", "EXECUTE 'SELECT pg_xlog_location_diff(a, b)'"),
        function("sets", "SET LOCAL sql_inheritance = off"),
    )
    names = ["lags()", "runs()", "switches()"]
    found = checked.found("removed-objects")
    assert [one.object for one in found] == [f"{checked.dbname}/public.{name}" for name in names]
    (setting,) = checked.found("function-settings")
    assert setting.object == f"{checked.dbname}/public.sets()"
    assert all(one.severity == "warning" and "release/10.0/" in one.message
               and "fails already" in one.message for one in [*found, setting])
    # Whoever made the function anew has what calls it running.
    checked.run(function("pg_switch_xlog", "RETURN"),
                "CREATE VIEW pg_stat_replication AS SELECT 1 AS replay_location")
    assert [one.object for one in checked.found("removed-objects")] == [
        f"{checked.dbname}/public.runs()"]


def test_postfix_operators_polymorphics_and_conversions(checked: Checked) -> None:
    checked.run("CREATE AGGREGATE fine (int) (sfunc = int4pl, stype = int)")
    assert checked.found("changed-signatures") == []
    if checked.major >= 14:
        return
    checked.run(
        "CREATE OPERATOR !! (leftarg = int8, procedure = numeric_fac)",
        "CREATE AGGREGATE collected (anyelement) (sfunc = array_append, stype = anyarray)",
        "CREATE FUNCTION step(anyarray, anyelement) RETURNS anyarray LANGUAGE sql AS 'SELECT $1'",
        "CREATE AGGREGATE last (anyelement) (sfunc = step, stype = anyarray,"
        " finalfunc = array_append, finalfunc_extra)",
        "CREATE OPERATOR &+ (leftarg = anyarray, rightarg = anyelement, procedure = array_append)",
        "CREATE CONVERSION \"Latin\" FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    )
    found = checked.found("changed-signatures")
    names = ["public.!!", "public.&+", "public.collected(anyelement)", "public.last(anyelement)",
             "public.Latin"]
    assert [one.object for one in found] == [f"{checked.dbname}/{name}" for name in names]
    assert {one.severity for one in found} == {"blocker"}
    assert checked.found("changed-signatures", to=13) == []
    checked.run(*(drop for one in found if (drop := re.search("DROP .*?(?=;|$)", one.remedy)[0])))
    assert checked.found("changed-signatures") == []


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


def test_values_of_settings_that_are_gone(checked: Checked) -> None:
    only(range(10, 14), checked, "the values are refused here")
    name, role = ("default_with_oids" if checked.major < 12 else "password_encryption"), '"A b"'
    where = f"{role} IN DATABASE {checked.dbname}"
    checked.run(f"CREATE ROLE {role}", f"ALTER ROLE {role} SET {name} = "
                + ("off" if checked.major < 12 else "md5"))
    try:
        assert checked.found("removed-settings") == []
        checked.run(f"ALTER ROLE {where} SET {name} = 'on'", f"ALTER ROLE ALL SET {name} = 'on'",
                    f"CREATE FUNCTION sets() RETURNS int LANGUAGE sql SET {name} = on"
                    " AS 'SELECT 1'")
        found = checked.found("removed-settings")
        assert {(one.object, one.severity) for one in found} == {
            (f"{name} of ROLE A b IN DATABASE {checked.dbname}", "blocker"),
            (f"{name} of ROLE ALL", "blocker")}
        (function,) = checked.found("function-settings")
        assert function.severity == "blocker"
        checked.run(*(one.remedy for one in [*found, function]))
        assert checked.found("removed-settings") == checked.found("function-settings") == []
    finally:
        checked.run(f"ALTER ROLE ALL RESET {name}", f"ALTER ROLE {where} RESET ALL",
                    f"DROP ROLE {role}")


def test_procedures_and_settings_that_are_gone(checked: Checked) -> None:
    only(range(11, 16), checked, "there are no procedures, or no setting that is gone")
    checked.run("CREATE PROCEDURE sets() LANGUAGE sql SET force_parallel_mode = on AS ''")
    (found,) = checked.found("function-settings")
    checked.run(found.remedy)
    assert checked.found("function-settings") == []


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
