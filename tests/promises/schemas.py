"""Small random databases whose key index lied: tables, references and rows as values, and as SQL.

Table ``t0`` holds the duplicates; the others reference it and each other. Every table has
a column ``no`` that nothing references, changes or indexes: it names a row for the tests.
Without the duplicates of ``t0.k`` all is consistent, so what collides does by re-pointing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psycopg
from hypothesis.vendor.pretty import RepresentationPrinter

from dedupe.lab.damage import Damage, damage
from dedupe.policy import SoftReference

#: column to text
Row = dict[str, str | None]
KEY_INDEX = "t0_k"

LONG = "".join(chr(33 + i * i % 90) for i in range(1, 1400)).replace("'", "x")
#: types of columns that no key or reference looks at, with values that are easily spoilt
PAYLOADS: Mapping[str, tuple[str, ...]] = {
    "text": ("", "O'Neil", 'a"b', "\\", "%s {0}", "ünï 😀", " tab\t\nline ", LONG, "NULL"),
    "char(6)": ("ab", "ab    ", "", "é"),
    "bpchar": ("x   ", "", "   "),
    '"char"': ("a", "'", ""),
    "json": ('{"b":1,"a":2,"a":3}', "[1.0, 1.00]", "null", '{"x": "O\'Neil"}'),
    "jsonb": ('{"b": 1.00, "a": null}', '"\\u00e9"', "null", "[]"),
    "bytea": ("\\x", "\\x00ff27", "\\x5c"),
    "float8": ("NaN", "-0", "Infinity", "5e-324", "0.1"),
    "float4": ("NaN", "-0", "1e-45", "3.4028235e38"),
    "numeric": ("NaN", "1.00", "-0.000", "1e-20", "12345678901234567890.5"),
    "text[]": ("{}", '{NULL,"NULL","a,b"}', "[0:1]={a,b}", '{{"\\"",x}}'),
    "bytea[]": ('{"\\\\x00",NULL}', "{}"),
    "timestamptz": ("infinity", "4713-01-01 00:00+00 BC", "2020-06-30 12:00:00.000001+09"),
    "date": ("-infinity", "0044-03-15 BC", "2020-02-29"),
    "interval": ("1 mon -1 day 04:05:06.789", "-00:00:01", "0"),
    "money": ("1.50", "-2"),
    "inet": ("::1/64", "10.0.0.1"),
    "bit(3)": ("101", "000"),
    "int4range": ("empty", "[1,4)", "(,)"),
    "tsvector": ("a:1A b", "", "'it''s'"),
    "mood": ("glad", "so so"),
    "pair": ("(,)", '(1,"a,b")', '(,"")', '(-1,"O\'Neil ""x"" \\\\")'),
    "pair[]": ('{"(1,a)","(,)"}', "{NULL}"),
    "point": ("(-0,1e-300)",),
}
TYPES = (
    "CREATE TYPE mood AS ENUM ('glad', 'so so')",
    "CREATE TYPE pair AS (x int8, y text)",
)


def quoted(name: str) -> str:
    """Quote an SQL name."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: tuple[str, ...]) -> str:
    """Write names as a list of columns."""
    return ", ".join(map(quoted, names))


def literal(value: str | None) -> str:
    """Write a value that takes the type of where it stands."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    name: str
    type: str
    #: what follows the type: NOT NULL, DEFAULT, GENERATED
    rest: str = ""
    #: the server computes it, so no row gives it
    computed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key."""

    name: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    #: nothing, DEFERRABLE, DEFERRABLE INITIALLY DEFERRED
    deferrable: str = ""
    match: str = "SIMPLE"
    indexed: bool = True

    def sql(self) -> str:
        return (
            f"CONSTRAINT {quoted(self.name)} FOREIGN KEY ({listed(self.columns)})"
            f" REFERENCES public.{quoted(self.parent)} ({listed(self.parent_columns)})"
            f" MATCH {self.match} ON DELETE {self.on_delete} ON UPDATE {self.on_update}"
            f" {self.deferrable}"
        ).rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """A key of a child that re-pointing can make collide."""

    name: str
    columns: tuple[str, ...]
    #: ``primary``, ``constraint``, ``deferrable`` or ``index``
    form: str = "constraint"
    #: the last of the columns is taken in lower case (an index)
    lowered: bool = False
    #: only rows with ``slot > 0`` (an index)
    partial: bool = False

    def value(self, row: Mapping[str, str | None]) -> tuple[str, ...] | None:
        """Give the key of a row; None where the row has none."""
        values = [row[column] for column in self.columns]
        slot = row.get("slot")
        if None in values or (self.partial and (slot is None or int(slot) <= 0)):
            return None
        texts = [value or "" for value in values]
        if self.lowered:
            texts[-1] = texts[-1].lower()
        return tuple(texts)

    def sql(self, table: str) -> str:
        name, on = quoted(self.name), f"public.{quoted(table)}"
        if self.form != "index":
            kind = "PRIMARY KEY" if self.form == "primary" else "UNIQUE"
            late = " DEFERRABLE INITIALLY DEFERRED" if self.form == "deferrable" else ""
            return f"ALTER TABLE {on} ADD CONSTRAINT {name} {kind} ({listed(self.columns)}){late}"
        columns = [quoted(column) for column in self.columns]
        if self.lowered:
            columns[-1] = f"lower({columns[-1]})"
        where = " WHERE slot > 0" if self.partial else ""
        return f"CREATE UNIQUE INDEX {name} ON {on} ({', '.join(columns)}){where}"


@dataclass(slots=True, kw_only=True)
class Table:
    name: str
    columns: list[Column]
    references: list[Reference] = field(default_factory=list)
    #: all keys, of the primary key's columns as well
    uniques: list[Unique] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Name the table in SQL."""
        return f"public.{quoted(self.name)}"

    @property
    def primary(self) -> tuple[str, ...]:
        """Columns of the primary key."""
        return next(unique.columns for unique in self.uniques if unique.form == "primary")

    @property
    def has_id(self) -> bool:
        """Whether it has a key of its own that others can reference."""
        return any(u.form == "primary" and u.columns == ("id",) for u in self.uniques)

    def inserts(self, rows: list[Row]) -> Iterator[str]:
        names = tuple(column.name for column in self.columns if not column.computed)
        identity = any("ALWAYS AS IDENTITY" in column.rest for column in self.columns)
        over = "OVERRIDING SYSTEM VALUE " if identity else ""
        for row in rows:
            values = ", ".join(literal(row.get(name)) for name in names)
            yield f"INSERT INTO {self.label} ({listed(names)}) {over}VALUES ({values})"


@dataclass(slots=True, kw_only=True)
class Case:
    """A database with duplicates, and what is to become of them."""

    #: the first is ``t0``
    tables: list[Table]
    soft: list[SoftReference]
    damage: Damage
    #: whether the index on ``k`` stands for a UNIQUE constraint
    constraint: bool
    keep: tuple[str, ...]
    on_collision: dict[str, str]
    #: columns that move are part of a key that others reference: a repair may refuse
    hard: bool = False

    def _repr_pretty_(self, printer: RepresentationPrinter, _: object) -> None:
        """Leave the rows to ``sql`` where hypothesis prints a case."""
        printer.text(f"<{len(self.tables)} tables, keep {self.keep}>")

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    @property
    def groups(self) -> list[list[Row]]:
        """The rows of ``t0`` that share a key, in the order in which they were written."""
        found: dict[str, list[Row]] = {}
        for row in self.tables[0].rows:
            if (key := row["k"]) is not None:
                found.setdefault(key, []).append(row)
        return [rows for rows in found.values() if len(rows) > 1]

    def _created(self) -> Iterator[str]:
        yield from TYPES
        for table in self.tables:
            columns = ", ".join(
                f"{quoted(column.name)} {column.type} {column.rest}".rstrip()
                for column in table.columns
            )
            yield f"CREATE TABLE {table.label} ({columns})"
            yield from (unique.sql(table.name) for unique in table.uniques)

    def _first(self) -> Iterator[str]:
        """Write all rows but those that repeat a key."""
        repeated = {id(row) for rows in self.groups for row in rows[1:]}
        for table in self.tables:
            yield from table.inserts([row for row in table.rows if id(row) not in repeated])

    def _repeats(self) -> list[str]:
        return list(self.tables[0].inserts([row for rows in self.groups for row in rows[1:]]))

    def _referenced(self) -> Iterator[str]:
        for table in self.tables:
            for reference in table.references:
                yield f"ALTER TABLE {table.label} ADD {reference.sql()}"
                if reference.indexed:
                    yield f"CREATE INDEX ON {table.label} ({listed(reference.columns)})"

    def sql(self) -> str:
        """Write the database for a reader."""
        keep = " then ".join(self.keep)
        parts = [
            f"-- keep {keep}; damage: {self.damage}; on collision: {self.on_collision}",
            *(f"-- {soft}" for soft in self.soft),
            *(f"{statement};" for statement in (*self._created(), *self._first())),
            f"-- while {KEY_INDEX} looks away",
            *(f"{statement};" for statement in self._repeats()),
            "-- and it looks again",
            *(f"{statement};" for statement in self._referenced()),
        ]
        return "\n".join(parts).replace(LONG, "long text")

    def build(self, dsn: str, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        """Make the database; whatever was in its public schema goes."""
        connection.execute("DROP SCHEMA IF EXISTS public, pgmend CASCADE; CREATE SCHEMA public")
        with connection.transaction():
            for statement in (*self._created(), *self._first()):
                connection.execute(statement.encode())
        if repeats := self._repeats():
            damage(dsn, f"public.{KEY_INDEX}", self.damage, [_plain(one) for one in repeats])
        with connection.transaction():
            for statement in self._referenced():
                connection.execute(statement.encode())


def _plain(statement: str) -> psycopg.sql.SQL:
    """Let a statement through as it is, braces and percent signs and all."""
    return psycopg.sql.SQL(statement)  # type: ignore[arg-type]
