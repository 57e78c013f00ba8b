"""Lookups by the indexes that a survey found good, and by the addresses written since.

A lookup of an id descends to its first entry, an insertion to the place of the id and the row's
address: in a damaged index an entry may be put where no lookup comes by. So what repairs wrote
since the survey is found by its address, which the journal knows, and only what they left as it
was by the index.

Source: https://www.postgresql.org/docs/current/btree.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..journal import SCHEMA
from ..relation import Relation
from ..scan.explain import indexes_by_alias
from ..session import Session
from ..writer import Writer
from .pointing import among, holding
from .survey import Survey

#: rows that were written since the survey
_WRITTEN = "pg_temp.pgmend_written"
#: what the table is called where its rows are reached by these addresses
_ADDRESSED = "by_address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Ids that are looked for in one column of a table."""

    column: str
    #: the type that ids are compared as
    kind: str
    ids: Sequence[str]
    #: number of the parameter that holds them, an array
    parameter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A query for leaf and address of the rows of one table, each once, and what it goes by."""

    query: str
    #: the one index that the server may use, by the alias of the table
    indexes: Mapping[str, str]


def note_written(writer: Writer, survey: Survey) -> None:
    """Note what was written since the survey; only inside ``writing``, before lookups."""
    writer.rows(
        "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_written (id int8, relid oid, place tid)"
    )
    writer.rows(
        f"INSERT INTO {_WRITTEN} SELECT e.id, e.relid, e.place FROM {SCHEMA}.entry e"
        " WHERE e.action = 'u' AND e.id >"
        f" greatest($1::int8, (SELECT coalesce(max(id), 0) FROM {_WRITTEN}))",
        [survey.since],
    )


def lookup(survey: Survey, relation: Relation, sought: Sequence[Sought]) -> Lookup | None:
    """Write a lookup of the rows of a table that hold any of some ids; None: the heap it is."""
    indexes, parts, tests = {}, [], []
    for n, one in enumerate(sought):
        index = survey.index_for(relation.oid, one.column, one.ids)
        if index is None:
            return None
        name = f"c{n}"
        indexes[name] = index
        parts.append(
            f"SELECT {name}.tableoid AS relid, {name}.ctid AS place"
            f" FROM {holding(relation, one.column, one.kind, one.parameter, name)}"
        )
        tests.append(among(f'w."pgmend id {n}"', one.kind, one.parameter))
    # OFFSET keeps the tests from being asked of an index: these rows are the ones in question.
    columns = ", ".join(
        f'{_ADDRESSED}.{relation.column(one.column).sql} AS "pgmend id {n}"'
        for n, one in enumerate(sought)
    )
    parts.append(
        f'SELECT w."pgmend relid", w."pgmend place" FROM {_WRITTEN} o CROSS JOIN LATERAL'
        f' (SELECT {_ADDRESSED}.tableoid AS "pgmend relid", {_ADDRESSED}.ctid AS "pgmend place",'
        f" {columns} FROM {relation.source} {_ADDRESSED} WHERE {_ADDRESSED}.ctid = o.place"
        f" OFFSET 0) w WHERE o.relid = {relation.oid} AND ({' OR '.join(tests)})"
    )
    return Lookup(query=" UNION ".join(parts), indexes=indexes)


def goes_by(session: Session, query: str, params: Sequence[object], found: Lookup) -> bool:
    """Tell whether the server would carry out a query with a lookup by just its indexes.

    And reach what was written since by nothing but its address.
    """
    used = indexes_by_alias(session, query, params)
    wanted: dict[str, frozenset[str]] = {_ADDRESSED: frozenset()}
    wanted |= {alias: frozenset({index}) for alias, index in found.indexes.items()}
    return all(used.get(alias) == indexes for alias, indexes in wanted.items())
