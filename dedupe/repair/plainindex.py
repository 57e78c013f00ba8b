"""A unique index made a plain one, so that an undo can bring the duplicates back.

The plain one is built beside it under a temporary name, which holds the old index's
oid; its comment holds what is still to be done. So a call that was cut off at any
point is finished by the next one.

Sources: https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY,
https://www.postgresql.org/docs/current/sql-dropindex.html,
https://www.postgresql.org/docs/current/sql-alterindex.html
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Sequence
from typing import Any

import psycopg

from ..errors import QueryFailed, UndoRefused
from ..key.catalog import qualified
from ..session import Session
from ..table import quoted
from ..writer import Writer
from .beside import (
    IndexShape,
    Tell,
    build_beside,
    comment_on,
    commented,
    describe_index,
    in_one_transaction,
)
from .hangers import Hanger, hangers

_MARK = "pgmend.make_plain"
_DEPENDED_ON = "2BP01"


def restoring(session: Session, index_oid: int) -> tuple[str, ...]:
    """Return the statements that make the index, once plain, what it is now.

    Unique, with its constraint, the foreign keys that refer to it, replica identity,
    CLUSTER mark, tablespace, statistics targets and comments. To be asked for, and
    journaled, before ``make_plain``. Reads the catalogs only. Of a partitioned index the
    partitions' own options are not among it. Raises UnknownObject.
    """
    found = hangers(session, index_oid)
    index = describe_index(session, index_oid)
    if index is None:
        return ()
    keys = [h for h in found if h.kind in {"primary key", "unique constraint"}]
    statements = [f"DROP INDEX {index.sql}"]
    if not (index.partitioned and keys):
        statements += index.made_unique
    statements += [h.definition for h in keys]
    statements += index.dress
    for kind in ("replica identity", "foreign key"):
        statements += [h.definition for h in found if h.kind == kind]
    return tuple(statements)


def make_plain(
    writer: Writer,
    index_oid: int,
    drop: Collection[str],
    tell: Tell,
    *,
    remark: str | None = None,
) -> tuple[str, ...]:
    """Replace a unique index by a plain one of the same definition and name.

    Columns, expressions, operator classes, collations, INCLUDE, predicate, tablespace,
    storage options, statistics targets, CLUSTER mark and comment are kept. What hangs on
    the index must be named in ``drop`` (a CLUSTER mark need not): it is dropped, foreign
    keys first, in the transaction that swaps the indexes. Returns the statements that
    restore all of it.

    Nobody is blocked while the plain index is built. With nothing to drop, nor while the
    unique one goes (DROP INDEX CONCURRENTLY); else under a short ACCESS EXCLUSIVE lock on
    the tables, tried again for some time. A partitioned index, which PostgreSQL cannot
    build concurrently, is replaced in one transaction that locks the table and all its
    partitions for as long as the build takes. ``remark``, a literal, becomes the plain
    one's comment in place of the old one's; not where the index is partitioned.

    No transaction may be open. Given again after a kill it goes on from where it was; an
    index that is plain already, or whose replacement was finished, is left, and nothing
    is returned: so ``restoring`` is asked first. Where the unique one is gone and its name is
    taken (REINDEX CONCURRENTLY gives another oid), what was built is dropped. Raises
    UndoRefused where something hangs on it that was not named or cannot be dropped,
    LockNotAvailable, PermissionDenied, and what a build raises; the unique index is in place
    then. After LockNotAvailable the plain one waits beside it for the next call.
    """
    temporary = f"pgmend_plain_{index_oid}"
    begun = _begun(writer, temporary)
    index = describe_index(writer, index_oid)
    if index is None:
        return () if begun is None else _finished(writer, begun, tell)
    if not index.unique:
        return ()
    found = hangers(writer, index_oid)
    _refuse(index, found, drop)
    statements = restoring(writer, index_oid)
    must_go = [h for h in found if h.must_go]
    if index.partitioned:
        _replace_tree(writer, index, must_go, tell)
        return statements
    build_beside(writer, index, temporary, "INDEX", tell)
    dress = index.dress if remark is None else (*index.options, commented(index.sql, remark))
    todo = {"what": _MARK, "name": index.name, "dress": dress, "restore": statements}
    with writer.writing():
        comment_on(writer, qualified(index.schema, temporary), json.dumps(todo))
    if not must_go:
        writer.alone(f"DROP INDEX CONCURRENTLY {index.sql}")
    try:
        _swap(writer, index.schema, temporary, todo, [h.drop for h in must_go])
    except UndoRefused:
        writer.alone(f"DROP INDEX CONCURRENTLY {qualified(index.schema, temporary)}")
        raise
    _told(tell, index.label, must_go)
    return statements


def check_drops(session: Session, index_oid: int, drop: Collection[str]) -> None:
    """Raise UndoRefused unless all that hangs on an index was named and can be dropped."""
    index = describe_index(session, index_oid)
    if index is not None:
        _refuse(index, hangers(session, index_oid), drop)


def _refuse(index: IndexShape, found: Sequence[Hanger], drop: Collection[str]) -> None:
    """Raise UndoRefused unless all that hangs on the index was named and can be dropped."""
    reasons = [
        f"{h.kind} {h.name} of {h.table}"
        for h in found
        if h.kind == "partition parent" or (h.must_go and h.name not in drop)
    ]
    if not reasons:
        return
    names = dict.fromkeys(h.name for h in found if h.drop and h.kind != "cluster")
    options = " ".join(f"--drop-constraint {shlex.quote(name)}" for name in names)
    hint = f"Give {options} (SQL to restore them is printed), or --side-table"
    if any(h.kind == "partition parent" for h in found):
        hint = "Undo it with the partitioned table's index, which this one is a part of, or give"
        hint += " --side-table"
    raise UndoRefused(
        f"the duplicates cannot come back under the unique index {index.label}; on it"
        f" {'hang' if len(reasons) > 1 else 'hangs'}: {'; '.join(reasons)}",
        hint=f"{hint}: then the rows come back into a table of their own.",
        reasons=tuple(reasons),
        index=index.label,
    )


def _begun(session: Session, temporary: str) -> tuple[str, str, dict[str, Any]] | None:
    """Return schema, name and what is to be done of a plain index that waits for its name."""
    for schema, comment in session.rows(
        "SELECT n.nspname, pg_catalog.obj_description(x.oid, 'pg_class')"
        " FROM pg_catalog.pg_class x JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
        " WHERE x.relname = $1 AND i.indisvalid AND NOT i.indisunique",
        [temporary],
    ):
        try:
            todo = json.loads(comment or "")
        except ValueError:
            continue
        if isinstance(todo, dict) and todo.get("what") == _MARK:
            return schema, temporary, todo
    return None


def finish_plain(writer: Writer, tell: Tell) -> bool:
    """Give every plain index whose unique one is gone its name, or drop it; see ``make_plain``.

    Only those that a call left which was cut off; returns whether there were any. No
    transaction may be open.
    """
    found = False
    for (name,) in writer.rows(
        "SELECT x.relname FROM pg_catalog.pg_class x WHERE x.relkind = 'i'"
        " AND x.relname ~ '^pgmend_plain_[0-9]+$' AND NOT EXISTS (SELECT FROM"
        " pg_catalog.pg_index i WHERE i.indexrelid::text = pg_catalog.substr(x.relname, 14))"
    ):
        begun = _begun(writer, name)
        if begun is not None:
            _finished(writer, begun, tell)
            found = True
    return found


def _finished(
    writer: Writer, begun: tuple[str, str, dict[str, Any]], tell: Tell
) -> tuple[str, ...]:
    schema, temporary, todo = begun
    if writer.rows(
        "SELECT 1 FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1::text AND c.relname = $2::text",
        [schema, todo["name"]],
    ):
        # The unique one was built anew, or somebody made another one.
        writer.alone(f"DROP INDEX CONCURRENTLY {qualified(schema, temporary)}")
        tell(f"{schema}.{todo['name']} is there: the plain index that was to be it is dropped")
        return ()
    _swap(writer, schema, temporary, todo, [])
    _told(tell, f"{schema}.{todo['name']}", [])
    return tuple(todo["restore"])


def _swap(
    writer: Writer, schema: str, temporary: str, todo: dict[str, Any], drops: Sequence[str]
) -> None:
    """Drop what hangs on the unique index and with it that one; give its name to the plain one."""
    ident, final = qualified(schema, temporary), qualified(schema, todo["name"])

    def swap() -> None:
        for statement in drops:
            writer.rows(statement)
        if drops:
            # Gone with its constraint, but for one that was a replica identity only.
            writer.rows(f"DROP INDEX IF EXISTS {final}")
        writer.rows(f"ALTER INDEX {ident} RENAME TO {quoted(todo['name'])}")
        comment_on(writer, final, None)
        for statement in todo["dress"]:
            writer.rows(statement)

    _in_place(writer, swap)


def _replace_tree(
    writer: Writer, index: IndexShape, must_go: Sequence[Hanger], tell: Tell
) -> None:
    """Replace a partitioned index and its partitions' in one transaction."""

    def swap() -> None:
        tree = [
            (describe_index(writer, oid), above)
            for oid, above in writer.rows(
                "SELECT relid::pg_catalog.oid::int8, parentrelid::pg_catalog.oid::int8"
                " FROM pg_catalog.pg_partition_tree($1::oid::pg_catalog.regclass)"
                " ORDER BY level, 1",
                [index.oid],
            )
        ]
        for hanger in must_go:
            writer.rows(hanger.drop)
        writer.rows(f"DROP INDEX IF EXISTS {index.sql}")
        # One by one and attached: CREATE INDEX on the parent would take plain indexes of
        # the user's own into it, and they would be dropped with it some day.
        made: dict[int, IndexShape] = {}
        for member, above in tree:
            if member is None:
                continue
            writer.set_local({"default_tablespace": member.tablespace})
            writer.rows(member.create(member.name, "INDEX"))
            made[member.oid] = member
            if above in made:
                writer.rows(f"ALTER INDEX {made[above].sql} ATTACH PARTITION {member.sql}")
            for statement in member.dress:
                writer.rows(statement)

    tell(f"replaces the partitioned index {index.label}: its table is locked while it is built")
    _in_place(writer, swap)
    _told(tell, index.label, must_go)


def _in_place(writer: Writer, swap: Callable[[], None]) -> None:
    """Swap in one transaction; raises UndoRefused for what depends on what is dropped."""
    try:
        in_one_transaction(writer, swap)
    except QueryFailed as error:
        if error.facts.get("sqlstate") != _DEPENDED_ON:
            raise
        cause = error.__cause__
        detail = cause.diag.message_detail if isinstance(cause, psycopg.Error) else None
        raise UndoRefused(
            f"something else depends on what would be dropped: {detail or error.message}",
            hint="Drop that first, or give --side-table.",
            reasons=(detail or error.message,),
        ) from error


def _told(tell: Tell, label: str, gone: Sequence[Hanger]) -> None:
    also = (
        f"; dropped: {', '.join(f'{h.kind} {h.name} of {h.table}' for h in gone)}" if gone else ""
    )
    tell(f"{label} is a plain index now, and ON CONFLICT no longer finds it{also}")
