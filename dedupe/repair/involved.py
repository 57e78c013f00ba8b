"""Ids of the rows in a plan's groups and of what may go with them, level by level.

Rows of children are looked up by indexes that nobody has proved: what such an index leaves out is
left out here. Tables that are quicker to read are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from ..errors import DedupeError, PermissionDenied, QueryFailed
from ..plan import Plan
from ..references import References
from ..relation import Relation
from ..scan.explain import indexes_by_alias
from ..session import Session
from ..surroundings import Reference
from .pointing import array, held, holding, id_type
from .searching import BY_HEAP, BY_ID

#: oid of a table and one of its columns
Column = tuple[int, str]
_CANCELED = "57014"
#: of a heap, what takes as long to read as an id to look up in a cached index
_BYTES_AN_ID = 2048


def is_large(relation: Relation, ids: int) -> bool:
    """Tell whether looking some ids up in an index takes less time than reading the heap."""
    return not relation.partitioned and ids * _BYTES_AN_ID < relation.bytes


def may_be_left_out(error: DedupeError) -> bool:
    """Tell whether what the server refused is one table or index, and not the whole work."""
    refused = isinstance(error, QueryFailed | PermissionDenied)
    return refused and error.facts.get("sqlstate") != _CANCELED


def involved_ids(
    session: Session,
    plans: Sequence[tuple[Plan, Sequence[References]]],
    most: int,
    check_stop: Callable[[], None],
) -> dict[Column, frozenset[str]]:
    """Return the ids of the rows that plans may touch, as texts, by the column referenced.

    Each plan comes with the references of its policies. Plain ids alone: integers and uuids;
    partitioned tables are left out, and plans of more than ``most`` rows, or of so many that all
    their children are quicker to read. Nothing where there are more than ``most`` ids in all, and
    what unproved indexes do not show is not there.
    ``check_stop`` may raise between two statements. Raises PlanError and what the driver raises,
    translated.
    """
    found: dict[Column, set[str]] = {}
    for plan, pointing in plans:
        rows = (place for _, _, some in plan.run.addresses(plan.key) for _, place, _ in some)
        places = list(islice(rows, most + 1))
        if len(places) > most or not _pays(pointing, len(places)):
            continue
        for references in pointing:
            following = _Following(session, references, most, check_stop)
            try:
                with session.transaction():
                    known = following.follow(places)
            except DedupeError as error:
                if not may_be_left_out(error):
                    raise
                continue
            for column, ids in known.items():
                found.setdefault(column, set()).update(ids)
            if sum(map(len, found.values())) > most:
                return {}
    return {column: frozenset(ids) for column, ids in found.items()}


def _pays(pointing: Sequence[References], ids: int) -> bool:
    """Tell whether a child of some references is slower to read than so many ids to look up."""
    return any(is_large(one.relations[r.child], ids) for one in pointing for r in one.references)


class _Following:
    """One policy's references, followed from the rows of its groups."""

    def __init__(
        self,
        session: Session,
        references: References,
        most: int,
        check_stop: Callable[[], None],
    ) -> None:
        self._check_stop = check_stop
        self._session = session
        self._references = references
        self._most = most
        #: of each table that may lose rows, the columns that are referenced and their types
        self._targets = {
            table: {
                r.parent_columns[0]: kind
                for r in references.to(table)
                if (kind := id_type(r, references.relations)) is not None
            }
            for table in references.losable
            if not references.relations[table].partitioned
        }
        self._known: dict[Column, set[str]] = {}

    def follow(self, places: Sequence[str]) -> Mapping[Column, set[str]]:
        """Return the ids of the rows at some places of the root, and of all that follows them."""
        root = self._references.relations[self._references.root]
        if not self._targets.get(root.oid) or not places:
            return {}
        waiting = self._fresh(
            root.oid,
            self._session.rows(
                f"SELECT {self._listed(root)} FROM {root.source} r"
                " WHERE r.ctid = ANY ($1::pg_catalog.text[]::pg_catalog.tid[])",
                [places],
            ),
        )
        while waiting and self._room():
            parent, column = target = next(iter(waiting))
            ids = waiting.pop(target)
            for r in self._references.to(parent):
                kind = id_type(r, self._references.relations)
                if kind is None or r.parent_columns[0] != column or not self._targets.get(r.child):
                    continue
                for one, new in self._fresh(r.child, self._follow_one(r, kind, ids)).items():
                    waiting[one] = waiting.get(one, set()) | new
        return self._known

    def _room(self) -> int:
        """Return how many more ids may be found."""
        return max(0, self._most + 1 - sum(map(len, self._known.values())))

    def _follow_one(
        self, r: Reference, kind: str, ids: set[str]
    ) -> list[tuple[str | None, ...]]:
        """Return the ids of child rows that point at some ids, as many as there is room for.

        By an index where that is quicker; of a large table without one, nothing.
        """
        self._check_stop()
        child = self._references.relations[r.child]
        query = (
            f"SELECT {self._listed(child)} FROM {holding(child, r.columns[0], kind, 1, 'r')}"
            f" WHERE ({held(r, child, 'r')}) IS NOT NULL"
            " LIMIT $2::int8"
        )
        params = [array(ids), self._room()]
        if is_large(child, len(ids)):
            self._session.set_local(BY_ID)
            if not indexes_by_alias(self._session, query, params).get("r"):
                return []
        else:
            self._session.set_local(BY_HEAP)
        return self._session.rows(query, params)

    def _fresh(
        self, table: int, rows: Iterable[tuple[str | None, ...]]
    ) -> dict[Column, set[str]]:
        """Note the ids of rows; return those that were not known, where there are such."""
        new: dict[Column, set[str]] = {}
        columns = [(table, name) for name in self._targets[table]]
        for row in rows:
            for column, value in zip(columns, row, strict=True):
                known = self._known.setdefault(column, set())
                if value is not None and value not in known:
                    known.add(value)
                    new.setdefault(column, set()).add(value)
        return new

    def _listed(self, relation: Relation) -> str:
        """Write the ids of a row ``r`` as texts, in the form in which they are compared."""
        return ", ".join(
            f"r.{relation.column(name).sql}::{kind}::pg_catalog.text"
            for name, kind in self._targets[relation.oid].items()
        )
