"""How a batch finds rows that point at its losers, and rows that moved ones collide with.

By indexes that were proved or built before: each batch takes what it needs, and many short
batches are cheap. See docs/decisions/helper-indexes.md. Or by the heap (``byheap``).

Source: https://www.postgresql.org/docs/current/sql-select.html#SQL-FOR-UPDATE-SHARE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..relation import ChildKey, Relation
from ..surroundings import Reference
from ..writer import Writer
from .pointing import LOSER, at, matches

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
_NO_INDEX: Mapping[str, str] = {
    "enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off",
}
#: For a key whose own index is not trusted: read the heap.
BY_HEAP: Mapping[str, str] = {
    **_NO_INDEX, "enable_seqscan": "on", "enable_hashjoin": "on", "enable_mergejoin": "off",
}
#: Reach rows by an index, one id after the other.
BY_ID: Mapping[str, str] = {
    **_BY_INDEX, "enable_indexonlyscan": "off",
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
}
#: Reach rows by address alone, and join what is known of them by hash.
BY_PLACE: Mapping[str, str] = {**BY_HEAP, "enable_seqscan": "off"}
#: Join whole tables, however few rows the planner expects of a condition.
WHOLE: Mapping[str, str] = {**BY_HEAP, "enable_nestloop": "off"}

NOT_LOST = (
    "NOT EXISTS (SELECT FROM pg_temp.pgmend_loser x WHERE x.relid = {0}.relid"
    " AND x.place = {0}.place)"
)
NOT_MOVED = (
    "NOT EXISTS (SELECT FROM pg_temp.pgmend_move x WHERE x.relid = {0}.relid"
    " AND x.place = {0}.place)"
)


class Search(Protocol):
    """A way to find rows of children; its SQL stands in the statements of a batch."""

    #: statements that a batch runs whenever its temporary tables have been filled
    refresh: Sequence[str]

    def look(self, writer: Writer, level: int, wanted: Sequence[Reference]) -> None:
        """Make ready for the statements about what points at losers of a level."""

    def may_find(self, reference: Reference) -> bool:
        """Tell whether rows may point at losers by a reference, after ``look``."""

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

    def look(self, _writer: Writer, _level: int, _wanted: Sequence[Reference]) -> None:
        """Do nothing: each statement looks for itself."""

    def may_find(self, _reference: Reference) -> bool:
        """Tell that a look at the index will say it."""
        return True

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
        return rows_by_join(reference, parent, child, of)

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
            f" WHERE {NOT_MOVED.format('e')} AND {NOT_LOST.format('e')})"
        )


def rows_by_join(reference: Reference, parent: Relation, child: Relation, of: str) -> str:
    """Write the WITH parts of ``f`` as a join of losers with the child; see ``Search``."""
    return (
        "f AS MATERIALIZED (SELECT c.tableoid AS relid, c.ctid AS place,"
        f" l.relid AS parent_relid, l.place AS parent, l.grp FROM {LOSER} l"
        f" JOIN {parent.source} p ON {at('p', parent, 'l.relid', 'l.place')}"
        f" JOIN {child.source} c ON {matches(reference, parent, child, 'p', 'c')}"
        f" WHERE l.level = $1::int4 AND {of} FOR UPDATE OF c)"
    )
