"""Indexes by schema and name, as errors and the journal write them."""

from __future__ import annotations

from ..session import Session


def comment_of(session: Session, label: str) -> str | None:
    """Return the comment of an index, by schema and name."""
    return next((comment for *_, comment in labelled(session, label)), None)


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
