"""Every type trap on a real server: equal values have equal digests, others do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.errors import UnsupportedKeyType
from dedupe.key import MatchKey, ResolvedKey, resolve
from dedupe.session import Session

TYPES = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TYPE pair AS (shard int8, label text, amount numeric);
CREATE TYPE odd AS (x xid8, m money, b bit(3), many bit[]);
CREATE TYPE nested AS (p pair, m mood);
CREATE TYPE pit AS RANGE (subtype = float8);
CREATE DOMAIN pair_domain AS pair;
CREATE DOMAIN text_domain AS text;
CREATE DOMAIN array_domain AS int8[];
CREATE DOMAIN range_domain AS int8range;
CREATE DOMAIN mood_domain AS mood;
CREATE DOMAIN int_domain AS int8 CHECK (VALUE > 0);
"""

#: type, and values of it; values in one string, split at "|", are equal
VALUES: list[tuple[str, list[str]]] = [
    ("int2", ["-1", "0", "32767"]),
    ("int4", ["-1", "0", "5"]),
    ("int8", ["-1", "4294967295", "4294967296", "1", "-4294967296"]),
    ("oid", ["0", "4294967295"]),
    ("regclass", ["pg_class", "pg_type"]),
    ("bool", ["t|true|1", "f"]),
    ("date", ["infinity", "-infinity", "2020-01-01", "4714-11-24 BC"]),
    ("timestamp", ["infinity", "-infinity", "2020-01-01 00:00:00.1", "2020-01-01"]),
    ("timestamptz", ["2020-01-01 00:00+00|2020-01-01 01:00+01", "2020-01-01 00:00+01"]),
    ("time", ["00:00", "24:00"]),
    ("timetz", ["01:00+01", "00:00+00"]),
    ("interval", ["1 day|24 hours", "1 mon|30 days|720 hours", "-1 day"]),
    ("money", ["1", "-1", "92233720368547758.07"]),
    ("pg_lsn", ["0/1", "1/0"]),
    ("xid8", ["1", "4294967296"]),
    ("tid", ["(0,1)", "(1,0)"]),
    ('"char"', ["a", "b"]),
    ("name", ["a", "A"]),
    ("text", ["a", "A", "a ", ""]),
    ("varchar(5)", ["a", "a "]),
    ("char(5)", ["a|a  ", "b", ""]),
    ("bpchar", ["a|a  ", "b"]),
    ("text_domain", ["a", "b"]),
    ("numeric", ["1.0|1.00|1", "NaN", "0|-0.0|0.000", "1e30|1000000000000000000000000000000"]),
    ("float4", ["0|-0", "NaN", "1"]),
    ("float8", ["0|-0", "NaN", "1", "Infinity"]),
    ("uuid", ["00000000-0000-0000-0000-00000000000a|{0000000000000000000000000000000A}"]),
    ("bytea", [r"\x00", r"\x0000", ""]),
    ("inet", ["10.0.0.1|10.0.0.1/32", "10.0.0.1/24", "::1"]),
    ("cidr", ["10.0.0.0/24|10.0.0/24", "10.0.0.0/25"]),
    ("macaddr", ["08:00:2b:01:02:03|08002b010203", "08:00:2b:01:02:04"]),
    ("macaddr8", ["08:00:2b:01:02:03:04:05"]),
    ("bit(3)", ["101", "100"]),
    ("varbit", ["101", "1010", ""]),
    ("tsvector", ["a:1 b|b a:1", "a:1A b", ""]),
    ("jsonb", ["1.0|1.00", "[1, [2]]", "[[1], 2]", '{"a": 1, "b": 2}|{"b": 2, "a": 1, "b": 2}']),
    ("mood", ["glad", "sad"]),
    ("mood_domain", ["glad", "sad"]),
    ("int_domain", ["1", "4294967297"]),
    ("oidvector", ["1 2", "2 1"]),
    ("int4range", ["[1,4)|[1,3]", "empty|[1,1)", "(,)"]),
    ("int8range", ["[1,4)|[1,3]", "empty", "(,)", "[1,)", "(,1)", "[4294967296,)", "[0,)"]),
    ("range_domain", ["[1,4)|[1,3]", "empty"]),
    ("numrange", ["[1.0,2)|[1.00,2)", "[1,2]"]),
    ("tsrange", ["[2020-01-01,2020-01-02)", "empty"]),
    ("tstzrange", ["[2020-01-01 00:00+00,)|[2020-01-01 01:00+01,)", "(,)"]),
    ("pit", ["[-0,1]|[0,1]", "[0,1)"]),
    ("int4multirange", ["{[1,3)}|{[1,2),[2,3)}", "{}"]),
    ("int8[]", ["{1,2}", "{{1,2}}", "{NULL}", "[0:1]={1,2}", "{}", "{2,1}", "{4294967298,1}"]),
    ("array_domain", ["{1,2}", "{2,1}"]),
    ("timestamptz[]", ["{2020-01-01 00:00+00}|{2020-01-01 01:00+01}"]),
    ("text[]", ["{a,b}", '{"a,b"}', "{NULL}", '{"NULL"}']),
    ("bpchar[]", ['{"a "}|{a}', "{b}"]),
    ("float8[]", ["{-0}|{0}", "{NaN}"]),
    ("numeric[]", ["{1.0}|{1.00}"]),
    ("bit(2)[]", ["{10}", "{11}"]),
    ("money[]", ["{1}", "{2}"]),
    ("tsvector[]", ["{a}", "{b}"]),
    ("mood[]", ["{glad}", "{sad}"]),
    ("pair", ["(1,a,1.0)|(1,a,1.00)", "(,,)", "(1,,)", "(,a,)", "(4294967297,a,1)"]),
    ("pair_domain", ["(1,a,1.0)|(1,a,1.00)", "(2,a,1)"]),
    ("pair[]", ['{"(1,a,1.0)"}|{"(1,a,1)"}', '{"(,,)"}']),
    ("odd", ["(1,$1,101,{1})", "(1,$1,101,)", "(1,$1,100,{1})", "(,,,)"]),
    ("nested", ['("(1,a,1)",glad)|("(1,a,1.0)",glad)', "(,)", '("(,,)",)']),
]

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def server(database: str) -> Iterator[Connection]:
    """Open a connection that may write, with the types made."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TYPES)
        yield connection


@pytest.fixture
def session(database: str, server: Connection) -> Iterator[Session]:
    assert not server.closed
    with connect(database).open("test") as opened:
        yield opened


def run(server: Connection, text: str) -> None:
    server.execute(text)


def compared(session: Session, key: ResolvedKey, table: str) -> list[tuple[Any, ...]]:
    """Compare every row with every row: number, number, digests, equal, takes part."""
    names = [f"k{place}" for place in range(len(key.columns))]
    selected = ", ".join(
        f"{column.expression} AS {name}" for column, name in zip(key.columns, names, strict=True)
    )
    mine, other = [f"a.{name}" for name in names], [f"b.{name}" for name in names]
    with session.transaction(settings={"search_path": key.search_path}):
        return session.rows(
            f"WITH d AS (SELECT no, {selected},"
            f" {key.digest([column.expression for column in key.columns])} AS digest"
            f" FROM ONLY {table})"
            f" SELECT a.no, b.no, a.digest, b.digest, {key.equal(mine, other)},"
            f" {key.takes_part(mine)}, a.digest IS NOT DISTINCT FROM {key.digest(mine)}"
            " FROM d a, d b ORDER BY 1, 2"
        )


def check(session: Session, key: ResolvedKey, table: str) -> None:
    """Assert the law over all pairs of rows; ``no`` is equal where the values are."""
    for no, other, digest, others, equal, takes_part, by_alias in compared(session, key, table):
        story = f"{table} {key.columns[0].type}: rows {no} and {other}"
        assert equal is (no == other and takes_part), story
        assert takes_part is (digest is not None), story
        assert by_alias, story
        if digest is not None and others is not None:
            assert len(bytes(digest)) == 8, story
            assert (digest == others) is (no == other), story


def test_every_type(server: Connection, session: Session) -> None:
    """Scenario: a table for each type, equal and unequal values and NULLs in it, read
    as one column, beside another column, and with NULLs equal.
    Outcome: digests are equal exactly where the values are; NULLs take part or not.
    """
    for number, (type_name, groups) in enumerate(VALUES):
        table = f"public.t{number}"
        run(server, f"CREATE TABLE {table} (no int, v {type_name}, w int8 DEFAULT 7)")
        for no, group in enumerate([*groups, ""]):
            for value in group.split("|") if no < len(groups) else (None, None):
                server.execute(f"INSERT INTO {table} VALUES (%s, %s)", (no, value))
        run(server, f"CREATE INDEX both{number} ON {table} (v, w)")
        key = resolve(session, MatchKey.from_index(f"both{number}"))
        assert key.index_oid is not None
        assert (key.scattered, key.search_path) == (True, "")
        check(session, key, table)
        for nulls_distinct in (True, False):
            check(
                session,
                resolve(session, MatchKey.from_columns(table, "v", nulls_distinct=nulls_distinct)),
                table,
            )
        check(session, resolve(session, MatchKey.from_columns(table, "v", "w")), table)


EXACT = [
    ("int2", "-1", -1),
    ("int4", "7", 7),
    ("int8", "4294967296", 1 << 32),
    ("oid", "4294967295", 0xFFFFFFFF),
    ("regclass", "pg_class", 1259),
    ("int_domain", "5", 5),
    ("date", "2000-01-02", 1),
    ("date", "1999-12-31", 0xFFFFFFFF),
    ("timestamp", "2000-01-01 00:00:01", 1_000_000),
    ("timestamptz", "2000-01-01 00:00:01+00", 1_000_000),
    ("time", "00:00:01", 1_000_000),
    ("money", "1.00", 100),
    ("pg_lsn", "1/0", 1 << 32),
    ("xid8", "5", 5),
]


def test_a_value_of_eight_bytes_is_its_own_digest(server: Connection, session: Session) -> None:
    """The digest of one such column is the value itself, so nothing can collide."""
    for number, (type_name, value, expected) in enumerate(EXACT):
        run(server, f"CREATE TABLE t{number} (v {type_name})")
        run(server, f"INSERT INTO t{number} VALUES ('{value}')")
        key = resolve(session, MatchKey.from_columns(f"t{number}", "v"))
        assert key.scattered is False
        (digest,) = session.row(f"SELECT {key.digest(['v'])} FROM public.t{number}")
        found = int.from_bytes(bytes(digest), "big", signed=expected < 0)
        assert found == expected, type_name


def test_folded_values_stay_apart(server: Connection, session: Session) -> None:
    """Scenario: (shard << 32) + sequence, 16 shards of 2,000, beside another column, in an
    array, in a row, in a range; the server's own hash folds each to 32 bits.
    Outcome: 32,000 rows have 32,000 digests.
    """
    run(
        server,
        "CREATE TABLE t AS SELECT v, 1 AS w, ARRAY[v] AS a, ROW(v, 'x', 1)::pair AS p,"
        " int8range(v, v + 1) AS r, '2020-01-01'::timestamp + v * interval '1 us' AS ts,"
        " v::text::xid8 AS x FROM (SELECT (s::int8 << 32) + n AS v"
        " FROM generate_series(1, 16) s, generate_series(1, 2000) n) q",
    )
    for columns in (("v",), ("v", "w"), ("a",), ("p",), ("r",), ("ts", "w"), ("x", "w")):
        key = resolve(session, MatchKey.from_columns("t", *columns))
        digest = key.digest([column.expression for column in key.columns])
        assert session.row(f"SELECT count(DISTINCT {digest}) FROM public.t") == (32_000,), columns


def test_an_array_that_keeps_its_null_bitmap(server: Connection, session: Session) -> None:
    """Scenario: an array whose last NULL was taken out. Outcome: equal to one built anew."""
    run(server, "CREATE TABLE t (no int, v int8[])")
    run(server, "INSERT INTO t VALUES (0, '{1,2}'), (0, (ARRAY[NULL, 1, 2]::int8[])[2:3])")
    check(session, resolve(session, MatchKey.from_columns("t", "v")), "public.t")


def test_record_image_ops(server: Connection, session: Session) -> None:
    """Under record_image_ops 1.0 and 1.00 differ, byte for byte."""
    run(server, "CREATE TABLE t (no int, v pair)")
    run(server, "INSERT INTO t VALUES (0, '(1,a,1.0)'), (0, '(1,a,1.0)'), (1, '(1,a,1.00)')")
    run(server, "CREATE INDEX i ON t (v record_image_ops)")
    key = resolve(session, MatchKey.from_index("i"))
    assert key.columns[0].equality == "OPERATOR(pg_catalog.*=)"
    check(session, key, "public.t")


@pytest.mark.parametrize("schema", ["public", "Extra; schema"])
def test_citext(server: Connection, session: Session, schema: str) -> None:
    """Cases merge in citext cases wherever its extension lives, also in arrays and domains;
    under text's operator class it does not.
    """
    quoted = '"' + schema + '"'
    run(server, f"CREATE SCHEMA IF NOT EXISTS {quoted}; CREATE EXTENSION citext SCHEMA {quoted}")
    run(server, f"CREATE DOMAIN mail AS {quoted}.citext")
    for number, (type_name, one, same, other) in enumerate(
        [
            (f"{quoted}.citext", "a", "A", "b"),
            (f"{quoted}.citext[]", "{a}", "{A}", "{b}"),
            ("mail", "a", "A", "b"),
        ]
    ):
        table = f"public.c{number}"
        run(server, f"CREATE TABLE {table} (no int, v {type_name})")
        run(server, f"INSERT INTO {table} VALUES (0, '{one}'), (0, '{same}'), (1, '{other}')")
        run(server, f"CREATE INDEX c{number}_i ON {table} (v)")
        key = resolve(session, MatchKey.from_index(f"c{number}_i"))
        if not type_name.endswith("[]"):
            assert key.columns[0].equality == f"OPERATOR({quoted}.=)"
        check(session, key, table)
    run(server, "CREATE TABLE x (no int, v mail); INSERT INTO x VALUES (0, 'a'), (1, 'A')")
    run(server, "CREATE INDEX x_i ON x (v pg_catalog.text_ops)")
    key = resolve(session, MatchKey.from_index("x_i"))
    assert (key.columns[0].equality, key.columns[0].cast) == (
        "OPERATOR(pg_catalog.=)",
        'pg_catalog."text"',
    )
    check(session, key, "public.x")


def test_operator_classes_that_are_not_the_default(server: Connection, session: Session) -> None:
    """Pattern classes and old names share their hash with the default: one function, not two."""
    for number, (type_name, operator_class) in enumerate(
        [
            ("text", "text_pattern_ops"),
            ("varchar", "varchar_ops"),
            ("varchar", "varchar_pattern_ops"),
            ("char(3)", "bpchar_pattern_ops"),
            ("cidr", "cidr_ops"),
            ("regclass", "oid_ops"),
        ]
    ):
        one, other = {"cidr": ("10.0.0.0/8", "10.0.0.0/9"), "regclass": ("1", "2")}.get(
            type_name, ("a", "A")
        )
        run(server, f"CREATE TABLE t{number} (no int, v {type_name})")
        run(server, f"INSERT INTO t{number} VALUES (0, '{one}'), (0, '{one}'), (1, '{other}')")
        run(server, f"CREATE INDEX i{number} ON t{number} (v {operator_class})")
        check(session, resolve(session, MatchKey.from_index(f"i{number}")), f"public.t{number}")


def test_nondeterministic_collations(server: Connection, session: Session) -> None:
    """Scenario: text, char(n), name, citext-like arrays and rows under a collation for
    which a and A are equal. Outcome: equal digests, though the server's own hashes of
    name and of char(n) of two lengths differ.
    """
    try:
        run(
            server,
            "CREATE COLLATION \"no case\" (provider = icu, locale = 'und-u-ks-level2',"
            " deterministic = false)",
        )
    except psycopg.Error:
        pytest.skip("this server was built without ICU")
    nd = 'COLLATE "no case"'
    run(server, f"CREATE TYPE folded AS (x text {nd}, n name {nd}, b int8)")
    run(server, 'CREATE TYPE span AS RANGE (subtype = text, collation = "no case")')
    cases = [
        (f"text {nd}", ["a|A", "b"]),
        (f"varchar(9) {nd}", ["a|A", "b"]),
        (f"bpchar {nd}", ["a|A|a  |A ", "b"]),
        (f"char(9) {nd}", ["a|A|a  ", "b"]),
        (f"name {nd}", ["a|A", "b"]),
        (f"text[] {nd}", ["{a}|{A}", "{b}"]),
        (f"bpchar[] {nd}", ['{a}|{A}|{"a "}', "{b}"]),
        (f"name[] {nd}", ["{a}|{A}", "{b}"]),
        ("folded", ["(a,a,1)|(A,A,1)|(a,A,1)", "(a,a,2)"]),
        ("span", ["[a,b]|[A,B]", "[a,c]"]),
        ('text COLLATE "C"', ["a", "A"]),
    ]
    for number, (type_name, groups) in enumerate(cases):
        table = f"public.n{number}"
        run(server, f"CREATE TABLE {table} (no int, v {type_name})")
        for no, group in enumerate(groups):
            for value in group.split("|"):
                run(server, f"INSERT INTO {table} VALUES ({no}, '{value}')")
        run(server, f"CREATE INDEX n{number}_i ON {table} (v)")
        check(session, resolve(session, MatchKey.from_index(f"n{number}_i")), table)
        check(session, resolve(session, MatchKey.from_columns(table, "v")), table)
    run(
        server, f"CREATE TABLE two (no int, v text {nd}); INSERT INTO two VALUES (0, 'a'), (1, 'A')"
    )
    run(server, 'CREATE INDEX two_i ON two (v COLLATE "C")')
    key = resolve(session, MatchKey.from_index("two_i"))
    assert key.columns[0].collation == 'pg_catalog."C"'
    check(session, key, "public.two")
    run(server, 'CREATE TYPE named AS RANGE (subtype = name, collation = "no case")')
    run(server, "CREATE TABLE r (v named)")
    with pytest.raises(UnsupportedKeyType, match="named"):
        resolve(session, MatchKey.from_columns("r", "v"))


def test_only_the_short_hash_function(server: Connection, session: Session) -> None:
    """A type whose family has no extended hash function is hashed to 32 bits."""
    run(
        server,
        "CREATE EXTENSION citext;"
        " ALTER OPERATOR FAMILY citext_ops USING hash DROP FUNCTION 2 (citext, citext);"
        " CREATE TABLE t (no int, v citext);"
        " INSERT INTO t VALUES (0, 'a'), (0, 'A'), (1, 'b')",
    )
    key = resolve(session, MatchKey.from_columns("t", "v"))
    assert "hashint4extended" in key.columns[0].hash
    check(session, key, "public.t")


@pytest.mark.parametrize(
    ("type_name", "named"),
    [
        ("tsquery", "tsquery"),
        ("json", "json"),
        ("xml", "xml"),
        ("point", "point"),
        ("tsquery[]", "tsquery[]"),
        ("json[]", "json[]"),
        ("bad", "tsquery"),
        ("bad[]", "bad[]"),
        ("worse", "worse"),
        ("bag", "bag"),
        ("blind", "tsquery"),
    ],
)
def test_a_type_without_a_fitting_hash_is_refused(
    server: Connection, session: Session, type_name: str, named: str
) -> None:
    """The refusal names the type and the column, whatever the type is made of."""
    run(
        server,
        "CREATE TYPE bad AS (a int, q tsquery); CREATE TYPE worse AS (a int, j json);"
        " CREATE TYPE bag AS RANGE (subtype = tsvector);"
        " CREATE DOMAIN blind AS tsquery",
    )
    run(server, f'CREATE TABLE t (id int, "The Value" {type_name})')
    with pytest.raises(UnsupportedKeyType) as caught:
        resolve(session, MatchKey.from_columns("t", "id", "The Value"))
    assert named in str(caught.value.type)
    assert "The Value" in str(caught.value.column)
    assert "The Value" in caught.value.message
    assert caught.value.hint


def test_an_operator_class_of_the_users_own(server: Connection, session: Session) -> None:
    """An equality of its own that no hash family knows is refused; a class that only
    brings its own comparator keeps the operator it names.
    """
    run(
        server,
        """
        CREATE FUNCTION abs_eq(int, int) RETURNS bool IMMUTABLE STRICT LANGUAGE sql
          AS 'SELECT abs($1) = abs($2)';
        CREATE FUNCTION abs_lt(int, int) RETURNS bool IMMUTABLE STRICT LANGUAGE sql
          AS 'SELECT abs($1) < abs($2)';
        CREATE FUNCTION abs_cmp(int, int) RETURNS int IMMUTABLE STRICT LANGUAGE sql
          AS 'SELECT pg_catalog.btint4cmp(pg_catalog.abs($1), pg_catalog.abs($2))';
        CREATE OPERATOR |=| (LEFTARG = int, RIGHTARG = int, FUNCTION = abs_eq);
        CREATE OPERATOR |<| (LEFTARG = int, RIGHTARG = int, FUNCTION = abs_lt);
        CREATE OPERATOR CLASS abs_ops FOR TYPE int USING btree AS
          OPERATOR 1 |<|, OPERATOR 3 |=|, FUNCTION 1 abs_cmp(int, int);
        CREATE OPERATOR CLASS odd_ops FOR TYPE int USING btree AS
          OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 abs_cmp(int, int);
        CREATE TABLE t (no int, v int); INSERT INTO t VALUES (0, 1), (1, -1);
        CREATE INDEX i ON t (v abs_ops); CREATE INDEX j ON t (v odd_ops);
        """,
    )
    with pytest.raises(UnsupportedKeyType) as caught:
        resolve(session, MatchKey.from_index("i"))
    assert (caught.value.type, caught.value.column) == ("integer", "v")
    check(session, resolve(session, MatchKey.from_index("j")), "public.t")
