"""For every form of key: equal keys have equal digests, and a scan finds the groups of the heap.

The truth is a plain GROUP BY that sorts the heap (no index, no hash), so it shares
nothing with the code under test but the types' own comparison.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dedupe import Database, MatchKey, Session, connect, scan
from dedupe.key import ResolvedKey, resolve

SLOW = os.environ.get("PGMEND_SLOW") == "1"
#: cases of the law: few enough to be always run, many before a release
EXAMPLES = 3_000 if SLOW else 50

Values = st.SearchStrategy[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of key column: its type, values for it, and what the key makes of it."""

    type: str
    values: Values
    #: expression over the column ``{}``; None for the column itself
    expression: str | None = None
    #: whether the server must know a collation for which a and A are equal
    icu: bool = False


def some(*texts: str) -> Values:
    """Draw one of a few values, so that equal ones meet; NULL among them."""
    return st.one_of(st.none(), st.sampled_from(texts), st.sampled_from(texts))


def numbers(bits: int) -> Values:
    edges = [0, 1, -1, 5, (1 << (bits - 1)) - 1, -(1 << (bits - 1))]
    if bits == 64:
        edges += [(1 << 32) + 5, (2 << 32) + 5, (1 << 32) - 1, -(1 << 32)]
    whole = st.one_of(
        st.sampled_from(edges), st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    )
    return st.one_of(st.none(), whole.map(str))


WORDS = some("a", "A", "a ", " a", "b", "B", "", "ß", "ss", "é", "e\u0301", "%s", "'", '"')
ARRAYS = some(
    "{1,2}", "{2,1}", "{{1,2}}", "[0:1]={1,2}", "{NULL}", "{1,NULL}", "{}", "{4294967298}"
)
PAIRS = some("(1,a,1.0)", "(1,a,1.00)", "(1,A,1)", "(,,)", "(1,,)", "(,a,)", "(4294967297,a,1)")
MOMENTS = some(
    "2020-01-01 00:00+00", "2020-01-01 01:00+01", "2020-01-01", "infinity", "-infinity", "epoch"
)

FORMS: dict[str, Form] = {
    "int2": Form(type="int2", values=numbers(16)),
    "int4": Form(type="int4", values=numbers(32)),
    "int8": Form(type="int8", values=numbers(64)),
    "oid": Form(type="oid", values=some("0", "1", "4294967295")),
    "bool": Form(type="bool", values=some("t", "f")),
    "text": Form(type="text", values=WORDS),
    "text in C": Form(type='text COLLATE "C"', values=WORDS),
    "varchar": Form(type="varchar(3)", values=WORDS),
    "char(n)": Form(type="char(3)", values=WORDS),
    "bpchar": Form(type="bpchar", values=WORDS),
    '"char"': Form(type='"char"', values=some("a", "A", "b")),
    "name": Form(type="name", values=WORDS),
    "citext": Form(type="citext", values=WORDS),
    "citext[]": Form(type="citext[]", values=some("{a}", "{A}", "{b}", "{NULL}")),
    "no case": Form(type='text COLLATE "no case"', values=WORDS, icu=True),
    "no case char(n)": Form(type='bpchar COLLATE "no case"', values=WORDS, icu=True),
    "no case name": Form(type='name COLLATE "no case"', values=WORDS, icu=True),
    "no case array": Form(
        type='text[] COLLATE "no case"', values=some("{a}", "{A}", "{b,NULL}", "{B,NULL}"), icu=True
    ),
    "numeric": Form(
        type="numeric", values=some("1", "1.0", "1.00", "-0", "0", "NaN", "1e10", "10000000000")
    ),
    "float4": Form(type="float4", values=some("0", "-0", "NaN", "1", "1.0000001", "Infinity")),
    "float8": Form(type="float8", values=some("0", "-0", "NaN", "1", "0.1", "-Infinity")),
    "uuid": Form(
        type="uuid",
        values=some(
            "00000000-0000-0000-0000-00000000000a",
            "{0000000000000000000000000000000A}",
            "f0000000-0000-0000-0000-00000000000a",
        ),
    ),
    "bytea": Form(type="bytea", values=some(r"\x", r"\x00", r"\x0000", r"\xff", r"\xFF")),
    "date": Form(type="date", values=some("2020-01-01", "1999-12-31", "infinity", "-infinity")),
    "time": Form(type="time", values=some("00:00", "24:00", "12:00")),
    "timetz": Form(type="timetz", values=some("01:00+01", "00:00+00", "00:00+01")),
    "timestamp": Form(type="timestamp", values=MOMENTS),
    "timestamptz": Form(type="timestamptz", values=MOMENTS),
    "interval": Form(type="interval", values=some("1 day", "24:00", "1 mon", "30 days", "-1 day")),
    "money": Form(type="money", values=some("1", "1.00", "-1", "0")),
    "bit": Form(type="bit(3)", values=some("101", "100", "000")),
    "varbit": Form(type="varbit", values=some("101", "1010", "0", "")),
    "tsvector": Form(type="tsvector", values=some("a b", "b a", "a:1 b", "a:1A b", "")),
    "enum": Form(type="mood", values=some("glad", "sad")),
    "enum[]": Form(type="mood[]", values=some("{glad}", "{sad}", "{glad,sad}")),
    "int4[]": Form(
        type="int4[]", values=some("{1,2}", "{2,1}", "{{1,2}}", "[0:1]={1,2}", "{NULL}", "{}")
    ),
    "int8[]": Form(type="int8[]", values=ARRAYS),
    "numeric[]": Form(type="numeric[]", values=some("{1}", "{1.0}", "{1,2}", "{NaN}")),
    "float8[]": Form(type="float8[]", values=some("{0}", "{-0}", "{NaN}")),
    "bit[]": Form(type="bit(1)[]", values=some("{1}", "{0}", "{1,0}")),
    "jsonb": Form(
        type="jsonb",
        values=some(
            "1",
            "1.0",
            "1.00",
            "[1, [2]]",
            "[[1], 2]",
            '{"a": 1, "b": 2}',
            '{"b":2,"a":1.0}',
            "null",
        ),
    ),
    "int4range": Form(type="int4range", values=some("[1,4)", "[1,3]", "empty", "[2,2)", "(,)")),
    "int8range": Form(type="int8range", values=some("[1,4)", "[1,3]", "(0,3]", "(,3]", "[4,)")),
    "numrange": Form(type="numrange", values=some("[1,2)", "[1.0,2.00)", "[1,2]", "empty")),
    "tstzrange": Form(
        type="tstzrange", values=some("[2020-01-01 00:00+00,)", "[2020-01-01 01:00+01,)", "(,)")
    ),
    "multirange": Form(type="int4multirange", values=some("{[1,3)}", "{[1,2),[2,3)}", "{}")),
    "inet": Form(type="inet", values=some("10.0.0.1", "10.0.0.1/32", "10.0.0.1/24", "::1")),
    "cidr": Form(type="cidr", values=some("10.0.0.0/24", "10.0.0/24", "10.0.0.0/25")),
    "macaddr": Form(type="macaddr", values=some("08:00:2b:01:02:03", "08002b010203")),
    "domain": Form(type="word", values=WORDS),
    "domain of array": Form(type="longs", values=ARRAYS),
    "composite": Form(type="pair", values=PAIRS),
    "domain of composite": Form(type="pair_domain", values=PAIRS),
    "composite with oddities": Form(
        type="odd", values=some("(1,$1,101,{1})", "(1,$1,101,)", "(1,$1,100,{1})", "(,,,)")
    ),
    "lower(text)": Form(type="text", values=WORDS, expression="lower({})"),
    "coalesce(lower(text), '')": Form(
        type="varchar", values=WORDS, expression="coalesce(lower({}), '')"
    ),
    "remainder": Form(type="int8", values=numbers(64), expression="{} % 3"),
    "day": Form(type="timestamp", values=MOMENTS, expression="{}::date"),
    "text in C as expression": Form(type="text", values=WORDS, expression='{} COLLATE "C"'),
}

SETUP = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TYPE pair AS (shard int8, label text, amount numeric);
CREATE TYPE odd AS (x xid8, m money, b bit(3), many bit[]);
CREATE DOMAIN pair_domain AS pair;
CREATE DOMAIN word AS text;
CREATE DOMAIN longs AS int8[];
SET client_min_messages = error;
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SET enable_hashagg = off;
"""
NO_CASE = (
    "CREATE COLLATION \"no case\" (provider = icu, locale = 'und-u-ks-level2',"
    " deterministic = false)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A database with the types, a connection that writes and a session that reads."""

    database: Database
    server: psycopg.Connection[tuple[Any, ...]]
    session: Session
    icu: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A table's rows and the key over them."""

    forms: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    by_index: bool
    nulls_distinct: bool
    predicate: bool

    @property
    def expressions(self) -> list[str]:
        return [
            (FORMS[name].expression or "{}").format(f"c{place}")
            for place, name in enumerate(self.forms)
        ]


@st.composite
def cases(draw: st.DrawFn, icu: bool) -> Case:
    names = sorted(name for name, form in FORMS.items() if icu or not form.icu)
    forms = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)))
    row = st.tuples(*(FORMS[name].values for name in forms))
    by_index = draw(st.booleans())
    return Case(
        forms=forms,
        rows=tuple(draw(st.lists(row, min_size=2, max_size=12))),
        by_index=by_index,
        nulls_distinct=by_index or draw(st.booleans()),
        predicate=draw(st.booleans()),
    )


@pytest.fixture
def world(database: str) -> Iterator[World]:
    known = connect(database)
    with psycopg.connect(database, autocommit=True) as server, known.open("law") as session:
        server.execute(SETUP)
        try:
            server.execute(NO_CASE)
            icu = True
        except psycopg.Error:
            icu = False
        yield World(database=known, server=server, session=session, icu=icu)


def build(world: World, case: Case) -> MatchKey:
    """Write the rows; return the key over them."""
    columns = ", ".join(f"c{n} {FORMS[name].type}" for n, name in enumerate(case.forms))
    world.server.execute(f"DROP TABLE IF EXISTS t; CREATE UNLOGGED TABLE t (no int, {columns})")
    holes = ", ".join(["%s"] * (len(case.forms) + 1))
    with world.server.transaction():
        world.server.cursor().executemany(
            f"INSERT INTO t VALUES ({holes})",
            [(number, *row) for number, row in enumerate(case.rows)],
        )
    where = "no % 5 <> 0" if case.predicate else None
    if not case.by_index:
        return MatchKey.from_columns(
            "t", *case.expressions, where=where, nulls_distinct=case.nulls_distinct
        )
    listed = ", ".join(f"({expression})" for expression in case.expressions)
    world.server.execute(
        f"CREATE INDEX t_key ON t ({listed})" + (f" WHERE {where}" if where else "")
    )
    return MatchKey.from_index("t_key")


def truth(world: World, case: Case) -> set[frozenset[int]]:
    """Group the heap by sorting."""
    where = "no % 5 <> 0" if case.predicate else "true"
    if case.nulls_distinct:
        where += f" AND num_nulls({', '.join(case.expressions)}) = 0"
    keys = ", ".join(f"({expression})" for expression in case.expressions)
    rows = world.server.execute(
        f"SELECT array_agg(no) FROM t WHERE {where} GROUP BY {keys} HAVING count(*) > 1"
    ).fetchall()
    return {frozenset(numbers) for (numbers,) in rows}


def paired(session: Session, key: ResolvedKey) -> list[tuple[int, int, bool, bool]]:
    """Compare all rows that take part: number, number, equal, one digest."""
    names = [f"k{place}" for place in range(len(key.columns))]
    selected = ", ".join(
        f"{column.expression} AS {name}" for column, name in zip(key.columns, names, strict=True)
    )
    mine, other = [f"a.{name}" for name in names], [f"b.{name}" for name in names]
    predicate = key.where or "true"
    with session.transaction(settings={"search_path": key.search_path}):
        return session.rows(
            f"WITH r AS (SELECT no, {selected}, {predicate} AS p FROM ONLY public.t OFFSET 0),"
            f" m AS (SELECT *, {key.digest(names)} AS d FROM r"
            f" WHERE {key.takes_part(names, 'p')} OFFSET 0)"
            f" SELECT a.no, b.no, {key.equal(mine, other)}, a.d = b.d FROM m a, m b"
        )


def scanned(world: World, key: MatchKey, case: Case, run: Path) -> set[frozenset[int]]:
    """Scan the table and return the row numbers of each group."""
    rows = world.server.execute("SELECT ctid::text, no FROM t").fetchall()
    numbers = dict(rows)
    found = scan(world.database, key, run)
    try:
        if not found.sweep_seconds:
            (told,) = found.keys
            assert told.rows + told.left_out == len(case.rows)
        return {frozenset(numbers[row.ctid] for row in group.members) for group in found.groups()}
    finally:
        shutil.rmtree(run)


@pytest.mark.grows
def test_groups_are_those_of_the_heap(world: World, tmp_path: Path) -> None:
    """Scenario: random values, NULLs, expressions, predicates, one to three columns.
    Outcome: a scan's groups are those that sorting the heap makes.
    """
    assert isinstance(world, World)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not SLOW,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(case=cases(world.icu))
    def law(case: Case) -> None:
        for name in case.forms:
            event(name)
        key = build(world, case)
        assert scanned(world, key, case, tmp_path / "run") == truth(world, case)

    law()


def test_every_form_is_a_key(world: World) -> None:
    """Each form alone, with each of its values twice: no form hides behind chance."""
    for name, form in FORMS.items():
        if form.icu and not world.icu:
            continue
        values = {value for value in st_values(form.values) if value is not None}
        for nulls_distinct in (True, False):
            case = Case(
                forms=(name,),
                rows=tuple((value,) for value in [*sorted(values), *sorted(values), None, None]),
                by_index=False,
                nulls_distinct=nulls_distinct,
                predicate=False,
            )
            key = resolve(world.session, build(world, case))
            pairs = paired(world.session, key)
            assert all(same for _, _, equal, same in pairs if equal), name
            near: dict[int, set[int]] = {}
            for one, other, equal, _ in pairs:
                if equal:
                    near.setdefault(one, set()).add(other)
            assert {frozenset(group) for group in near.values() if len(group) > 1} == truth(
                world, case
            ), name


def st_values(values: Values) -> list[str | None]:
    """Draw the values of a form: those of the sampled ones, a few of the numbers."""
    found: list[str | None] = []

    @settings(max_examples=20, derandomize=True, database=None, deadline=None)
    @given(value=values)
    def draw(value: str | None) -> None:
        found.append(value)

    draw()
    return found
