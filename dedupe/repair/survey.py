"""A survey: one reading of each large child for all that the repairs of a recipe may ask of it.

Where nobody else is connected, a repair reads the heaps of children (``byheap``), at every level
of every batch. Before the first of several repairs a survey reads each large child once, for the
ids of all rows in all groups and of what may go with them, and compares what its indexes find for
the same ids. An index that finds just the same rows is good for these ids, however damaged it may
be elsewhere: the server descends to one place for each of them, whether it looks for an entry or
puts a new one there. So the repairs go by it, and read the heap for any other id.

Which rows may go with others is asked of indexes that are not trusted yet. What they
leave out is not in the survey, and is looked for in the heap by the repair.

Sources: https://www.postgresql.org/docs/current/btree.html,
https://www.postgresql.org/docs/current/sql-explain.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ..connect import Database
from ..errors import UnreadableData
from ..plan import Plan
from ..references import References
from ..relation import Relation
from ..scan.explain import indexes_read
from ..session import Session
from .pointing import array, compared_as, held, id_type
from .searching import BY_HEAP

#: ids that a survey looks for at most: with more of them, reading the heaps is no detour
_MOST_IDS = 100_000
#: of a heap, what takes as long to read as an id to look up in a cached index
_BYTES_AN_ID = 2048
_SESSIONS = 2
#: Reach rows by an index, one id after the other.
BY_ID: Mapping[str, str] = {
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
    "enable_indexscan": "on", "enable_indexonlyscan": "off", "enable_bitmapscan": "on",
}

#: oid of a table and a column of it: ids that are referenced, or that reference
Column = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What an index is good for."""

    #: of the table, for its name alone is in the server's plans
    index: str
    #: as texts; the index finds just the rows that hold one of them
    ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Which ids were looked for in which columns, and by which indexes they can be."""

    columns: Mapping[Column, Trusted] = field(default_factory=dict)

    def index_for(self, table: int, column: str, ids: Iterable[str]) -> str | None:
        """Return the index that finds the rows of a table that hold some ids; None: the heap."""
        known = self.columns.get((table, column))
        return known.index if known is not None and known.ids.issuperset(ids) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A table whose rows are counted, and the one where their number is kept."""

    of: Relation
    by: str
    kept_in: Relation
    key: str


def take_survey(
    database: Database,
    plans: Sequence[tuple[Plan, Sequence[References]]],
    counted: Sequence[Counted],
    check_stop: Callable[[], None],
) -> Survey:
    """Survey what points at the rows of plans; each comes with the references of its policies.

    ``counted``: by these the rows that go will be counted anew, so that for their columns the
    ids are looked for as well which such rows hold.

    Columns of children that are quicker to read than their ids to look up are left out, and so
    are partitioned tables. Reads each other child once (two at a time) and the rows that hold one
    of the ids; ACCESS SHARE. Memory: the ids, at most 100,000. ``check_stop`` may raise between
    two children. Raises what the driver raises, translated; PlanError.
    """
    asked = _Asked()
    with database.open("pgmend survey") as session:
        ids = _all_ids(session, plans)
        for _, pointing in plans:
            for references in pointing:
                for r in references.references:
                    kind = id_type(r, references.relations)
                    some = ids.get((r.parent, r.parent_columns[0]))
                    if kind is not None and some is not None:
                        asked.add(references.relations[r.child], r.columns[0], kind, some)
        for one in counted:
            for (table, column), some in ids.items():
                if table == one.of.oid:
                    held_by = _held_by(session, one, column, some)
                    asked.add(one.of, one.by, _kind(one.of, one.by), held_by)
                    asked.add(one.kept_in, one.key, _kind(one.kept_in, one.key), held_by)

    def surveyed(relation: Relation) -> dict[Column, Trusted]:
        check_stop()
        wanted = {
            name: some for name, some in asked.of(relation).items()
            if some.ids and _is_large(relation, len(some.ids))
        }
        if not wanted:
            return {}
        with database.open("pgmend survey") as session:
            try:
                found = _indexes_that_agree(session, relation, wanted)
            except UnreadableData:
                return {}
        return {
            (relation.oid, name): Trusted(index=index, ids=frozenset(wanted[name].ids))
            for name, index in found.items()
        }

    columns: dict[Column, Trusted] = {}
    with ThreadPoolExecutor(_SESSIONS) as pool:
        try:
            for found in [pool.submit(surveyed, relation) for relation in asked.relations()]:
                columns |= found.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Survey(columns=columns)


@dataclass(slots=True, kw_only=True)
class _Ids:
    """What is looked for in one column."""

    #: the type that ids are compared as
    kind: str
    ids: set[str] = field(default_factory=set)


class _Asked:
    """What is looked for, table by table."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._columns: dict[int, dict[str, _Ids]] = {}

    def add(self, relation: Relation, column: str, kind: str | None, ids: Iterable[str]) -> None:
        if kind is None:
            return
        self._relations[relation.oid] = relation
        mine = self._columns.setdefault(relation.oid, {})
        mine.setdefault(column, _Ids(kind=kind)).ids.update(ids)

    def of(self, relation: Relation) -> Mapping[str, _Ids]:
        return self._columns[relation.oid]

    def relations(self) -> list[Relation]:
        """List the tables, the largest first, so that the last ones are short."""
        return sorted(self._relations.values(), key=lambda relation: -relation.bytes)


def _kind(relation: Relation, column: str) -> str | None:
    base = relation.column(column).base
    return compared_as(base, base)


def _held_by(session: Session, counted: Counted, column: str, ids: set[str]) -> set[str]:
    """Return the ids by which rows are counted, of the rows whose ``column`` is among ``ids``."""
    kind = _kind(counted.of, column)
    by, id_ = counted.of.column(counted.by).sql, counted.of.column(column).sql
    query = (
        f"SELECT DISTINCT r.{by}::pg_catalog.text FROM pg_catalog.unnest($1::{kind}[]) i (id)"
        f" JOIN {counted.of.source} r ON r.{id_} OPERATOR(pg_catalog.=) i.id"
        f" WHERE r.{by} IS NOT NULL"
    )
    try:
        with session.transaction(settings=BY_ID):
            if not indexes_read(session, query, [array(ids)]):
                return set()
            return {held_id for (held_id,) in session.rows(query, [array(ids)])}
    except UnreadableData:
        return set()


def _is_large(relation: Relation, ids: int) -> bool:
    """Tell whether looking some ids up in an index reads less than the heap does."""
    return not relation.partitioned and ids * _BYTES_AN_ID < relation.bytes


def _all_ids(
    session: Session, plans: Sequence[tuple[Plan, Sequence[References]]]
) -> dict[Column, set[str]]:
    """Collect the ids of the rows in groups, and of what may go with them; none: too many."""
    ids: dict[Column, set[str]] = {}
    for plan, pointing in plans:
        places = [
            place for _, _, rows in plan.run.addresses(plan.key) for _, place, _ in rows
        ] if plan.losers <= _MOST_IDS // 2 else []
        for references in pointing:
            try:
                with session.transaction():
                    _follow(session, references, places, ids)
            except UnreadableData:
                # By an index that is damaged so badly; what is not surveyed is read.
                continue
            if len(places) + sum(map(len, ids.values())) > _MOST_IDS:
                return {}
    return ids


def _follow(
    session: Session, references: References, places: list[str], ids: dict[Column, set[str]]
) -> None:
    """Add the ids of the rows at some places of the root, and of rows that may go with them."""
    targets = {
        table: {
            r.parent_columns[0]: kind
            for r in references.to(table)
            if (kind := id_type(r, references.relations)) is not None
        }
        for table in references.losable
        if not references.relations[table].partitioned
    }
    known: dict[Column, set[str]] = {}

    def fresh(table: int, found: list[tuple[str, ...]]) -> dict[Column, set[str]]:
        new = {}
        for n, column in enumerate(targets[table]):
            have = known.setdefault((table, column), set())
            new[table, column] = {row[n] for row in found if row[n] is not None} - have
            have |= new[table, column]
        return new

    root = references.relations[references.root]
    if not targets.get(root.oid) or not places:
        return
    found = session.rows(
        f"SELECT {_listed(root, targets[root.oid])} FROM {root.source} r"
        " WHERE r.ctid = ANY ($1::pg_catalog.text[]::pg_catalog.tid[])",
        [places],
    )
    waiting = fresh(root.oid, found)
    while waiting and sum(map(len, known.values())) <= _MOST_IDS:
        target = next(iter(waiting))
        some = waiting.pop(target)
        for r in references.to(target[0]):
            kind = id_type(r, references.relations)
            if kind is None or r.parent_columns[0] != target[1] or not targets.get(r.child) or (
                not some
            ):
                continue
            child = references.relations[r.child]
            query = (
                f"SELECT {_listed(child, targets[r.child])} FROM"
                f" pg_catalog.unnest($1::{kind}[]) i (id) JOIN {child.source} r"
                f" ON r.{child.column(r.columns[0]).sql} OPERATOR(pg_catalog.=) i.id"
                f" WHERE ({held(r, child, 'r')}) IS NOT NULL"
            )
            listed = array(some)
            if _is_large(child, len(some)):
                session.set_local(BY_ID)
                if not indexes_read(session, query, [listed]):
                    continue
            else:
                session.set_local(BY_HEAP)
            for one, values in fresh(r.child, session.rows(query, [listed])).items():
                waiting[one] = waiting.get(one, set()) | values
    for one, values in known.items():
        ids.setdefault(one, set()).update(values)


def _listed(relation: Relation, columns: Mapping[str, str]) -> str:
    """Write the ids of a row ``r`` as texts, in the form in which they are compared."""
    return ", ".join(
        f"r.{relation.column(name).sql}::{kind}::pg_catalog.text" for name, kind in columns.items()
    )


def _indexes_that_agree(
    session: Session, child: Relation, wanted: Mapping[str, _Ids]
) -> dict[str, str]:
    """Return the index of each column that finds just the rows that the heap holds."""
    sums = (
        "pg_catalog.count(*){0}, coalesce(pg_catalog.sum("
        "pg_catalog.hashtidextended(c.ctid, 0)){0}, 0)::pg_catalog.text"
    )
    found: dict[str, str] = {}
    told: list[object] = []
    listed: list[str] = []
    tests: list[str] = []
    with session.transaction(repeatable=True, settings=BY_ID):
        led = _led_by(session, child)
        for name, some in wanted.items():
            column, kind, ids = child.column(name).sql, some.kind, array(some.ids)
            query = (
                f"SELECT {sums.format('')} FROM pg_catalog.unnest($1::{kind}[]) i (id)"
                f" JOIN {child.source} c ON c.{column} OPERATOR(pg_catalog.=) i.id"
            )
            used = indexes_read(session, query, [ids]) or ()
            if len(used) != 1 or not led.get(name, frozenset()).issuperset(used):
                continue
            (found[name],) = used
            told += session.row(query, [ids])
            listed.append(ids)
            tests.append(
                f"(c.{column}::{kind} OPERATOR(pg_catalog.=) ANY (${len(listed)}::{kind}[]))"
            )
        if not found:
            return {}
        session.set_local(BY_HEAP)
        filtered = ", ".join(sums.format(f" FILTER (WHERE {test})") for test in tests)
        held_by_heap = session.row(
            f"SELECT {filtered} FROM {child.source} c WHERE {' OR '.join(tests)}", listed
        )
    return {
        name: index
        for number, (name, index) in enumerate(found.items())
        if tuple(told[2 * number : 2 * number + 2]) == held_by_heap[2 * number : 2 * number + 2]
    }


def _led_by(session: Session, child: Relation) -> dict[str, frozenset[str]]:
    """Return the names of the btree indexes that begin with each column."""
    return {
        column: frozenset(names)
        for column, names in session.rows(
            "SELECT a.attname, pg_catalog.array_agg(x.relname) FROM pg_catalog.pg_index i"
            " JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid"
            " JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'"
            " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " WHERE i.indrelid = $1::oid AND i.indisvalid GROUP BY a.attname",
            [child.oid],
        )
    }
