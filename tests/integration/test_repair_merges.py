"""What the survivor takes of the rows that go."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe import MatchKey, Plan, export_plan, import_plan, plan, repair, scan
from dedupe.errors import PlanError, PolicyError, RefusedError
from dedupe.lab import Damage, damage

from ..promises.shop import Shop

#: kind, merge, values of the survivor and of the losers in their order, what it becomes
CASES: tuple[tuple[str, str, tuple[str, ...], str | None], ...] = (
    ("text", "first", ("NULL", "NULL", "'b'", "'c'"), "b"),
    ("text", "first", ("''", "'b'"), ""),
    ("text", "first", ("NULL", "NULL"), None),
    ("json", "first", ("NULL", "'{\"a\":  1}'"), '{"a":  1}'),
    ("point", "first", ("NULL", "'(1,2)'"), "(1,2)"),
    ("int4", "sum", ("1", "NULL", "41"), "42"),
    ("int4", "sum", ("NULL", "NULL"), None),
    ("numeric(6,2)", "sum", ("1.10", "2.205"), "3.31"),
    ("float8", "sum", ("0.5", "'Infinity'"), "Infinity"),
    ("money", "sum", ("1::money", "2::money"), "$3.00"),
    ("interval", "sum", ("'1 mon'", "'2 days'"), "1 mon 2 days"),
    ("int4", "min", ("5", "NULL", "-3"), "-3"),
    ("text", "min", ("NULL", "'b'", "'a'"), "a"),
    ("timestamptz", "max", ("'2020-01-01 00:00+00'", "'infinity'", "NULL"), "infinity"),
    ("uuid", "min", ("NULL", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
     "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("bool", "max", ("NULL", "false", "true"), "t"),
    ("int4[]", "max", ("'{1,2}'", "'{1,NULL}'"), "{1,NULL}"),
    ("bool", "or", ("false", "NULL", "true"), "t"),
    ("bool", "or", ("NULL", "false"), "f"),
    ("bool", "or", ("NULL", "NULL"), None),
    ("bool", "and", ("true", "NULL", "true"), "t"),
    ("bool", "and", ("true", "false"), "f"),
    ("text", "concat", ("'a'", "NULL", "'b'", "'a'", "''"), "a\nb\n"),
    ("text", "concat", ("NULL", "NULL"), None),
    ("varchar(5)", "concat", ("'ab'", "'cd'"), "ab\ncd"),
    ("int4[]", "union", ("'{3,1}'", "NULL", "'{1,NULL,2}'", "'{3,NULL}'"), "{3,1,NULL,2}"),
    ("text[]", "union", ("'{}'", "'{}'"), "{}"),
    ("text[]", "union", ("NULL", "NULL"), None),
    ("varchar(3)[]", "union", ("'{abc}'", "'{def}'"), "{abc,def}"),
    ("jsonb", "jsonb", ("'{\"a\": 1}'", "NULL", "'{\"a\": 2, \"b\": null}'", "'{\"b\": 3}'"),
     '{"a": 1, "b": null}'),
    ("jsonb", "jsonb", ("'{}'", "'{}'"), "{}"),
    ("jsonb", "jsonb", ("NULL", "NULL"), None),
)  # fmt: skip


def test_every_way_to_merge(shop: Shop) -> None:
    """Scenario: one group for each way, with NULLs, empty values and values that are there twice.
    Outcome: the survivor holds what was asked for, and undo gives it back what it had.
    """
    columns = [f"c{n}" for n in range(len(CASES))]
    most = max(len(values) for _, _, values, _ in CASES)
    rows = ", ".join(
        f"({row}, 'k', "
        + ", ".join(
            values[row] if row < len(values) else "NULL" for _, _, values, _ in CASES
        )
        + ")"
        for row in range(most)
    )
    listed = ", ".join(f"{name} {case[0]}" for name, case in zip(columns, CASES, strict=True))
    first, others = rows.split("), (1,", 1)
    shop.make(
        f"CREATE TABLE t (id int8 PRIMARY KEY, k text, {listed});"
        f"CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES {first})",
        "t_k",
        f"INSERT INTO t VALUES (1,{others}",
        then="INSERT INTO t (id, k) VALUES (100, 'alone')",
    )
    merge = {name: how for name, (_, how, *_) in zip(columns, CASES, strict=True)}
    made = shop.planned("t_k", merge=merge)
    result = shop.repaired(made)
    assert result.changed == {"public.t": 1}
    for name, case in zip(columns, CASES, strict=True):
        (found,) = shop.rows(f"SELECT format('%s', {name}) FROM t WHERE id = 0 ORDER BY id")
        (null,) = shop.rows(f"SELECT {name}::text IS NULL FROM t WHERE id = 0")
        assert (None if null else found) == case[3], (name, case)
    shop.undone(made)


@pytest.mark.parametrize(
    ("kind", "how", "values"),
    [
        ("int2", "sum", ("30000", "30000")),
        ("numeric(4,2)", "sum", ("99", "99")),
        ("varchar(5)", "concat", ("'abc'", "'def'")),
        ("char(5)", "concat", ("'abc'", "'def'")),
        ("jsonb", "jsonb", ("'{}'", "'[1]'")),
        ("int4 CHECK (v < 10)", "sum", ("5", "6")),
    ],
)
def test_what_does_not_fit_leaves_the_group_with_the_reason(
    shop: Shop, kind: str, how: str, values: tuple[str, str]
) -> None:
    """Outcome: nothing is cut or rounded away; the other groups are repaired."""
    shop.make(
        f"CREATE TABLE t (id int8 PRIMARY KEY, k text, v {kind}); CREATE UNIQUE INDEX t_k ON t (k);"
        f"INSERT INTO t VALUES (1, 'a', {values[0]}), (2, 'b', NULL)",
        "t_k",
        f"INSERT INTO t VALUES (3, 'a', {values[1]}), (4, 'b', NULL)",
    )
    before = shop.rows("SELECT id, v::text FROM t WHERE k = 'a' ORDER BY 1")
    made = shop.planned("t_k", merge={"v": how})
    result = repair(made, db=shop.dsn, execute=True)
    assert (result.status, result.left, result.repaired) == ("left", 1, 1)
    # What fails twice in the same way is not tried a third time.
    assert result.rounds == 2
    assert len(result.skipped) == 1
    assert shop.rows("SELECT id, v::text FROM t WHERE k = 'a' ORDER BY 1") == before
    assert shop.rows("SELECT id FROM t ORDER BY 1") == [1, 2, 3]


@pytest.mark.parametrize(
    ("merge", "says"),
    [
        ({"nothing": "first"}, "nothing"),
        ({"n": "concat"}, "integer"),
        ({"t": "sum"}, "text"),
        ({"t": "or"}, "text"),
        ({"n": "and"}, "integer"),
        ({"n": "union"}, "integer"),
        ({"j": "jsonb"}, "json"),
        ({"j": "max"}, "json"),
        ({"p": "min"}, "point"),
        ({"js": "union"}, "json"),
        ({"n": "average"}, "average"),
        ({"g": "first"}, "generated"),
        ({"i": "max"}, "generated"),
    ],
    ids=str,
)
def test_a_merge_that_fits_nothing_is_refused(
    shop: Shop, merge: dict[str, str], says: str
) -> None:
    """Outcome: planning says what does not fit, and what would."""
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, n int4, t text, j json, p point, js json[],"
        " g int4 GENERATED ALWAYS AS (n + 1) STORED, i int8 GENERATED ALWAYS AS IDENTITY);"
        "CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES (1, 'a')",
        "t_k",
        "INSERT INTO t VALUES (2, 'a')",
    )
    with pytest.raises(PolicyError) as refused:
        shop.planned("t_k", merge=merge)
    assert says in refused.value.message
    assert refused.value.hint


def test_merging_is_refused_where_the_losers_stay(shop: Shop) -> None:
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text); CREATE UNIQUE INDEX t_k ON t (k);"
        "INSERT INTO t VALUES (1, 'a')",
        "t_k",
        "INSERT INTO t VALUES (2, 'a')",
    )
    with pytest.raises(PolicyError):
        shop.planned("t_k", merge={"id": "max"}, loser="rename:k")


def test_the_survivor_takes_what_is_unique_for_another_key(shop: Shop) -> None:
    """Scenario: the survivor has no e-mail and takes its twin's, which is unique as well.
    Outcome: the twin is gone first, so the other key is never violated; undo swaps them back.
    """
    shop.make(
        "CREATE TABLE users (id int8 PRIMARY KEY, name text, mail text UNIQUE, no int4 UNIQUE);"
        "CREATE UNIQUE INDEX users_name ON users (name);"
        "INSERT INTO users VALUES (1, 'a', NULL, 1), (2, 'b', 'b@x', NULL)",
        "users_name",
        "INSERT INTO users VALUES (3, 'a', 'a@x', 3), (4, 'b', NULL, 4), (5, 'b', 'c@x', 5)",
        then="CREATE TABLE c (id int8 REFERENCES users); INSERT INTO c VALUES (5), (2)",
    )
    made = shop.planned("users_name", merge={"mail": "first", "no": "max"})
    shop.repaired(made)
    assert shop.rows("SELECT * FROM users ORDER BY id") == [(1, "a", "a@x", 3), (2, "b", "b@x", 5)]
    assert shop.rows("SELECT id FROM c") == [2, 2]
    shop.undone(made)


@pytest.mark.parametrize("merge", ["mail", "up"])
def test_a_column_that_references_hang_on_is_not_merged(shop: Shop, merge: str) -> None:
    """Scenario: children reference the very column that is to be merged, or it is a reference to
    rows that may go themselves.
    Outcome: planning refuses it: children would be moved to what the survivor had before.
    """
    shop.make(
        "CREATE TABLE users (id int8 PRIMARY KEY, name text, mail text UNIQUE,"
        " up int8 REFERENCES users);"
        "CREATE UNIQUE INDEX users_name ON users (name); INSERT INTO users VALUES (1, 'a')",
        "users_name",
        "INSERT INTO users VALUES (3, 'a', 'a@x', 3)",
        then="CREATE TABLE c (id int8 PRIMARY KEY, mail text REFERENCES users (mail));"
        "INSERT INTO c VALUES (1, 'a@x')",
    )
    with pytest.raises(PolicyError) as refused:
        shop.planned("users_name", merge={merge: "first"})
    assert "references public.users" in refused.value.message
    assert refused.value.hint


def test_merging_into_a_row_that_references_its_own_table(shop: Shop) -> None:
    """Scenario: survivors and other rows have losers as parents; a number is summed.
    Outcome: number and parent are both right in the same row.
    """
    shop.make(
        "CREATE TABLE nodes (id int8 PRIMARY KEY, k text, n int4, up int8 REFERENCES nodes);"
        "CREATE UNIQUE INDEX nodes_k ON nodes (k);"
        "INSERT INTO nodes VALUES (1, 'a', 1, NULL), (2, 'b', 2, 1), (3, 'c', 3, 2)",
        "nodes_k",
        "INSERT INTO nodes VALUES (11, 'a', 10, 12), (12, 'b', 20, 11), (13, 'd', 30, 12);"
        "UPDATE nodes SET up = 12 WHERE id = 3; UPDATE nodes SET up = 11 WHERE id = 2",
    )
    made = shop.planned("nodes_k", merge={"n": "sum"})
    shop.repaired(made)
    assert shop.rows("SELECT id, n, up FROM nodes ORDER BY id") == [
        (1, 11, None), (2, 22, 1), (3, 3, 2), (13, 30, 2),
    ]  # fmt: skip
    shop.undone(made)


def test_a_callable_says_what_a_column_becomes(shop: Shop) -> None:
    """Scenario: values with whatever COPY would take for its own, NULL, a hostile column name.
    Outcome: the callable sees the survivor's value first, as PostgreSQL writes it, NULL as
    None; the survivor holds what it returned. Undo gives back what was there.
    """
    shop.make(
        'CREATE TABLE t (id int8 PRIMARY KEY, k text, "n\'o""te" text, at timestamptz, b bytea);'
        "CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES"
        r" (1, 'a', E'x\\\t1', '2020-01-01 00:00+00', '\x00'), (2, 'b', NULL, NULL, NULL)",
        "t_k",
        "INSERT INTO t VALUES (3, 'a', NULL, 'infinity', NULL), (4, 'b', E'\\\\N', NULL, NULL),"
        " (5, 'b', E'z\nz', NULL, NULL)",
    )
    seen: dict[str, list[list[str | None]]] = {"note": [], "at": [], "b": []}

    def note(values: Sequence[str | None]) -> str | None:
        seen["note"].append(list(values))
        return "\t".join(reversed([f"<{value}>" for value in values])) + "\\."

    def at(values: Sequence[str | None]) -> str | None:
        seen["at"].append(list(values))
        return values[-1]

    def nothing(values: Sequence[str | None]) -> str | None:
        seen["b"].append(list(values))
        return None

    made = shop.planned("t_k", merge={"n'o\"te": note, "at": at, "b": nothing})
    assert seen["note"] == [["x\\\t1", None], [None, "\\N", "z\nz"]]
    assert seen["at"] == [["2020-01-01 00:00:00+00", "infinity"], [None, None, None]]
    assert seen["b"] == [["\\x00", None], [None, None, None]]
    # Another process has the plan, but not the callables.
    shop.repaired(Plan.open(made.run.path))
    assert shop.rows("SELECT (t.*)::text FROM t ORDER BY id") == [
        '(1,a,"<None>\t<x\\\\\t1>\\\\.",infinity,)',
        '(2,b,"<z\nz>\t<\\\\N>\t<None>\\\\.",,)',
    ]
    shop.undone(made)


def test_a_callable_is_asked_about_what_was_changed_meanwhile(shop: Shop) -> None:
    """Outcome: the process that has it merges such a group too; another one leaves it."""
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, v int4); CREATE UNIQUE INDEX t_k ON t (k);"
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 10)",
        "t_k",
        "INSERT INTO t VALUES (3, 'a', 2), (4, 'b', 20)",
    )
    made = shop.planned("t_k", merge={"v": lambda values: "".join(v or "" for v in values)})
    shop.server.execute("UPDATE t SET v = 5 WHERE id = 2")
    with pytest.raises(RefusedError, match="callable that decided about the others is not at hand"):
        repair(Plan.open(made.run.path), db=shop.dsn, execute=True)
    shop.repaired(made)
    assert shop.rows("SELECT v FROM t ORDER BY id") == [12, 520]


def fails(_: Sequence[str | None]) -> str | None:
    raise OSError("the network is down")


@pytest.mark.parametrize(
    ("kind", "merger", "says"),
    [
        ("int4", lambda _: "12 apples", "is no integer"),
        ("int4", lambda _: 12, "returned 12 for group 1"),
        ("int4", lambda _: "99999999999", "is no integer"),
        ("int4 NOT NULL", lambda _: None, "returned None for group 1"),
        ("varchar(5)", lambda _: "0123456789", "'0123456789', which is too long for character v"),
        ("char(5)", lambda _: "0123456789", "'0123456789', which is too long for character"),
        ("short", lambda _: "0123456789", "'0123456789', which is too long for public.short"),
        ("numeric(4,2)", lambda _: "99999", "is no numeric"),
        ("int4", fails, "the callable for v, about group 1, failed: OSError.'the network is down'"),
        ("int4", 5, "no such merge for v: 5"),
        ("int4", None, "no such merge for v: None"),
        ("int4", "chosen by a program", "no such merge for v: chosen by a program"),
    ],
)
def test_a_callable_that_returns_nonsense_is_told(
    shop: Shop, kind: str, merger: Any, says: str
) -> None:
    """Outcome: planning names the column, the group or the value; nothing is planned."""
    shop.make(
        f"CREATE DOMAIN short AS varchar(5); CREATE TABLE t (id int8 PRIMARY KEY, k text,"
        f" v {kind}); CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES (1, 'a', '1')",
        "t_k",
        "INSERT INTO t VALUES (3, 'a', '2')",
    )
    with pytest.raises(PolicyError, match=says):
        shop.planned("t_k", merge={"v": merger})
    with pytest.raises(PlanError):
        Plan.open(shop.run)


def test_a_row_that_changes_while_callables_are_asked(shop: Shop) -> None:
    """Scenario: the callable that chooses takes its time, and a row of a group goes meanwhile.
    Outcome: that group counts as changed, and is looked at anew by the repair.
    """
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, v int4); CREATE UNIQUE INDEX t_k ON t (k);"
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 10)",
        "t_k",
        "INSERT INTO t VALUES (3, 'a', 2), (4, 'b', 20)",
    )

    updates = ["UPDATE t SET v = 30 WHERE id = 4"]

    def first(_: Sequence[Any]) -> int:
        if updates:
            shop.server.execute(updates.pop())
        return 0

    made = shop.planned(
        "t_k",
        keep=first,  # type: ignore[arg-type]
        merge={"v": lambda values: values[-1]},
        same="a.k = b.k",
    )
    assert (made.groups, made.changed) == (1, 1)
    shop.repaired(made)
    assert shop.rows("SELECT v FROM t ORDER BY id") == [2, 30]


@pytest.fixture
def ascii_shop(database: str, db: psycopg.Connection[Any], place: Path) -> Iterator[Shop]:
    """Give a database that takes any bytes for text."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    dsn = psycopg.conninfo.make_conninfo(database, dbname=f"{name}_ascii")
    db.execute(
        f"CREATE DATABASE {name}_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
        " TEMPLATE template0".encode()
    )
    with psycopg.connect(dsn, autocommit=True, client_encoding="SQL_ASCII") as watching:
        yield Shop(dsn=dsn, server=watching, run=place)
    db.execute(f"DROP DATABASE {name}_ascii".encode())


def test_what_is_no_utf_8_goes_through_a_callable(ascii_shop: Shop) -> None:
    """Scenario: a database without an encoding holds Latin-1, in a name too."""
    name = b'"M\xfcll"'
    ascii_shop.server.execute(
        b"CREATE TABLE t (id int8 PRIMARY KEY, k text, " + name + b" text);"
        b"CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES (1, 'a', 'm\xfc')"
    )
    damage(ascii_shop.dsn, "t_k", Damage.INDEXED_TWICE, ["INSERT INTO t VALUES (3, 'a', 'x')"])
    column = "M\udcfcll"
    run = scan(ascii_shop.dsn, MatchKey.from_index("t_k"), ascii_shop.run)
    made = plan(
        run, keep="oldest", db=ascii_shop.dsn,
        merge={column: lambda values: "+".join(value or "" for value in values)},
    )
    repair(made, db=ascii_shop.dsn, execute=True)
    assert ascii_shop.rows("SELECT t::text FROM t") in ([b"(1,a,m\xfc+x)"], ["(1,a,m\udcfc+x)"])


def test_rows_kept_for_a_callable_are_not_chosen_in_a_spreadsheet(shop: Shop) -> None:
    """Outcome: another kept row would need another value; the import is refused."""
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, v int4); CREATE UNIQUE INDEX t_k ON t (k);"
        "INSERT INTO t VALUES (1, 'a', 1)",
        "t_k",
        "INSERT INTO t VALUES (3, 'a', 2)",
    )
    made = shop.planned("t_k", merge={"v": lambda values: values[0]})
    with io.StringIO() as file:
        export_plan(made, file)
        file.seek(0)
        with pytest.raises(PlanError, match="a callable merged v"):
            import_plan(made.run, file)


def test_a_survivor_that_a_merge_leaves_as_it_is_is_not_written(shop: Shop) -> None:
    """Scenario: of three groups a merge changes one, one it makes look different, one it leaves.
    Outcome: the row of the last is not touched, journaled or shown to a trigger; the others are.
    """
    shop.make(
        "CREATE DOMAIN short AS varchar(9);"
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, n numeric, s short, c char(4), a int4[],"
        " j jsonb, seen int4 DEFAULT 0); CREATE UNIQUE INDEX t_k ON t (k);"
        "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.seen := OLD.seen + 1; RETURN NEW; END';"
        "CREATE TRIGGER own BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION count_it();"
        "INSERT INTO t VALUES (1, 'changed', 1, NULL, 'x', '{1}', '{}'),"
        " (2, 'same', 7.0, 's', 'x', '{1,2}', '{\"a\": 1}'),"
        " (3, 'looks', 1.0, 's', 'x', '{1}', NULL)",
        "t_k",
        "INSERT INTO t VALUES (11, 'changed', 2, 's', 'y', '{2}', '{\"b\": 2}'),"
        " (12, 'same', 0, 's', 'x', '{2}', '{\"a\": 5}'),"
        " (13, 'looks', 0.00, 's', 'x', '{1}', NULL)",
    )
    before = dict(shop.rows("SELECT id, xmin::text FROM t"))
    made = shop.planned(
        "t_k",
        merge={"n": "sum", "s": "first", "c": "min", "a": "union", "j": "jsonb"},
    )
    result = shop.repaired(made)
    assert result.changed == {"public.t": 2}
    assert shop.rows("SELECT id, n::text, s, c, a, j, seen FROM t ORDER BY id") == [
        (1, "3", "s", "x   ", [1, 2], {"b": 2}, 1),
        (2, "7.0", "s", "x   ", [1, 2], {"a": 1}, 0),
        (3, "1.00", "s", "x   ", [1], None, 1),
    ]
    after = dict(shop.rows("SELECT id, xmin::text FROM t"))
    assert [one for one in (1, 2, 3) if before[one] == after[one]] == [2]
    # It would count the way back as well.
    shop.server.execute("DROP TRIGGER own ON t")
    shop.undone(made)
