"""Losers that stay: a column gets a free suffix, or columns become NULL.

Their rows are updated where they are and journaled like any other; nothing points
elsewhere afterwards. A new name is free under the key's own equality, over the whole
table: it is looked for in the heap, once a batch.

Source: https://www.postgresql.org/docs/current/queries-with.html
"""

from __future__ import annotations

from ..journal import SCHEMA, changed_entry, image, insert_entries
from ..key import ResolvedKey
from ..policy import Loser
from ..relation import Column, Relation
from .pointing import LOSER, at

#: Made once a session; its rows last for one transaction.
TEMPORARY = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_name (relid oid, place tid, suffix int4)"
    " ON COMMIT DELETE ROWS"
)
_NAME = "pg_temp.pgmend_name"
#: The first try: every loser's place in its group. Parameters: run, round.
FIRST_SUFFIXES = (
    f"INSERT INTO {_NAME} SELECT l.relid, l.place, w.ordinal FROM {LOSER} l"
    f" JOIN {SCHEMA}.work w ON w.run = $1::text AND w.round = $2::int4 AND w.grp = l.grp"
    " AND w.relid = l.relid AND w.place = l.place"
)


def changed_columns(loser: Loser, root: Relation) -> tuple[Column, ...]:
    """List the columns that a policy changes in the rows that do not stay as they are."""
    return tuple(root.column(name) for name in loser.columns)


def retry_taken(loser: Loser, root: Relation, key: ResolvedKey, step: int) -> str:
    """Write the statement that gives another suffix to each new name that is taken.

    It is taken if a row of the table, or another row of the batch with its new name, has
    an equal key. Changes as many rows as were taken.
    """
    names = [f"k{n}" for n in range(len(key.columns))]
    values = ", ".join(
        f"{column.expression} AS {name}" for column, name in zip(key.columns, names, strict=True)
    )
    part = key.takes_part([column.expression for column in key.columns], key.where)
    columns = ", ".join(
        f"{_new_value(loser, column)} AS {column.sql}" for column in root.columns
    )
    equal = key.equal([f"a.{name}" for name in names], [f"b.{name}" for name in names])
    return (
        'WITH n AS MATERIALIZED (SELECT s.relid AS "pgmend relid", s.place AS "pgmend place",'
        f" {columns} FROM {_NAME} s JOIN {root.source} t ON {at('t', root, 's.relid', 's.place')}),"
        ' a AS MATERIALIZED (SELECT "pgmend relid" AS relid, "pgmend place" AS place,'
        f" {values} FROM n WHERE {part}),"
        f" b AS (SELECT tableoid AS relid, ctid AS place, {values} FROM {root.source}"
        f" WHERE {part}),"
        f" taken AS (SELECT a.relid, a.place FROM a JOIN b ON {_joined(key, names)} AND {equal}"
        f" UNION SELECT a.relid, a.place FROM a JOIN a b ON {_joined(key, names)} AND {equal}"
        " AND (b.relid, b.place) < (a.relid, a.place))"
        f" UPDATE {_NAME} s SET suffix = s.suffix + {step} FROM taken k"
        " WHERE s.relid = k.relid AND s.place = k.place"
    )


def change_in_place(loser: Loser, root: Relation, kept: tuple[Column, ...], shape: int) -> str:
    """Write the statement that changes the losers and journals it; returns their number.

    Parameters: run, batch.
    """
    columns = changed_columns(loser, root)
    values = ", ".join(f"{_new_value(loser, column)} AS n{n}" for n, column in enumerate(columns))
    sets = ", ".join(f"{column.sql} = g.n{n}" for n, column in enumerate(columns))
    return (
        "WITH g AS MATERIALIZED (SELECT l.relid, l.place, l.grp, t.xmin::text AS version,"
        f" {image(kept, 't')} AS before, {values} FROM {LOSER} l"
        f" LEFT JOIN {_NAME} s ON s.relid = l.relid AND s.place = l.place"
        f" JOIN {root.source} t ON {at('t', root, 'l.relid', 'l.place')}),"
        f" u AS (UPDATE {root.source} t SET {sets} FROM g"
        f" WHERE {at('t', root, 'g.relid', 'g.place')} RETURNING g.relid AS old_relid,"
        f" g.place AS old_place, g.version, g.grp, g.before, {image(kept, 't')} AS after,"
        " t.tableoid AS relid, t.ctid AS place),"
        f" j AS ({insert_entries([changed_entry(shape, 'ARRAY[grp]', 'u')])})"
        " SELECT count(*) FROM u"
    )


def _new_value(loser: Loser, column: Column) -> str:
    """Write the value that a column of a loser ``t`` is going to have."""
    if column.name not in loser.columns:
        return f"t.{column.sql}"
    if loser.action == "blank":
        return f"NULL::{column.type}"
    # Not cast to a length: a name that does not fit is an error, never a shorter name.
    return f"pg_catalog.concat(t.{column.sql}, '_', s.suffix)"


def _joined(key: ResolvedKey, names: list[str]) -> str:
    """Write a join by the key that a hash can serve."""
    tests = [
        f"{column.compared(f'a.{name}')} {column.equality} {column.compared(f'b.{name}')}"
        for column, name in zip(key.columns, names, strict=True)
    ]
    return " AND ".join(tests) if key.nulls_distinct else "true"
