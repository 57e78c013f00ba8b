"""Keys read from indexes: what the catalogs say, and which indexes are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.errors import KeyDefinitionError, UnknownObject, UnsupportedRelation
from dedupe.key import MatchKey, ResolvedKey, keys_of_table, resolve, resolve_all
from dedupe.session import Session

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def server(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def session(database: str, server: Connection) -> Iterator[Session]:
    assert not server.closed
    with connect(database).open("test") as opened:
        yield opened


def run(server: Connection, text: str) -> None:
    server.execute(text)


def oid(session: Session, name: str) -> int:
    return int(session.row("SELECT $1::regclass::oid::int8", [name])[0])


def groups(session: Session, key: ResolvedKey, table: str) -> list[list[int]]:
    """Group the rows that take part by their digests; numbers of rows that share one."""
    digest = key.digest([column.expression for column in key.columns])
    part = key.takes_part([column.expression for column in key.columns], key.where)
    with session.transaction(settings={"search_path": key.search_path}):
        return [
            row[0]
            for row in session.rows(
                f"SELECT array_agg(no ORDER BY no) FROM ONLY {table} WHERE {part}"
                f" GROUP BY {digest} HAVING count(*) > 1 ORDER BY 1"
            )
        ]


def test_expressions_predicate_and_included_columns(server: Connection, session: Session) -> None:
    """Mastodon's kind of key: two expressions, a predicate, an INCLUDE column that is
    no part of the key.
    """
    run(
        server,
        "CREATE TABLE accounts (no int, username varchar, domain varchar, deleted bool);"
        " CREATE INDEX i ON accounts (lower(username), coalesce(lower(domain), ''))"
        "  INCLUDE (no) WHERE NOT deleted;"
        " INSERT INTO accounts VALUES (0, 'Ann', NULL, false), (1, 'ann', '', false),"
        "  (2, 'ann', NULL, true), (3, 'ann', 'x', false), (4, NULL, 'x', false),"
        "  (5, 'ANN', 'X', NULL), (6, 'aNN', 'X', false)",
    )
    key = resolve(session, MatchKey.from_index("i"))
    assert [column.type for column in key.columns] == ["text", "text"]
    assert [column.collation for column in key.columns] == ['pg_catalog."default"'] * 2
    assert key.columns[0].expression == "(lower((username)::text))"
    assert key.where == "((NOT deleted))"
    assert (key.nulls_distinct, key.search_path, key.name) == (True, "", "i")
    assert key.table_oid == oid(session, "public.accounts")
    assert key.index_oid == oid(session, "public.i")
    assert groups(session, key, "public.accounts") == [[0, 1], [3, 6]]


def test_an_index_of_a_named_table(server: Connection, session: Session) -> None:
    """Scenario: two schemas with an index of one name; the table says which is meant.
    Outcome: found outside the search path; an index of another table is refused by name.
    """
    run(
        server,
        "CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE UNIQUE INDEX t_a ON s.t (a);"
        " CREATE TABLE t (a int, b int); CREATE UNIQUE INDEX t_a ON t (b)",
    )
    assert resolve(session, MatchKey.from_index("t_a")).table_oid == oid(session, "public.t")
    for name in ("t_a", "s.t_a"):
        key = resolve(session, MatchKey.from_index(name, "s.t"))
        assert (key.table_oid, key.name) == (oid(session, "s.t"), "t_a")
    with pytest.raises(UnknownObject) as refused:
        resolve(session, MatchKey.from_index("public.t_a", "s.t"))
    assert refused.value.message == "table s.t has no index public.t_a"
    assert refused.value.hint == "It has: t_a."


def test_nulls_not_distinct(server: Connection, session: Session) -> None:
    """NULLs equal one another and nothing else, and keep to their column."""
    if session.version < 150000:
        pytest.skip("NULLS NOT DISTINCT came with 15")
    run(
        server,
        "CREATE TABLE t (no int, a int8, b text);"
        " CREATE INDEX i ON t (a, b); CREATE UNIQUE INDEX u ON t (a, b, no) NULLS NOT DISTINCT;"
        " CREATE UNIQUE INDEX n ON t (a) NULLS NOT DISTINCT WHERE b = 'only';"
        " INSERT INTO t VALUES (0, NULL, '5'), (1, 5, NULL), (2, NULL, NULL), (3, NULL, NULL),"
        " (4, 5, '5'), (5, 5, NULL), (6, 0, '')",
    )
    assert resolve(session, MatchKey.from_index("i")).nulls_distinct
    key = resolve(session, MatchKey.from_index("u"))
    assert not key.nulls_distinct
    for spec, expected in (
        (MatchKey.from_columns("t", "a", "b", nulls_distinct=False), [[1, 5], [2, 3]]),
        (MatchKey.from_columns("t", "a", nulls_distinct=False), [[0, 2, 3], [1, 4, 5]]),
        (MatchKey.from_columns("t", "b", nulls_distinct=False), [[0, 4], [1, 2, 3, 5]]),
        (MatchKey.from_columns("t", "a", "b"), []),
    ):
        assert groups(session, resolve(session, spec), "public.t") == expected
    assert resolve(session, MatchKey.from_index("n")).scattered


def test_hostile_names(server: Connection, session: Session) -> None:
    """Names that try to leave their quotes are names."""
    table, column, index, schema = 'a""; drop', "x'y\"); --", 'My "Index"', "Sch ema;"

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    run(server, f"CREATE SCHEMA {quoted(schema)}")
    run(
        server,
        f"CREATE TABLE {quoted(schema)}.{quoted(table)} (no int, {quoted(column)} text);"
        f" INSERT INTO {quoted(schema)}.{quoted(table)} VALUES (0, 'v'), (1, 'v'), (2, 'w');"
        f" CREATE INDEX {quoted(index)} ON {quoted(schema)}.{quoted(table)}"
        f" ({quoted(column)}, (lower({quoted(column)})))"
        f" WHERE {quoted(column)} <> {psycopg.sql.Literal(column).as_string(None)}",
    )
    where = f"{quoted(schema)}.{quoted(table)}"
    for spec in (
        MatchKey.from_index(f"{quoted(schema)}.{quoted(index)}"),
        MatchKey.from_columns(where, column),
        MatchKey.from_columns(where, quoted(column), f"lower({quoted(column)} -- end\n)"),
    ):
        assert groups(session, resolve(session, spec), where) == [[0, 1]]


def test_a_key_function_that_needs_the_roles_own_path(server: Connection, session: Session) -> None:
    """Scenario: the body of an index's function names a table's helper without its schema.
    Outcome: the key is read under the role's own search path, and means the same.
    """
    run(
        server,
        """
        CREATE FUNCTION helper(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
        CREATE FUNCTION folded(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
          AS 'BEGIN RETURN pg_catalog.lower($1); END';
        CREATE FUNCTION upper(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
        CREATE TABLE t (no int, v text);
        INSERT INTO t VALUES (0, 'a'), (1, 'A'), (2, 'b');
        CREATE INDEX i ON t (folded(v), pg_catalog.upper(v)) WHERE no >= 0;
        CREATE OR REPLACE FUNCTION folded(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
          AS 'BEGIN RETURN helper($1); END';
        """,
    )
    key = resolve(session, MatchKey.from_index("i"))
    assert key.search_path == session.own_search_path != ""
    assert groups(session, key, "public.t") == [[0, 1]]
    run(
        server,
        "CREATE OR REPLACE FUNCTION folded(text) RETURNS text IMMUTABLE LANGUAGE plpgsql"
        " AS 'BEGIN RETURN nowhere($1); END'",
    )
    with pytest.raises(KeyDefinitionError, match=r"nowhere.*does not exist") as caught:
        resolve(session, MatchKey.from_index("i"))
    assert caught.value.key == "i"


def test_keys_that_are_read_together_share_a_path(server: Connection, session: Session) -> None:
    """Scenario: an index over array_length, a function of that name in public that fits
    better, and a second key that needs the role's own path.
    Outcome: under that path the first key still means the index's function.
    """
    run(
        server,
        "CREATE TABLE t (no int, a int[]); CREATE INDEX i ON t (array_length(a, 1));"
        " CREATE FUNCTION array_length(int[], int) RETURNS int IMMUTABLE LANGUAGE sql"
        " AS 'SELECT $1[1]'; INSERT INTO t VALUES (0, '{5,6}'), (1, '{7,8}'), (2, '{5}')",
    )
    index, columns = MatchKey.from_index("i"), MatchKey.from_columns("t", "array_length(a, 1)")
    one, other = resolve_all(session, [index, columns])
    assert one.search_path == other.search_path == session.own_search_path
    assert "pg_catalog.array_length" in one.columns[0].expression
    assert groups(session, one, "public.t") == [[0, 1]]
    assert groups(session, other, "public.t") == [[0, 2]]
    (alone,) = resolve_all(session, [index])
    assert alone.search_path == ""
    assert groups(session, alone, "public.t") == [[0, 1]]
    plain = MatchKey.from_columns("t", "no")
    assert [key.search_path for key in resolve_all(session, [index, plain])] == ["", ""]


def test_partitions(server: Connection, session: Session) -> None:
    """The parent's index means the whole table, a leaf's index that leaf alone."""
    run(
        server,
        "CREATE TABLE p (no int, v text) PARTITION BY LIST (no);"
        " CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);"
        " CREATE TABLE p1 (v text, junk int, no int); ALTER TABLE p1 DROP COLUMN junk;"
        " ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1);"
        " CREATE UNIQUE INDEX p_i ON p (no, lower(v));"
        " CREATE UNIQUE INDEX p1_own ON p1 (v);"
        " INSERT INTO p VALUES (0, 'a'), (1, 'a')",
    )
    whole = resolve(session, MatchKey.from_index("p_i"))
    assert whole.table_oid == oid(session, "public.p")
    leaf = resolve(session, MatchKey.from_index("p1_own"))
    assert leaf.table_oid == oid(session, "public.p1")
    names = [key.name for key in keys_of_table(session, oid(session, "public.p"))]
    assert names == ['"public"."p_i"', '"public"."p1_own"']
    names = [key.name for key in keys_of_table(session, oid(session, "public.p1"))]
    assert names == ['"public"."p1_no_lower_idx"', '"public"."p1_own"']
    spec = MatchKey.from_columns("p", "v", "lower(v)", where="no < 5")
    assert resolve(session, spec).table_oid == oid(session, "public.p")


def test_the_unique_keys_of_a_table(server: Connection, session: Session) -> None:
    """Every unique btree index, the primary key first, an INVALID one too; not the
    leftovers of REINDEX CONCURRENTLY and no exclusion constraint.
    """
    run(
        server,
        "CREATE TABLE t (id int PRIMARY KEY, a int UNIQUE, b int4range, EXCLUDE USING gist"
        " (b WITH &&)); CREATE INDEX plain ON t (a); CREATE UNIQUE INDEX e ON t ((a + 1));"
        " CREATE UNIQUE INDEX broken ON t (b); CREATE UNIQUE INDEX t_pkey_ccnew1 ON t (id);"
        " CREATE UNIQUE INDEX fine_ccold ON t (id, a)",
    )
    run(
        server,
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid IN ('broken'::regclass, 't_pkey_ccnew1'::regclass)",
    )
    keys = keys_of_table(session, oid(session, "public.t"))
    assert [key.name.replace('"', "") for key in keys] == [
        "public.t_pkey",
        "public.broken",
        "public.e",
        "public.fine_ccold",
        "public.t_a_key",
    ]
    for key in keys:
        assert resolve(session, key).index_oid


def test_a_name_column_and_a_name_expression(server: Connection, session: Session) -> None:
    """An index stores name as cstring; the key is still a name."""
    run(
        server,
        "CREATE TABLE t (no int, v name, w text); CREATE INDEX i ON t (v, (w::name));"
        " INSERT INTO t VALUES (0, 'a', 'b'), (1, 'a', 'b'), (2, 'a', 'c')",
    )
    key = resolve(session, MatchKey.from_index("i"))
    assert [column.type for column in key.columns] == ["name", "name"]
    assert groups(session, key, "public.t") == [[0, 1]]


def test_values_that_the_client_cannot_hold(server: Connection, session: Session) -> None:
    """Python has no infinite timestamp and no 24:00; a key over them resolves all the same."""
    run(
        server,
        "CREATE TABLE t (no int, v timestamp, w time);"
        " INSERT INTO t VALUES (0, 'infinity', '24:00'), (1, 'infinity', '24:00');"
        " CREATE INDEX i ON t ((v + '0'), (w)) WHERE no < 5",
    )
    assert groups(session, resolve(session, MatchKey.from_index("i")), "public.t") == [[0, 1]]


def test_a_row_type_is_present_though_all_its_fields_are_null(
    server: Connection, session: Session
) -> None:
    """ROW(NULL, NULL) IS NULL is true, but such a row takes part and has a twin."""
    run(
        server,
        "CREATE TYPE pair AS (a int, b int); CREATE DOMAIN d AS pair;"
        " CREATE TABLE t (no int, v pair, w d); CREATE INDEX i ON t (v); CREATE INDEX j ON t (w);"
        " INSERT INTO t VALUES (0, ROW(NULL, NULL), ROW(NULL, NULL)),"
        " (1, ROW(NULL, NULL), ROW(NULL, NULL)), (2, NULL, NULL), (3, NULL, NULL)",
    )
    for name in "ij":
        key = resolve(session, MatchKey.from_index(name))
        assert groups(session, key, "public.t") == [[0, 1]]


def test_indexes_that_are_no_key(server: Connection, session: Session) -> None:
    """Another access method, an exclusion constraint, a temporal key, a table's name and
    a name that nothing has: refused by name.
    """
    run(
        server,
        "CREATE TABLE t (id int, r int4range, v text, EXCLUDE USING gist (r WITH &&));"
        " CREATE INDEX h ON t USING hash (v); CREATE INDEX b ON t USING brin (id)",
    )
    for name, words in (
        ("t_r_excl", "exclusion constraint"),
        ("h", "hash index"),
        ("b", "brin index"),
    ):
        with pytest.raises(KeyDefinitionError, match=words) as caught:
            resolve(session, MatchKey.from_index(name))
        assert caught.value.key == name
        assert f"index {name} " in caught.value.message
    if session.version >= 180000:
        run(
            server,
            "CREATE TABLE tt (a int4range, r int4range, PRIMARY KEY (a, r WITHOUT OVERLAPS))",
        )
        with pytest.raises(KeyDefinitionError, match="temporal"):
            resolve(session, MatchKey.from_index("tt_pkey"))
        assert keys_of_table(session, oid(session, "public.tt")) == []
    with pytest.raises(UnsupportedRelation):
        resolve(session, MatchKey.from_index("t"))
    with pytest.raises(UnknownObject) as missing:
        resolve(session, MatchKey.from_index("public.nothing"))
    assert (missing.value.kind, missing.value.name) == ("index", "public.nothing")


def test_the_definition_tells_keys_apart(server: Connection, session: Session) -> None:
    """Everything that changes what is equal changes the definition; asking again does not."""
    run(server, 'CREATE TABLE t (no int, v text, w text COLLATE "C"); CREATE TABLE u (v text)')
    specs = [
        MatchKey.from_columns("t", "v"),
        MatchKey.from_columns("u", "v"),
        MatchKey.from_columns("t", "w"),
        MatchKey.from_columns("t", "v", "w"),
        MatchKey.from_columns("t", "v", where="no > 0"),
        MatchKey.from_columns("t", "v", nulls_distinct=False),
        MatchKey.from_columns("t", 'v COLLATE "C"'),
        MatchKey.from_columns("t", "lower(v)"),
    ]
    definitions = [resolve(session, spec).definition for spec in specs]
    assert len(set(definitions)) == len(specs)
    assert definitions == [resolve(session, spec).definition for spec in specs]
    run(server, "CREATE INDEX i ON t (v)")
    before = resolve(session, MatchKey.from_index("i")).definition
    assert before == definitions[0]
    run(server, "ALTER TABLE t ALTER v TYPE varchar(9)")
    assert resolve(session, MatchKey.from_index("i")).definition != before
