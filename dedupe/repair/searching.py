"""How a batch finds rows that point at its losers, and rows that moved ones collide with.

By indexes that were proved or built before: each batch takes what it needs, and many short
batches are cheap. Or by the heap: each child is read once for each of its references and
unique keys, whatever the number of losers, and no index has to be proved at all. See
docs/decisions/helper-indexes.md.

Source: https://www.postgresql.org/docs/current/sql-select.html#SQL-FOR-UPDATE-SHARE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..key import ResolvedKey
from ..relation import ChildKey, Relation
from ..surroundings import Reference
from .pointing import LOSER, MOVE, at, elements_match, matches

_BY_INDEX: Mapping[str, str] = {
    "enable_indexscan": "on", "enable_indexonlyscan": "on", "enable_bitmapscan": "on",
}
#: Reach rows by address and by proved indexes, whatever the planner thinks of the sizes.
BY_ADDRESS: Mapping[str, str] = {
    **_BY_INDEX,
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
}
#: Reach the rows of the batch by address, and join what is known of them by hash.
BY_HASH: Mapping[str, str] = {
    **_BY_INDEX,
    "enable_seqscan": "off", "enable_hashjoin": "on", "enable_mergejoin": "off",
}
#: For a key whose own index is not trusted: read the heap.
BY_HEAP: Mapping[str, str] = {
    "enable_seqscan": "on", "enable_hashjoin": "on", "enable_mergejoin": "off",
    "enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off",
}

NOT_LOST = (
    "NOT EXISTS (SELECT FROM pg_temp.pgmend_loser x WHERE x.relid = {0}.relid"
    " AND x.place = {0}.place)"
)
_NOT_MOVED = (
    "NOT EXISTS (SELECT FROM pg_temp.pgmend_move x WHERE x.relid = {0}.relid"
    " AND x.place = {0}.place)"
)


class Search(Protocol):
    """A way to find rows of children; its SQL stands in the statements of a batch."""

    #: statements that a batch runs whenever its temporary tables have been filled
    refresh: Sequence[str]

    def to_move(self, reference: Reference) -> Mapping[str, str]:
        """Return the planner settings for ``pointing``."""

    def to_collide(self, unique: ChildKey) -> Mapping[str, str]:
        """Return the planner settings for ``colliding``."""

    def pointing(self, reference: Reference, parent: Relation, child: Relation, of: str) -> str:
        """Write the WITH parts of ``f``: rows that point at losers of level $1, locked.

        ``of`` is a condition about the losers ``l``. Columns: relid, place, parent_relid,
        parent, grp.
        """

    def colliding(
        self, child: Relation, unique: ChildKey, columns: str, names: Sequence[str]
    ) -> str:
        """Write the WITH parts of ``e``: rows equal to the moved ones ``m``, locked.

        Rows that are moved or go themselves are left out. ``columns`` writes what the rows
        are to have, the key's columns (``k0``, …) before others, and ``names`` names it.
        Columns: relid, place, grp, and those.
        """


class ByIndex:
    """By indexes that are proved, but the heap where only the index under repair would do."""

    refresh: Sequence[str] = ()

    def __init__(
        self, root: int, untrusted: int | None, untrusted_columns: frozenset[str]
    ) -> None:
        """``untrusted`` is the index of the table ``root`` that is being repaired."""
        self._root = root
        self._untrusted = untrusted
        self._untrusted_columns = untrusted_columns

    def to_move(self, reference: Reference) -> Mapping[str, str]:
        """Return the planner settings for ``pointing``."""
        if reference.child == self._root and self._untrusted_columns.intersection(
            reference.columns
        ):
            return BY_HEAP
        return BY_ADDRESS

    def to_collide(self, unique: ChildKey) -> Mapping[str, str]:
        """Return the planner settings for ``colliding``."""
        if unique.key.index_oid == self._untrusted or not unique.key.nulls_distinct:
            return BY_HEAP
        return BY_HASH

    def pointing(self, reference: Reference, parent: Relation, child: Relation, of: str) -> str:
        """Write the WITH parts of ``f``; see ``Search``."""
        return (
            "f AS MATERIALIZED (SELECT c.tableoid AS relid, c.ctid AS place,"
            f" l.relid AS parent_relid, l.place AS parent, l.grp FROM {LOSER} l"
            f" JOIN {parent.source} p ON {at('p', parent, 'l.relid', 'l.place')}"
            f" JOIN {child.source} c ON {matches(reference, parent, child, 'p', 'c')}"
            f" WHERE l.level = $1::int4 AND {of} FOR UPDATE OF c)"
        )

    def colliding(
        self, child: Relation, unique: ChildKey, columns: str, names: Sequence[str]
    ) -> str:
        """Write the WITH parts of ``e``; see ``Search``."""
        key = unique.key
        tests = [f"({key.where}\n) IS TRUE"] if key.where is not None else []
        for column, name in zip(key.columns, names, strict=False):
            left, right = column.compared(column.expression), column.compared(f"m.{name}")
            test = f"{left} {column.equality} {right}"
            if not key.nulls_distinct:
                both = f"{column.is_null(column.expression)} AND {column.is_null(f'm.{name}')}"
                test = f"({test} OR ({both}))"
            tests.append(test)
        listed = ", ".join(f"e.{name}" for name in names)
        return (
            "e AS MATERIALIZED (SELECT DISTINCT ON (e.relid, e.place) e.relid, e.place, m.grp,"
            f" {listed} FROM m CROSS JOIN LATERAL (SELECT tableoid AS relid, ctid AS place,"
            f" {columns} FROM {child.source} WHERE {' AND '.join(tests)} FOR UPDATE) e"
            f" WHERE {_NOT_MOVED.format('e')} AND {NOT_LOST.format('e')})"
        )


class ByHeap:
    """By reading the heap of each child once, joined by hash with all that is looked for."""

    #: Nobody else analyzes temporary tables, and what is taken for small is not hashed.
    refresh: Sequence[str] = (f"ANALYZE {LOSER}", f"ANALYZE {MOVE}")

    def to_move(self, _reference: Reference) -> Mapping[str, str]:
        """Return the planner settings for ``pointing``."""
        return BY_HEAP

    def to_collide(self, _unique: ChildKey) -> Mapping[str, str]:
        """Return the planner settings for ``colliding``."""
        return BY_HEAP

    def pointing(self, reference: Reference, parent: Relation, child: Relation, of: str) -> str:
        """Write the WITH parts of ``f``; see ``Search``."""
        mine = "l.relid AS parent_relid, l.place AS parent, l.grp"
        losers = (
            f"{LOSER} l JOIN {parent.source} p ON {at('p', parent, 'l.relid', 'l.place')}"
        )
        where = f"WHERE l.level = $1::int4 AND {of}"
        if reference.soft is None or reference.soft.kind != "array":
            return (
                f"f AS MATERIALIZED (SELECT c.tableoid AS relid, c.ctid AS place, {mine}"
                f" FROM {losers} JOIN {child.source} c ON"
                f" {matches(reference, parent, child, 'p', 'c')} {where} FOR UPDATE OF c)"
            )
        # An element has no row that could be locked, and may stand in an array twice.
        column = child.column(reference.columns[0])
        return (
            f"w AS MATERIALIZED (SELECT DISTINCT u.relid, u.place, {mine} FROM {losers} JOIN"
            f" (SELECT y.tableoid AS relid, y.ctid AS place, e.value FROM {child.source} y"
            f" CROSS JOIN LATERAL pg_catalog.unnest(y.{column.sql}) e (value)) u"
            f" ON {elements_match(reference, parent, child, 'p', 'u.value')} {where}),"
            " f AS MATERIALIZED (SELECT c.tableoid AS relid, c.ctid AS place, w.parent_relid,"
            f" w.parent, w.grp FROM w JOIN {child.source} c ON"
            f" {at('c', child, 'w.relid', 'w.place')} FOR UPDATE OF c)"
        )

    def colliding(
        self, child: Relation, unique: ChildKey, columns: str, names: Sequence[str]
    ) -> str:
        """Write the WITH parts of ``e``; see ``Search``."""
        key = unique.key
        names_of_key = names[: len(key.columns)]
        mine, theirs = ([f"{alias}.{name}" for name in names_of_key] for alias in ("m", "t"))
        where = f" WHERE ({key.where}\n) IS TRUE" if key.where is not None else ""
        listed = ", ".join(f"e.{name}" for name in names)
        return (
            "y AS MATERIALIZED (SELECT DISTINCT ON (t.relid, t.place) t.relid, t.place, m.grp"
            f" FROM m JOIN (SELECT tableoid AS relid, ctid AS place, {columns}"
            f" FROM {child.source}{where}) t ON {_joined(key, theirs, mine)}"
            f" WHERE {_NOT_MOVED.format('t')} AND {NOT_LOST.format('t')}),"
            f" e AS MATERIALIZED (SELECT e.relid, e.place, y.grp, {listed} FROM y"
            " CROSS JOIN LATERAL (SELECT tableoid AS relid, ctid AS place,"
            f" {columns} FROM {child.source} WHERE ctid = y.place AND tableoid = y.relid"
            " FOR UPDATE) e)"
        )


def _joined(key: ResolvedKey, left: Sequence[str], right: Sequence[str]) -> str:
    """Write the equality of two keys so that a hash join can go by it.

    Where NULLs are equal no operator says so, and the digest does.
    """
    if key.nulls_distinct:
        return " AND ".join(
            f"{column.compared(one)} {column.equality} {column.compared(other)}"
            for column, one, other in zip(key.columns, left, right, strict=True)
        )
    same = f"{key.digest(left)} OPERATOR(pg_catalog.=) {key.digest(right)}"
    return f"{same} AND {key.equal(left, right)}"
