"""A survey: one reading of each large child for all that the repairs of a recipe may ask of it.

Where nobody else is connected, a repair reads the heaps of children (``byheap``), at every level
of every batch. Before the first of several repairs a survey reads each large child once, for the
ids of all rows in all groups and of what may go with them, and compares what its indexes find for
the same ids. An index that finds just the same rows is good for these ids, however damaged it may
be elsewhere. So the repairs go by it for what is as it was then, and read the heap for any other
id (``lookups``). See docs/decisions/survey.md.

Sources: https://www.postgresql.org/docs/current/btree.html,
https://www.postgresql.org/docs/current/sql-explain.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..connect import Database
from ..errors import DedupeError
from ..journal import last_entry
from ..plan import Plan
from ..references import References
from ..relation import Relation
from ..scan.explain import indexes_by_alias
from ..session import Session
from .involved import Column, involved_ids, is_large, may_be_left_out
from .pointing import among, array, holding, id_type, kind_of
from .searching import BY_ID
from .stretches import BY_STRETCH, IN_STRETCH, read_tables, stretches
from .telling import Telling

#: ids that a survey looks for at most: with more of them, reading the heaps is no detour
_MOST_IDS = 100_000
#: bytes of all children together from which on reading them again and again takes long
_LEAST_BYTES = 256 << 20
_COUNT = "pg_catalog.count(*)"
_SUM = "pg_catalog.sum(pg_catalog.hashtidextended(c.ctid, 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What an index is good for."""

    #: of the table, for its name alone is in the server's plans
    index: str
    #: as texts, in sets that columns share; the index finds just the rows that hold one of them
    ids: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Which ids were looked for in which columns, and by which indexes they can be."""

    columns: Mapping[Column, Trusted] = field(default_factory=dict)
    #: the journal's last entry before it: what is in it since then was written since then
    since: int = 0

    def index_for(self, table: int, column: str, ids: Iterable[str]) -> str | None:
        """Return the index that finds the rows of a table that hold some ids; None: the heap."""
        known = self.columns.get((table, column))
        if known is None or set(ids).difference(*known.ids):
            return None
        return known.index


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A table whose rows are counted by a column, and the one where their number is kept."""

    of: Relation
    by: str
    kept_in: Relation
    key: str


def take_survey(
    database: Database,
    plans: Sequence[tuple[Plan, Sequence[References]]],
    counted: Sequence[Counted],
    telling: Telling,
) -> Survey:
    """Survey what points at the rows of plans; each comes with the references of its policies.

    ``counted``: by these the rows that go will be counted anew, so that for their columns the
    ids are looked for as well which such rows hold.

    Nothing is surveyed where all children together have less than 256 MB. Columns of children that
    are quicker to read than their ids to look up are left out, and so are partitioned tables and
    what cannot be read. Reads each other child once (two at a time, in statements of 128 MB) and
    the rows that hold one of the ids; ACCESS SHARE. Memory: the ids, at most 100,000, and a few
    times that while they are sent. Raises RepairStopped, PlanError, and what the driver raises,
    translated.
    """
    telling.phase("surveying")
    with database.open("pgmend survey") as session:
        since = last_entry(session)
        if sum(_bytes(plans).values()) < _LEAST_BYTES:
            return Survey()
        asked = _asked(session, plans, counted, telling)

    def surveyed(
        session: Session, relation: Relation, tell: Callable[[int], None]
    ) -> dict[Column, Trusted]:
        try:
            return _compared(session, asked[relation.oid], tell)
        except DedupeError as error:
            if not may_be_left_out(error):
                raise
            return {}

    columns: dict[Column, Trusted] = {}
    for found in read_tables(
        database, [one.relation for one in asked.values()], surveyed, telling
    ):
        columns |= found
    return Survey(columns=columns, since=since)


def _bytes(plans: Sequence[tuple[Plan, Sequence[References]]]) -> dict[int, int]:
    """Return the bytes of each table that points at rows of some plan."""
    return {
        r.child: references.relations[r.child].bytes
        for _, pointing in plans for references in pointing for r in references.references
    }


@dataclass(slots=True, kw_only=True)
class _Ids:
    """What is looked for in one column."""

    #: the type that ids are compared as
    kind: str
    ids: set[frozenset[str]] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        """All of them."""
        return set().union(*self.ids)


@dataclass(slots=True, kw_only=True)
class _Asked:
    """What is looked for in one table."""

    relation: Relation
    columns: dict[str, _Ids] = field(default_factory=dict)


def _asked(
    session: Session,
    plans: Sequence[tuple[Plan, Sequence[References]]],
    counted: Sequence[Counted],
    telling: Telling,
) -> dict[int, _Asked]:
    """Collect what is to be looked for, table by table."""
    asked: dict[int, _Asked] = {}

    def add(relation: Relation, column: str, kind: str | None, ids: frozenset[str]) -> None:
        if kind is not None and ids:
            mine = asked.setdefault(relation.oid, _Asked(relation=relation)).columns
            mine.setdefault(column, _Ids(kind=kind)).ids.add(ids)

    involved = involved_ids(session, plans, _MOST_IDS, telling.check_stop)
    for _, pointing in plans:
        for references in pointing:
            for r in references.references:
                ids = involved.get((r.parent, r.parent_columns[0]), frozenset())
                kind = id_type(r, references.relations)
                add(references.relations[r.child], r.columns[0], kind, ids)
    for one in counted:
        for (table, column), ids in involved.items():
            if table == one.of.oid:
                telling.check_stop()
                held = _held_by(session, one, column, ids)
                add(one.of, one.by, kind_of(one.of, one.by), held)
                add(one.kept_in, one.key, kind_of(one.kept_in, one.key), held)
    for asking in asked.values():
        for name, some in list(asking.columns.items()):
            if not is_large(asking.relation, len(some.all)):
                del asking.columns[name]
    return {oid: asking for oid, asking in asked.items() if asking.columns}


def _held_by(
    session: Session, counted: Counted, column: str, ids: frozenset[str]
) -> frozenset[str]:
    """Return the ids by which rows are counted, of the rows whose ``column`` is among ``ids``.

    By an index that nobody has proved; none without one, nor where there are too many.
    """
    by, kind = counted.of.column(counted.by).sql, kind_of(counted.of, column)
    query = (
        f"SELECT DISTINCT r.{by}::pg_catalog.text"
        f" FROM {holding(counted.of, column, str(kind), 1, 'r')}"
        f" WHERE r.{by} IS NOT NULL LIMIT {_MOST_IDS + 1}"
    )
    try:
        with session.transaction(settings=BY_ID):
            if not indexes_by_alias(session, query, [array(ids)]).get("r"):
                return frozenset()
            found = session.rows(query, [array(ids)])
    except DedupeError as error:
        if not may_be_left_out(error):
            raise
        return frozenset()
    return frozenset() if len(found) > _MOST_IDS else frozenset(held for (held,) in found)


def _compared(
    session: Session, asked: _Asked, tell: Callable[[int], None]
) -> dict[Column, Trusted]:
    """Ask the indexes of a child, and read its heap for the same ids, under one snapshot."""
    child = asked.relation
    told: list[tuple[str, str, tuple[int, int]]] = []
    with session.transaction(repeatable=True, settings=BY_ID):
        for name, some in asked.columns.items():
            tell(0)
            told += _ask_index(session, child, name, some)
        if not told:
            return {}
        session.set_local(BY_STRETCH)
        listed = [array(asked.columns[name].all) for name, _, _ in told]
        query, sums = _reading(asked, [name for name, _, _ in told]), [0] * (2 * len(told))
        for bounds, size in stretches(session, child):
            row = session.row(query, [*bounds, *listed])
            sums = [one + int(other or 0) for one, other in zip(sums, row, strict=True)]
            tell(size)
    return {
        (child.oid, name): Trusted(index=index, ids=tuple(asked.columns[name].ids))
        for n, (name, index, expected) in enumerate(told)
        if expected == tuple(sums[2 * n : 2 * n + 2])
    }


def _ask_index(
    session: Session, child: Relation, name: str, some: _Ids
) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Yield column, index, and number and digest of the rows that the index finds."""
    query = (
        f"SELECT {_COUNT}, {_SUM} FROM {holding(child, name, some.kind, 1, 'c')}"
    )
    ids = array(some.all)
    used = indexes_by_alias(session, query, [ids]).get("c", frozenset())
    if len(used) == 1 and used <= _led_by(session, child, name):
        (index,) = used
        count, digest = session.row(query, [ids])
        yield name, index, (count, int(digest or 0))


def _reading(asked: _Asked, names: Sequence[str]) -> str:
    """Write the query that reads a stretch of the heap, for the ids of several columns."""
    tests = []
    for n, name in enumerate(names, 3):
        column = asked.relation.column(name).sql
        tests.append(among(f"c.{column}", asked.columns[name].kind, n))
    sums = ", ".join(f"{what} FILTER (WHERE {test})" for test in tests for what in (_COUNT, _SUM))
    return (
        f"SELECT {sums} FROM {asked.relation.source} c"
        f" WHERE {IN_STRETCH} AND ({' OR '.join(tests)})"
    )


def _led_by(session: Session, child: Relation, column: str) -> frozenset[str]:
    """Return the names of the btree indexes that begin with a column."""
    return frozenset(
        name
        for (name,) in session.rows(
            "SELECT x.relname FROM pg_catalog.pg_index i"
            " JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid"
            " JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'"
            " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " WHERE i.indrelid = $1::oid AND a.attname = $2::text AND i.indisvalid",
            [child.oid, column],
        )
    )
