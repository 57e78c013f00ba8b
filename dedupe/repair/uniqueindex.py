"""A plain index made a unique one, and a unique one made plain for a time.

While several keys of one table hold duplicates, the index of each refuses to let a row be
changed whose twin it knows. So the index that is in the way of another key's repair becomes
a plain one until its own key is repaired. Its comment says so, which outlasts every crash.

Sources: https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY,
https://www.postgresql.org/docs/current/sql-comment.html
"""

from __future__ import annotations

import json
from dataclasses import replace

from psycopg import sql

from ..session import Session
from ..table import quoted
from ..writer import Writer
from .beside import (
    IndexShape,
    Tell,
    build_beside,
    commented,
    describe_index,
    in_one_transaction,
)
from .hangers import hangers
from .plainindex import make_plain

_MARK = "pgmend.unique_again"
_NOTE = (
    "This index was unique. pgmend made it a plain one until its duplicates are repaired;"
    " the same pgmend command makes it unique again."
)


def set_aside(writer: Writer, index_oid: int, tell: Tell) -> bool:
    """Make a unique index a plain one until ``make_unique``; its comment says so.

    Returns whether it is plain now: not where a constraint, a foreign key or a partitioned
    table hangs on it. Locks and errors: those of ``make_plain``.
    """
    index = describe_index(writer, index_oid)
    if index is None or not index.unique:
        return True
    if index.partitioned or any(h.kind != "cluster" for h in hangers(writer, index_oid)):
        return False
    mark = {"what": _MARK, "note": _NOTE, "comment": index.comment}
    literal = sql.Literal(json.dumps(mark)).as_string(writer.connection)
    make_plain(writer, index_oid, (), tell, remark=literal)
    return True


def is_set_aside(comment: str | None) -> bool:
    """Tell by an index's comment whether ``set_aside`` made it plain."""
    return _mark(comment) is not None


def unique_again(session: Session, index_oid: int) -> tuple[str, ...]:
    """Return the statements that make an index unique that ``set_aside`` makes plain, or made so.

    None of an index that it leaves as it is. Reads the catalogs only.
    """
    index = describe_index(session, index_oid)
    if index is None or index.partitioned:
        return ()
    comment = index.comment
    if not index.unique:
        (text,) = session.row(f"SELECT {comment or 'NULL'}::text")
        mark = _mark(text)
        if mark is None:
            return ()
        comment = mark["comment"]
    elif any(h.kind != "cluster" for h in hangers(session, index_oid)):
        return ()
    dress = replace(index, comment=comment).dress
    return (f"DROP INDEX {index.sql}", *index.made_unique, *dress)


def make_unique(writer: Writer, index_oid: int, tell: Tell) -> None:
    """Replace a plain index by a unique one of the same definition and name.

    The unique one is built beside it, which blocks nobody; then they are swapped under a
    short ACCESS EXCLUSIVE lock on the index. No transaction may be open. What a call that
    was cut off has built is used by the next one. An index that is unique is left.

    Raises DuplicatesLeft where rows violate it, LockNotAvailable, PermissionDenied, and
    what a build raises; the plain index is in place then.
    """
    index = describe_index(writer, index_oid)
    if index is None or index.unique:
        return
    temporary = f"pgmend_unique_{index_oid}"
    build_beside(writer, index, temporary, "UNIQUE INDEX", tell)

    def swap() -> None:
        writer.rows(f"DROP INDEX {index.sql}")
        ident = f"{quoted(index.schema)}.{quoted(temporary)}"
        writer.rows(f"ALTER INDEX {ident} RENAME TO {quoted(index.name)}")
        _dress(writer, index)

    in_one_transaction(writer, swap)
    tell(f"{index.label} is unique")


def make_unique_closed(writer: Writer, index_oid: int) -> None:
    """Do the same in the running transaction, under locks that keep everyone out."""
    index = describe_index(writer, index_oid)
    if index is None or index.unique:
        return
    writer.rows(f"DROP INDEX {index.sql}")
    writer.set_local({"default_tablespace": index.tablespace})
    writer.rows(index.create(index.name, "UNIQUE INDEX"))
    _dress(writer, index)


def is_plain(session: Session, index_oid: int) -> bool:
    """Tell whether an index is not unique."""
    (unique,) = session.row(
        "SELECT indisunique FROM pg_catalog.pg_index WHERE indexrelid = $1::oid", [index_oid]
    )
    return not unique


def _dress(writer: Writer, index: IndexShape) -> None:
    for statement in index.options:
        writer.rows(statement)
    text = writer.row(f"SELECT {index.comment or 'NULL'}::text")[0]
    mark = _mark(text)
    comment = mark["comment"] if mark is not None else index.comment
    if comment is not None:
        writer.rows(commented(index.sql, comment))


def _mark(comment: str | None) -> dict[str, str | None] | None:
    try:
        mark = json.loads(comment or "")
    except ValueError:
        return None
    return mark if isinstance(mark, dict) and mark.get("what") == _MARK else None
