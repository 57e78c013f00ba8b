"""What a repair may do to a database, computed beside it: rows that belong together, and looks.

Nothing here is the code under test's. Two rows belong together if they are duplicates, or
if a key of theirs is the same once what belongs together counts as one. A repair leaves
at least one row of what belongs together, exactly one of the duplicates, and every other row.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dedupe.policy import SoftReference

from .heap import Connection
from .schemas import Case, Reference, Row, Table, Unique, quoted

#: a row: its table and its number there
Place = tuple[str, str]
#: as the output functions of the types write values
PINS = (
    "SET extra_float_digits = 1; SET datestyle = 'ISO, YMD'; SET intervalstyle = postgres;"
    " SET timezone = 'UTC'; SET bytea_output = hex; SET search_path = pg_catalog"
)

#: order of rows by a word of ``keep``; the first stays
ORDERS: Mapping[str, Callable[[Row], Any]] = {
    "oldest": lambda row: int(row["id"] or 0),
    "newest": lambda row: -int(row["id"] or 0),
    "score": lambda row: (row["score"] is None, int(row["score"] or 0)),
    "score desc": lambda row: (row["score"] is None, -int(row["score"] or 0)),
    "score % 2": lambda row: (row["score"] is None, math.fmod(int(row["score"] or 0), 2)),
    "code desc": lambda row: -int(row["code"] or 0),
    "coalesce(score, 0) asc": lambda row: int(row["score"] or 0),
}


def survivor(case: Case, group: list[Row]) -> Row:
    """Find the row that the rules keep."""
    orders = [*(ORDERS[word] for word in case.keep), ORDERS["oldest"]]
    return min(group, key=lambda row: [order(row) for order in orders])


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A database as it is at a moment, read off its heaps."""

    #: rows of each table by ``no``, values as texts
    rows: Mapping[str, Mapping[str, Row]]
    #: lines of COPY of each table, sorted
    copies: Mapping[str, list[bytes]]
    #: columns, constraints, indexes, triggers, other objects
    schema: tuple[str, ...]


def look(connection: Connection, tables: list[str]) -> Look:
    """Read everything in schema public; rows of the tables that are named."""
    return Look(
        rows={name: rows_of(connection, name) for name in tables},
        copies=copies(connection),
        schema=schema(connection),
    )


def rows_of(connection: Connection, table: str) -> dict[str, Row]:
    columns = [
        name
        for (name,) in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped ORDER BY attnum",
            [f"public.{quoted(table)}"],
        )
    ]
    texts = ", ".join(
        f"CASE WHEN num_nulls({quoted(name)}) = 0 THEN format('%s', {quoted(name)}) END"
        for name in columns
    )
    read = connection.execute(f"SELECT {texts} FROM public.{quoted(table)}".encode()).fetchall()
    found = {row[columns.index("no")]: dict(zip(columns, row, strict=True)) for row in read}
    assert len(found) == len(read), "a row is there twice"
    return found


def copies(connection: Connection) -> dict[str, list[bytes]]:
    """Give the sorted COPY lines of all tables in schema public."""
    found: dict[str, list[bytes]] = {}
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " ORDER BY 1"
    ).fetchall()
    for (name,) in names:
        query = f"COPY (SELECT * FROM public.{quoted(name)}) TO STDOUT".encode()
        with connection.cursor().copy(query) as copy:
            # Newlines inside values are escaped, so a line is a row.
            found[name] = sorted(b"".join(bytes(block) for block in copy).splitlines())
    return found


def schema(connection: Connection) -> tuple[str, ...]:
    """Write down what there is in the database but for rows and pgmend's journal."""
    facts = connection.execute(
        """
        WITH mine AS (SELECT oid, relname, relkind, relreplident, relnamespace, reloptions
                      FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        SELECT concat_ws(' ', 'column', relname, attname, format_type(atttypid, atttypmod),
                         attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid))
        FROM mine JOIN pg_attribute a ON attrelid = mine.oid AND attnum > 0 AND relkind <> 'i'
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        UNION ALL
        SELECT concat_ws(' ', 'relation', relkind, relname, relreplident, reloptions) FROM mine
        UNION ALL
        SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid),
                         convalidated)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisvalid, indisready,
                         indisreplident, indisclustered, obj_description(indexrelid, 'pg_class'))
        FROM mine JOIN pg_index ON indexrelid = mine.oid
        UNION ALL
        SELECT concat_ws(' ', 'trigger', tgrelid::regclass, tgfoid::regproc, tgenabled,
                         tgdeferrable, CASE WHEN tgisinternal THEN '' ELSE tgname END)
        FROM pg_trigger JOIN mine ON tgrelid = mine.oid
        UNION ALL
        SELECT concat_ws(' ', 'function', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat_ws(' ', 'schema', nspname) FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'pgmend'
        """
    ).fetchall()
    return tuple(sorted(fact for (fact,) in facts))


def without_key(facts: tuple[str, ...], index: str = "t0_k") -> list[str]:
    """Leave out what the key's index is, which an undo changes."""
    return [fact for fact in facts if index not in fact.replace('"', " ").replace(".", " ").split()]


def check_indexes(connection: Connection) -> None:
    """Let amcheck compare all btree indexes of schema public with their heaps."""
    (home,) = connection.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'amcheck'"
    ).fetchone() or [None]
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
        " WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'btree')"
        " AND relkind = 'i' AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert indexes
    for (index,) in indexes:
        connection.execute(f"SELECT {home}.bt_index_check(%s::regclass, true)", [index])


def dangling(connection: Connection, case: Case) -> Iterator[str]:
    """Name the foreign keys that lead nowhere; the connection uses no index."""
    for table in case.tables:
        for one in table.references:
            pairs = list(zip(one.columns, one.parent_columns, strict=True))
            given = " AND ".join(f"c.{quoted(mine)} IS NOT NULL" for mine, _ in pairs)
            same = " AND ".join(f"c.{quoted(mine)} = p.{quoted(other)}" for mine, other in pairs)
            query = (
                f"SELECT count(*) FROM ONLY {table.label} c WHERE {given} AND NOT EXISTS"
                f" (SELECT FROM ONLY public.{quoted(one.parent)} p WHERE {same})"
            )
            (count,) = connection.execute(query.encode()).fetchone() or [0]
            if count:
                yield f"{one.name}: {count}"


class Together:
    """Which rows of a database belong together once its duplicates are one."""

    def __init__(self, case: Case, rows: Mapping[str, Mapping[str, Row]]) -> None:
        self.case, self.rows = case, rows
        self._above: dict[Place, Place] = {}
        #: rows of a table by the values that a reference names them by
        self._named: dict[tuple[str, tuple[str, ...]], dict[tuple[str | None, ...], Place]] = {}
        for group in case.groups:
            for row in group[1:]:
                self._join(("t0", group[0]["no"] or ""), ("t0", row["no"] or ""))
        keys = [(table, unique) for table in case.tables for unique in table.uniques]
        while sum(self._join_equal(table, unique) for table, unique in keys):
            pass

    def top(self, place: Place) -> Place:
        """Give the row that stands for all that belong together with this one."""
        while place in self._above:
            place = self._above[place]
        return place

    def classes(self) -> dict[Place, list[Place]]:
        """Give all rows, by what they belong to."""
        found: dict[Place, list[Place]] = defaultdict(list)
        for table, rows in self.rows.items():
            for no in rows:
                found[self.top((table, no))].append((table, no))
        return found

    def target(self, row: Row, reference: Reference) -> Place | None:
        """Find the row that is referenced; None if none is."""
        return named(self.rows, row, reference, self._named)

    def _join(self, one: Place, other: Place) -> bool:
        one, other = self.top(one), self.top(other)
        if one == other:
            return False
        self._above[other] = one
        return True

    def _join_equal(self, table: Table, unique: Unique) -> bool:
        joined = False
        first: dict[tuple[object, ...], Place] = {}
        for no, row in self.rows[table.name].items():
            if (value := self.value(table, unique, row)) is not None:
                place = (table.name, no)
                joined |= self._join(first.setdefault(value, place), place)
        return joined

    def value(self, table: Table, unique: Unique, row: Row) -> tuple[object, ...] | None:
        """Give a row's key, with what is referenced in the place of its columns."""
        plain = unique.value(row)
        if plain is None:
            return None
        values: list[object] = list(plain)
        for reference in table.references:
            target = self.target(row, reference)
            for at, column in enumerate(unique.columns):
                if target is not None and column in reference.columns:
                    values[at] = (self.top(target), reference.columns.index(column))
        for soft in self.case.soft:
            if soft.table == table.label and soft.column in unique.columns and applies(soft, row):
                for no, parent in self.rows["t0"].items():
                    if parent["id"] == row[soft.column]:
                        values[unique.columns.index(soft.column)] = self.top(("t0", no))
        return tuple(values)


def named(
    rows: Mapping[str, Mapping[str, Row]], row: Row, reference: Reference, cache: dict[Any, Any]
) -> Place | None:
    """Find the row that another one references; fails if it is not there."""
    values = tuple(row[column] for column in reference.columns)
    if None in values:
        return None
    key = (reference.parent, reference.parent_columns)
    if key not in cache:
        cache[key] = {
            tuple(parent[column] for column in reference.parent_columns): (reference.parent, no)
            for no, parent in rows[reference.parent].items()
        }
    assert values in cache[key], f"{reference.name} {values} leads nowhere"
    place: Place = cache[key][values]
    return place


def applies(soft: SoftReference, row: Row) -> bool:
    """Tell whether a soft reference's type column says that it is one."""
    return soft.type_column is None or row[soft.type_column] == soft.type_value


def as_told(soft: SoftReference, value: str | None) -> object:
    """Read what a soft reference's column holds."""
    return json.loads(value) if soft.kind == "jsonb" and value is not None else value


def moved(soft: SoftReference, row: Row, heirs: Mapping[str, str]) -> object:
    """Give what a soft reference's column has to hold; ``heirs`` are losers' ids to survivors'."""
    value = row[soft.column]
    if value is None or not applies(soft, row):
        return as_told(soft, value)
    if soft.kind == "array":
        items = value.strip("{}").split(",") if value != "{}" else []
        return "{" + ",".join(dict.fromkeys(heirs.get(item, item) for item in items)) + "}"
    if soft.kind != "jsonb":
        return heirs.get(value, value)
    document = inner = json.loads(value)
    for key in soft.path[:-1]:
        inner = inner.get(key) if isinstance(inner, dict) else None
    leaf = inner.get(soft.path[-1]) if isinstance(inner, dict) else None
    if leaf is not None:
        inner[soft.path[-1]] = type(leaf)(heirs.get(str(leaf), leaf))
    return document


def check_rows(case: Case, before: Look, after: Look) -> Counter[str]:
    """Compare a repaired database with what it was; return how many rows of each table went."""
    heirs: dict[str, str] = {}
    for group in case.groups:
        kept = survivor(case, group)
        heirs |= {row["id"] or "": kept["id"] or "" for row in group if row is not kept}
        assert [row["no"] for row in group if row["no"] in after.rows["t0"]] == [kept["no"]]
    together = Together(case, before.rows)
    gone: Counter[str] = Counter()
    for places in together.classes().values():
        left = [place for place in places if place[1] in after.rows[place[0]]]
        assert left, f"all of {places} went"
        gone[places[0][0]] += len(places) - len(left)
    seen: dict[Any, Any] = {}
    for table in case.tables:
        for no, now in after.rows[table.name].items():
            was = before.rows[table.name][no]
            where = f"{table.name} {no}"
            held: set[str] = set()
            for reference in table.references:
                target = together.target(was, reference)
                led = named(after.rows, now, reference, seen)
                held.update(reference.columns if target else ())
                if target is None or target[1] in after.rows[target[0]]:
                    assert led == target, f"{where}: {reference.name} was moved without need"
                else:
                    assert led is not None, f"{where}: {reference.name} was emptied"
                    assert together.top(led) == together.top(target), f"{where}: {reference.name}"
            soft = {one.column: one for one in case.soft if one.table == table.label}
            for column, value in now.items():
                if column in soft:
                    found = as_told(soft[column], value)
                    assert found == moved(soft[column], was, heirs), f"{where}: {column}"
                elif column not in held:
                    assert value == was[column], f"{where}: {column} was changed"
    return gone
