"""Values of every type come back to the byte, whatever the database's own settings are."""

from __future__ import annotations

import psycopg
import pytest

from ..promises.heap import Connection
from ..promises.repaired import copies
from ..promises.shop import Shop
from ..repairing import sent

#: type, then values of it as SQL expressions
VALUES: tuple[tuple[str, *tuple[str, ...]], ...] = (
    ("char(5)", "'a'", "'a  b'", "''"),
    ("bpchar", "'a  '::bpchar", "'   '", "'abc'"),
    ("char(3)[]", "'{a,NULL,abc}'", "'{}'"),
    ("bpchar[]", "'{abc,\"de \",NULL}'::bpchar[]"),
    ('"char"', "'x'", "''", "'\\200'::bytea::text::\"char\""),
    ("varchar(9)", "'a  '", "''", "E'\\t\\n\\\\'"),
    ("text", "'NULL'", "'{\"a\"}'", "repeat('x', 100000)", "U&'\\+01F600'"),
    ("name", "'n'", "repeat('n', 63)"),
    ("json", "'{\"a\": 1.0,  \"a\": 2e5 }'", "' null '"),
    ("jsonb", "'{\"b\": 1.500, \"a\": [null]}'", "'null'", "'\"\"'"),
    ("xml", "'<a> <b/></a>'", "'text only'", "'<a/><b/>'"),
    ("numeric", "'NaN'", "'1.500'", "1e300", "'-Infinity'", "0.00"),
    ("numeric(6, 2)", "1.1", "-0.004"),
    ("float8", "'-0'", "5e-324", "'Infinity'", "'NaN'", "0.1::float8 + 0.2::float8"),
    ("float4", "'-0'", "1e-45", "'-Infinity'", "0.1"),
    ("bytea", "'\\x00ff27'", "''", "decode(repeat('00', 5000), 'hex')"),
    ("int4[]", "'[0:1]={1,NULL}'", "'{}'", "'{{1,2},{3,4}}'", "'[-1:-1][2:3]={{5,6}}'"),
    ("text[]", "'{NULL,\"NULL\",\"\",\"a\\\\\\\"b\",\"{,}\"}'"),
    ("pair", "ROW(NULL, NULL)", "ROW('', NULL)", "ROW('a\"b,(', 1)"),
    ("pair[]", "ARRAY[ROW(NULL, NULL)::pair, NULL, ROW('{}', 2)::pair]"),
    ("small", "5", "0"),
    ("word", "'abc'", "'ab '"),
    ("colour", "'red'", "'light \"blue\"'"),
    ("int4range", "'[1,5)'", "'empty'", "'(,)'"),
    ("tstzrange", "'[-infinity, 2020-01-01 05:00+05)'", "'(,infinity]'"),
    ("nummultirange", "'{[1.0,2.50),(3,)}'", "'{}'"),
    ("interval", "'1 mon -1 day 00:00:00.000001'", "'-178000000 years'", "'-1 s'"),
    ("interval(2)", "'1.239 s'"),
    ("money", "(-1234567.89)::numeric::money", "0::money"),
    ("timestamptz", "'infinity'", "'4000-01-01 BC'", "'2020-10-25 02:30:00.000001+01'"),
    ("timestamp", "'-infinity'", "'0001-01-01 BC'"),
    ("date", "'infinity'", "'4713-01-01 BC'", "'5874897-12-31'"),
    ("time", "'24:00'", "'00:00:00.000001'"),
    ("timetz", "'12:00:00+15:59:59'", "'00:00-08'"),
    ("bit(5)", "B'10101'"),
    ("bit", "B'1'"),
    ("varbit", "B''", "B'100110011'"),
    ("bit varying(4)[]", "'{101,NULL,\"\"}'"),
    ("tsvector", "'''a b'':3A,5 ''c'''", "''"),
    ("tsquery", "'!''a b'':*A & c <2> d'", "''"),
    ("inet", "'10.1.2.3/8'", "'::1'"),
    ("cidr", "'10.0.0.0/8'"),
    ("macaddr", "'08:00:2b:01:02:03'"),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("point", "'(-0,1e-310)'", "'(Infinity,NaN)'"),
    ("polygon", "'((0,0),(0.1,1),(1,0))'"),
    ("circle", "'<(0.1,2),3>'"),
    ("path", "'[(0,0),(1,1)]'", "'((0,0),(1,1))'"),
    ("lseg", "'[(0,0),(1,1)]'"),
    ("box", "'(1,1),(0,0)'"),
    ("line", "'{1,2,3}'"),
    ("oid", "4294967295::oid"),
    ("regclass", "'pg_catalog.pg_class'", "'odd.\"Some Table\"'"),
    ("regtype", "'bpchar'", "'odd.\"Some Table\"'"),
    ("regproc", "'pg_catalog.now'"),
    ("regconfig", "'english'"),
    ("xid8", "'18446744073709551615'"),
    ("pg_lsn", "'FFFFFFFF/FFFFFFFF'"),
    ("tid", "'(4294967295,65535)'"),
    ("jsonpath", "'$.a[*] ? (@ > 1)'"),
    ("int2vector", "'1 2'"),
    ("oidvector", "''"),
    ('odd."Some Type"', "'x'"),
)
SETTINGS = (
    ("DateStyle", "'SQL, DMY'"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "'Asia/Kolkata'"),
    ("extra_float_digits", "-5"),
    ("bytea_output", "escape"),
    ("xmloption", "document"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("search_path", "odd, public"),
    ("standard_conforming_strings", "off"),
    ("escape_string_warning", "off"),
    ("backslash_quote", "off"),
    ("lc_monetary", "'C'"),
)
TYPES = (
    "CREATE SCHEMA odd; CREATE TYPE pair AS (a text, b int8);"
    "CREATE DOMAIN small AS int2 CHECK (VALUE < 9); CREATE DOMAIN word AS char(3);"
    "CREATE TYPE colour AS ENUM ('red', 'light \"blue\"');"
    'CREATE TABLE odd."Some Table" ("A b" int4); CREATE DOMAIN odd."Some Type" AS text'
)


def has_xml(connection: Connection) -> bool:
    """Tell whether the server was built with XML."""
    try:
        connection.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def columns(connection: Connection) -> list[tuple[str, str]]:
    """Give name and type of the test table's columns, those the server knows alone."""
    found = []
    for number, (kind, *_) in enumerate(VALUES):
        if kind == "xml" and not has_xml(connection):
            continue
        found.append((f"c{number}", kind))
    return found


def test_every_type_comes_back_to_the_byte(shop: Shop) -> None:
    """Scenario: rows that go and rows that are changed hold hostile values of sixty types, in a
    database whose settings write them in other ways.
    Outcome: after the undo the server sends each value as it did before, byte for byte.
    """
    shop.server.execute(TYPES.encode())
    kinds = columns(shop.server)
    most = max(len(values) for _, *values in VALUES)
    listed = ", ".join(f"{name} {kind}" for name, kind in kinds)
    shop.make(
        f"CREATE TABLE t (id int8 PRIMARY KEY, k text, up int8 REFERENCES t, {listed});"
        "CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n",
        "t_k",
        "INSERT INTO t (id, k) SELECT 10 + n, n FROM generate_series(1, 9) n",
        then="CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN NEW; END'; CREATE TRIGGER touch BEFORE UPDATE ON t"
        " FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    for row in range(most):
        sets = ", ".join(
            f"{name} = {VALUES[int(name[1:])][1 + row]}"
            for name, kind in kinds
            if row + 1 < len(VALUES[int(name[1:])])
        )
        # The first of each pair stays and is moved, the second goes.
        for number in (1 + row, 11 + row):
            shop.server.execute(
                f"UPDATE t SET {sets}, up = {19 - row} WHERE id = {number}".encode()
            )
    before = sent(shop.server, "t", [name for name, _ in kinds])
    (database,) = shop.rows("SELECT current_database()")
    for name, value in SETTINGS:
        shop.server.execute(f"ALTER DATABASE {database} SET {name} = {value}".encode())
    shop.before = copies(shop.server)
    made = shop.planned("t_k")
    shop.repaired(made)
    assert shop.rows("SELECT id FROM t ORDER BY 1") == [*range(1, 10)]
    shop.undone(made, "t_up_fkey")
    after = sent(shop.server, "t", [name for name, _ in kinds])
    assert after.keys() == before.keys()
    for number, row in before.items():
        for (name, kind), one, other in zip(kinds, row, after[number], strict=True):
            assert one == other, (number, name, kind)


@pytest.mark.parametrize("number", [0, 4294967294])
def test_a_regclass_that_names_nothing_comes_back(shop: Shop, number: int) -> None:
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, v regclass);"
        "CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES (1, 'a', NULL)",
        "t_k",
        f"INSERT INTO t VALUES (2, 'a', {number}::oid)",
    )
    made = shop.planned("t_k")
    shop.repaired(made)
    shop.undone(made)


@pytest.mark.parametrize(
    ("extension", "value"),
    [
        ("hstore", "'\"a \"=>NULL, \"b\"=>\"\\\"\"'"),
        ("citext", "'Ab '"),
        ("ltree", "'a.b'"),
        ("isn", None),
    ],
)
def test_types_of_extensions_come_back(shop: Shop, extension: str, value: str | None) -> None:
    kind = "isbn" if extension == "isn" else extension
    found = shop.rows(f"SELECT 1 FROM pg_available_extensions WHERE name = '{extension}'")
    if not found:
        pytest.skip(f"the server has no {extension}")
    shop.server.execute(f"CREATE SCHEMA more; CREATE EXTENSION {extension} SCHEMA more".encode())
    shop.make(
        f"CREATE TABLE t (id int8 PRIMARY KEY, k text, v more.{kind});"
        "CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES (1, 'a', NULL)",
        "t_k",
        f"INSERT INTO t VALUES (2, 'a', {value or repr('978-0-393-04002-9')})",
    )
    before = sent(shop.server, "t", ["v"], text=True)
    made = shop.planned("t_k")
    shop.repaired(made)
    shop.undone(made)
    assert sent(shop.server, "t", ["v"], text=True) == before


def test_columns_that_the_server_fills_come_back(shop: Shop) -> None:
    """Scenario: the table has an identity ALWAYS column, generated columns, a dropped one and
    one that was added late.
    Outcome: all of them are as they were; the sequence of the identity was not moved.
    """
    shop.make(
        "CREATE TABLE t (gone int4, id int8 GENERATED ALWAYS AS IDENTITY, k text,"
        " low text GENERATED ALWAYS AS (lower(k) || '!') STORED, up int8,"
        " no int4 GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY); ALTER TABLE t DROP COLUMN gone;"
        "INSERT INTO t (k) VALUES ('A'), ('B'); ALTER TABLE t ADD late text DEFAULT 'early';"
        "CREATE UNIQUE INDEX t_k ON t (low)",
        "t_k",
        "INSERT INTO t (k, up) VALUES ('a', 1), ('b', 3), ('A', 4)",
        then="ALTER TABLE t ADD FOREIGN KEY (up) REFERENCES t (no)",
    )
    made = shop.planned("t_k")
    shop.repaired(made)
    assert shop.rows("SELECT id, k, low, no FROM t ORDER BY 1") == [
        (1, "A", "a!", 1),
        (2, "B", "b!", 2),
    ]
    shop.undone(made)
    assert shop.rows("INSERT INTO t (k) VALUES ('Z') RETURNING id, no") == [(6, 6)]
