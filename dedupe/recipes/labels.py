"""Indexes by schema and name, as errors and the journal write them."""

from __future__ import annotations

from ..repair.uniqueindex import is_set_aside
from ..session import Session


def label_of(session: Session, index_oid: int) -> str:
    """Return schema and name of an index."""
    (label,) = session.row(
        "SELECT n.nspname || '.' || x.relname FROM pg_catalog.pg_class x"
        " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace WHERE x.oid = $1::oid",
        [index_oid],
    )
    return str(label)


def storage(session: Session, label: str) -> int | None:
    """Return the number of the file of an index, of partitions the newest; None: it is not there.

    The server counts them up, so that what was built later has a greater one, but for a wrap
    after four thousand million.
    """
    (found,) = session.row(
        "SELECT max(pg_catalog.pg_relation_filenode(coalesce(p.relid, x.oid::pg_catalog.regclass))"
        "::int8) FROM pg_catalog.pg_class x"
        " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
        " LEFT JOIN LATERAL pg_catalog.pg_partition_tree(x.oid::pg_catalog.regclass) p ON true"
        " WHERE n.nspname || '.' || x.relname = $1::text"
        " AND x.relkind::text = ANY ('{i,I}')",
        [label],
    )
    return None if found is None else int(found)


def is_built(session: Session, label: str | None, then: object) -> bool:
    """Tell whether an index was built ``then``, by its ``storage``, or later; or is not there."""
    now = None if label is None else storage(session, label)
    return now is None or (isinstance(then, int) and now >= then)


def labelled(session: Session, label: str) -> list[tuple[int, int, str | None]]:
    """Return index, table and comment."""
    return [
        (index, table, comment)
        for index, table, comment in session.rows(
            "SELECT x.oid::int8, i.indrelid::int8, pg_catalog.obj_description(x.oid, 'pg_class')"
            " FROM pg_catalog.pg_class x JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
            " WHERE n.nspname || '.' || x.relname = $1::text"
            " AND x.relkind::text = ANY ('{i,I}')",
            [label],
        )
    ]


def let_in(session: Session, label: str | None) -> tuple[str, ...]:
    """Say of an index that is plain until its key is repaired that it keeps nothing out."""
    found = labelled(session, label) if label is not None else ()
    if not any(is_set_aside(comment) for *_, comment in found):
        return ()
    told = f"the index {label} is a plain one until all duplicates of its key are repaired"
    return (f"{told}: until then nothing keeps new ones out, so keep the application away",)
