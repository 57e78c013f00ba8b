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
from ..plan import Plan
from ..references import References
from ..relation import Relation
from ..scan.explain import indexes_read
from ..session import Session
from ..surroundings import Reference
from .pointing import array, held, id_type
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

#: a table and the column of ids that is referenced
Target = tuple[int, str]
#: a child and its column of ids
Column = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Which ids were looked for, and by which indexes they can be."""

    #: ids of rows, as texts
    ids: Mapping[Target, frozenset[str]] = field(default_factory=dict)
    #: the name of the index that finds just the rows that hold one of these ids
    indexes: Mapping[Column, str] = field(default_factory=dict)

    def index_for(self, reference: Reference, ids: Iterable[str]) -> str | None:
        """Return the index by which rows can be found that point at some ids; None: the heap."""
        index = self.indexes.get((reference.child, reference.columns[0]))
        if index is None:
            return None
        known = self.ids[reference.parent, reference.parent_columns[0]]
        return index if known.issuperset(ids) else None


def take_survey(
    database: Database,
    plans: Sequence[tuple[Plan, Sequence[References]]],
    check_stop: Callable[[], None],
) -> Survey:
    """Survey what points at the rows of plans; each comes with the references of its policies.

    Columns of children that are quicker to read than their ids to look up are left out, and so
    are partitioned tables. Reads each other child once (two at a time) and the rows that hold one
    of the ids; ACCESS SHARE. Memory: the ids, at most 100,000. ``check_stop`` may raise between
    two children. Raises what the driver raises, translated; PlanError.
    """
    with database.open("pgmend survey") as session:
        ids = _all_ids(session, plans)
    if not ids:
        return Survey()
    columns: dict[int, dict[str, set[Target]]] = {}
    kinds: dict[Column, str] = {}
    relations: dict[int, Relation] = {}
    for _, pointing in plans:
        for references in pointing:
            for r in references.references:
                kind = id_type(r, references.relations)
                target = r.parent, r.parent_columns[0]
                if kind is None or target not in ids:
                    continue
                relations[r.child] = references.relations[r.child]
                kinds[r.child, r.columns[0]] = kind
                columns.setdefault(r.child, {}).setdefault(r.columns[0], set()).add(target)

    def surveyed(child: int) -> dict[Column, str]:
        check_stop()
        relation = relations[child]
        wanted = {
            column: (kinds[child, column], sorted({one for t in targets for one in ids[t]}))
            for column, targets in columns[child].items()
        }
        wanted = {c: one for c, one in wanted.items() if _is_large(relation, len(one[1]))}
        if not wanted:
            return {}
        with database.open("pgmend survey") as session:
            found = _indexes_that_agree(session, relation, wanted)
        return {(child, column): index for column, index in found.items()}

    indexes: dict[Column, str] = {}
    # The largest first, so that the last ones are short.
    children = sorted(columns, key=lambda child: -relations[child].bytes)
    with ThreadPoolExecutor(_SESSIONS) as pool:
        try:
            for found in [pool.submit(surveyed, child) for child in children]:
                indexes |= found.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Survey(ids={target: frozenset(some) for target, some in ids.items()}, indexes=indexes)


def _is_large(relation: Relation, ids: int) -> bool:
    """Tell whether looking some ids up in an index reads less than the heap does."""
    return not relation.partitioned and ids * _BYTES_AN_ID < relation.bytes


def _all_ids(
    session: Session, plans: Sequence[tuple[Plan, Sequence[References]]]
) -> dict[Target, set[str]]:
    """Collect the ids of the rows in groups, and of what may go with them; none: too many."""
    ids: dict[Target, set[str]] = {}
    for plan, pointing in plans:
        places = [
            place for _, _, rows in plan.run.addresses(plan.key) for _, place, _ in rows
        ] if plan.losers <= _MOST_IDS else []
        for references in pointing:
            with session.transaction():
                _follow(session, references, places, ids)
            if len(places) + sum(map(len, ids.values())) > _MOST_IDS:
                return {}
    return ids


def _follow(
    session: Session, references: References, places: list[str], ids: dict[Target, set[str]]
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
    known: dict[Target, set[str]] = {}

    def fresh(table: int, found: list[tuple[str, ...]]) -> dict[Target, set[str]]:
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
                if indexes_read(session, query, [listed]) is None:
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
    session: Session, child: Relation, wanted: Mapping[str, tuple[str, list[str]]]
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
        for name, (kind, ids) in wanted.items():
            column = child.column(name).sql
            query = (
                f"SELECT {sums.format('')} FROM pg_catalog.unnest($1::{kind}[]) i (id)"
                f" JOIN {child.source} c ON c.{column} OPERATOR(pg_catalog.=) i.id"
            )
            used = indexes_read(session, query, [array(ids)]) or ()
            if len(used) != 1 or not led.get(name, frozenset()).issuperset(used):
                continue
            (found[name],) = used
            told += session.row(query, [array(ids)])
            listed.append(array(ids))
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
