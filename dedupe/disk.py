"""What a repair takes of the server's disk, by the planner's own estimates.

Source: https://www.postgresql.org/docs/current/catalog-pg-class.html (reltuples, relpages)
"""

from __future__ import annotations

from .references import References
from .repair.helpers import finding_index
from .session import Session

#: bytes of a journal entry beside the values
_ENTRY = 200
#: bytes of an entry of a btree over one or two integers
_INDEX_ENTRY = 20


def disk_note(
    session: Session, references: References, losers: int, index: int | None
) -> str:
    """Say how much room the journal, the helper indexes and the rebuild take.

    Estimates, and no more than that: how many rows point at the losers is taken to be
    what it is on the average. How much is free the server does not tell.
    """
    root = references.relations[references.root]
    rows, width = _size(session, sorted(root.family))
    journal = losers * (width + _ENTRY)
    helpers = 0.0
    for r in references.references:
        if r.twin:
            continue
        child_rows, _ = _size(session, sorted(references.relations[r.child].family))
        journal += losers * (child_rows / max(rows, 1.0)) * 2 * _ENTRY
        if finding_index(session, r, references.relations[r.child]) is None:
            helpers += child_rows * _INDEX_ENTRY
    rebuild = 0.0
    if index is not None:
        (rebuild,) = session.row(
            "SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0)::float8"
            " FROM pg_catalog.pg_partition_tree($1::oid::regclass) t",
            [index],
        )
    return (
        f"the server needs about {_shown(journal)} for the journal, {_shown(helpers)} for"
        f" indexes that are dropped again, {_shown(rebuild)} while the index is rebuilt, and the"
        " log of all that"
    )


def _size(session: Session, oids: list[int]) -> tuple[float, float]:
    """Return rows, and bytes a row, as the planner believes them."""
    rows, size = session.row(
        "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::float8,"
        " coalesce(sum(pg_catalog.pg_relation_size(c.oid)), 0)::float8 FROM pg_catalog.pg_class c"
        " WHERE c.oid = ANY ($1::int8[]::oid[]) AND c.relkind = 'r'",
        [oids],
    )
    return rows, size / rows if rows else 100.0


def _shown(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else "less than 1 MB"
