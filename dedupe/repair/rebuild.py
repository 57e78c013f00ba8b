"""The index endgame: what failed builds left is dropped, and the index is built anew.

REINDEX CONCURRENTLY is the one way in place that keeps constraint, foreign keys,
replica identity, clustering and comment. It gives the index a new oid and leaves an
invalid ``…_ccnew`` behind where it fails; DROP INDEX names one of those only.

Sources: https://www.postgresql.org/docs/current/sql-reindex.html#SQL-REINDEX-CONCURRENTLY,
https://www.postgresql.org/docs/current/sql-dropindex.html,
https://www.postgresql.org/docs/current/catalog-pg-index.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import psycopg

from ..errors import (
    DedupeError,
    DuplicatesLeft,
    QueryFailed,
    ServerUnavailable,
    UnknownObject,
)
from ..key.catalog import qualified
from ..session import Session
from ..writer import Writer

Tell = Callable[[str], None]

#: sqlstate of a row that a unique index refuses
DUPLICATES = "23505"
_NOT_THIS_WAY = {"0A000", "2BP01", "55000", "42809"}
_GONE = {"42704", "42P01"}
#: what the server says where the body of a function names something without its schema
NOT_FOUND = {"42883", "42P01", "42704", "3F000", "42703"}
_AGAIN = "The table is as it was. Mend the cause and give the same command again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """An invalid index that a failed concurrent build or swap left."""

    oid: int
    schema: str
    name: str
    #: a ready one refuses rows, though nothing reads it
    ready: bool


def leftovers(session: Session, table_oid: int) -> tuple[Leftover, ...]:
    """List the invalid ``…_ccnew`` and ``…_ccold`` of a table and its partitions, ready first.

    One that another session is building right now is none. Reads the catalogs.
    """
    return tuple(
        Leftover(oid=oid, schema=schema, name=name, ready=ready)
        for oid, schema, name, ready in session.rows(
            r"""
            SELECT c.oid::int8, n.nspname, c.relname, i.indisready
            FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
              AND (i.indrelid = $1::oid OR i.indrelid IN (
                   SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) t))
              AND NOT EXISTS (
                   SELECT FROM pg_catalog.pg_locks l
                   WHERE l.locktype = 'relation' AND l.relation = c.oid AND l.granted
                     AND l.mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock')
                     AND l.pid <> pg_catalog.pg_backend_pid()
                     AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                       WHERE d.datname = pg_catalog.current_database()))
            ORDER BY i.indisready DESC, n.nspname, c.relname
            """,
            [table_oid],
        )
    )


def drop_leftovers(writer: Writer, table_oid: int, tell: Tell) -> tuple[str, ...]:
    """Drop what ``leftovers`` lists, and return the qualified names.

    Without blocking anyone (DROP INDEX CONCURRENTLY, which waits for the transactions
    that use the table); under a short ACCESS EXCLUSIVE lock where PostgreSQL cannot do
    that. No transaction may be open. Raises LockNotAvailable, PermissionDenied, QueryFailed.
    """
    return _drop(writer, leftovers(writer, table_oid), tell)


def rebuild(writer: Writer, index_oid: int, tell: Tell, *, alone: bool = False) -> None:
    """Make an index valid and true: drop the leftovers of its table, then build it anew.

    By REINDEX INDEX CONCURRENTLY, which blocks no writer and keeps constraint, foreign
    keys, replica identity, clustering, comment and all options; every partition's index
    of a partitioned one, one after the other. An index of an exclusion constraint (a
    temporal key) is built under a lock that stops writers, and so is any where nobody else
    is connected (``alone``), which takes half the time. The oid may be another one
    afterwards. Waits for other transactions without a timeout (see ``blockers``).

    No transaction may be open. Raises DuplicatesLeft where rows violate the index, and
    otherwise what the server said, with the index named; either way what the attempt
    left is dropped, the table is as it was, and the call may be made again.
    """
    schema, name, table_oid, kind, exclusion = _identity(writer, index_oid)
    label, ident = f"{schema}.{name}", qualified(schema, name)
    # An invalid index that the user named is repaired under that name, whatever it ends in.
    _drop(writer, [o for o in leftovers(writer, table_oid) if o.oid != index_oid], tell)
    if exclusion:
        tell(f"the index {label} belongs to an exclusion constraint: its rebuild stops writers")
    statement = f"REINDEX INDEX {'' if exclusion or alone else 'CONCURRENTLY '}{ident}"
    try:
        build(writer, statement)
    except ServerUnavailable as error:
        # What is left is dropped by the next call: there is no session to do it in.
        raise build_failed(error, label) from error
    except DedupeError as error:
        clean = _cleaned(writer, table_oid, index_oid, tell)
        raise build_failed(error, label, clean) from error
    # An attempt under another search path may have failed before the one that did it.
    _drop(writer, leftovers(writer, table_oid), tell)
    if kind == "I":
        _attach(writer, schema, name)
    (valid,) = writer.row(
        "SELECT bool_and(i.indisvalid) FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = $2",
        [schema, name],
    )
    if not valid:
        raise QueryFailed(
            f"the index {label} was rebuilt and is still marked invalid",
            hint="A partition has no index attached to it (\\d+ shows which): create it,"
            " ALTER INDEX … ATTACH PARTITION, and give the same command again.",
            index=label,
        )


def blockers(session: Session, table_oid: int) -> tuple[str, ...]:
    """List what a concurrent build on a table would wait for, as sentences.

    Transactions of this database that hold a lock on the table or its partitions or an
    old snapshot, and prepared transactions that hold a lock. A role without
    pg_read_all_stats cannot see snapshots of others; then each transaction counts.
    """
    tree = (
        "WITH tree AS (SELECT $1::oid AS oid UNION SELECT t.relid"
        " FROM pg_catalog.pg_partition_tree($1::oid::regclass) t),"
        " here AS (SELECT d.oid FROM pg_catalog.pg_database d"
        " WHERE d.datname = pg_catalog.current_database()),"
        " held AS (SELECT l.pid, l.virtualtransaction FROM pg_catalog.pg_locks l, here, tree"
        " WHERE l.locktype = 'relation' AND l.database = here.oid AND l.relation = tree.oid"
        " AND l.granted) "
    )
    open_ones = session.rows(
        f"{tree}"
        """
        SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'unnamed'),
               pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS "UTC"')
        FROM pg_catalog.pg_stat_activity a, here
        WHERE a.datid = here.oid AND a.pid <> pg_catalog.pg_backend_pid()
          AND EXISTS (SELECT FROM pg_catalog.pg_locks v
                      WHERE v.pid = a.pid AND v.locktype = 'virtualxid' AND v.granted
                        AND v.mode = 'ExclusiveLock')
          AND (a.backend_xmin IS NOT NULL OR a.xact_start IS NULL
               OR a.pid IN (SELECT held.pid FROM held))
        ORDER BY a.xact_start, a.pid
        """,
        [table_oid],
    )
    prepared = session.rows(
        f"{tree}"
        """
        SELECT p.gid, p.owner,
               pg_catalog.to_char(p.prepared, 'YYYY-MM-DD HH24:MI:SS "UTC"')
        FROM pg_catalog.pg_prepared_xacts p
        WHERE p.database = pg_catalog.current_database()
          AND EXISTS (SELECT FROM held JOIN pg_catalog.pg_locks x
                        ON x.virtualtransaction = held.virtualtransaction
                      WHERE held.pid IS NULL AND x.pid IS NULL
                        AND x.locktype = 'transactionid' AND x.transactionid = p.transaction)
        ORDER BY p.prepared, p.gid
        """,
        [table_oid],
    )
    return tuple(
        f"a transaction of process {pid} ({application})"
        + (f", open since {since}" if since else ", of another role: since when is not shown")
        for pid, application, since in open_ones
    ) + tuple(
        f"the prepared transaction {gid} of {owner}, prepared at {since}"
        for gid, owner, since in prepared
    )


def collatable_siblings(session: Session, table_oid: int, index_oid: int) -> tuple[str, ...]:
    """List the other indexes of a table that are sorted by a collation that can change.

    What broke one index broke these too. Qualified, quoted names, ready for REINDEX;
    a partitioned index stands for its partitions'. Collations C and POSIX never change.
    """
    return tuple(
        qualified(schema, name)
        for schema, name in session.rows(
            """
            WITH tree AS (SELECT $1::oid AS oid UNION SELECT t.relid
                          FROM pg_catalog.pg_partition_tree($1::oid::regclass) t)
            SELECT n.nspname, c.relname
            FROM pg_catalog.pg_index i
            JOIN tree ON tree.oid = i.indrelid
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE i.indexrelid <> $2::oid AND (i.indisvalid OR c.relkind = 'I')
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h
                              JOIN pg_catalog.pg_index p ON p.indexrelid = h.inhparent
                              JOIN tree t ON t.oid = p.indrelid
                              WHERE h.inhrelid = i.indexrelid)
              AND EXISTS (
                  SELECT FROM pg_catalog.unnest(i.indcollation::oid[]) WITH ORDINALITY k (oid, n)
                  JOIN pg_catalog.pg_collation l ON l.oid = k.oid
                  CROSS JOIN pg_catalog.pg_database d
                  WHERE d.datname = pg_catalog.current_database() AND k.n <= i.indnkeyatts
                    -- Provider 'c' is the platform's library, 'b' the server itself; the
                    -- database's own came with 15, and through to_jsonb one statement
                    -- reads every version.
                    AND CASE coalesce(nullif(l.collprovider, 'd')::text,
                                      pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c')
                        WHEN 'b' THEN false WHEN 'c' THEN
                            CASE l.collprovider WHEN 'd' THEN d.datcollate
                                 ELSE l.collcollate END NOT IN ('C', 'POSIX')
                        ELSE true END)
            ORDER BY n.nspname, c.relname
            """,
            [table_oid, index_oid],
        )
    )


def _identity(session: Session, index_oid: int) -> tuple[str, str, int, str, bool]:
    rows = session.rows(
        "SELECT n.nspname, c.relname, i.indrelid::int8, c.relkind::text, i.indisexclusion"
        " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE i.indexrelid = $1::oid",
        [index_oid],
    )
    if not rows:
        raise UnknownObject(
            f"there is no index with the oid {index_oid}", kind="index", name=str(index_oid)
        )
    schema, name, table_oid, kind, exclusion = rows[0]
    return schema, name, table_oid, kind, exclusion


def build(writer: Writer, statement: str, *, sweep: str | None = None) -> None:
    """Build under the pinned search path, or where that does not do, under the role's.

    ``sweep`` drops what a failed first attempt left in the way of the second. No
    transaction may be open. Raises what the server says.
    """
    try:
        writer.alone(statement)
    except QueryFailed as error:
        if error.facts.get("sqlstate") not in NOT_FOUND or not writer.own_search_path:
            raise
        # A function of the key names something without its schema.
        if sweep is not None:
            writer.alone(sweep)
        with writer.own_path():
            writer.alone(statement)


def _attach(writer: Writer, schema: str, name: str) -> None:
    """Let a partitioned index that is marked invalid look at its partitions' again."""
    ident = qualified(schema, name)
    for child_schema, child in writer.rows(
        """
        SELECT cn.nspname, c.relname
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class p ON p.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
        JOIN pg_catalog.pg_inherits h ON h.inhparent = p.oid
        JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
        JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
        WHERE NOT i.indisvalid AND n.nspname = $1 AND p.relname = $2
        """,
        [schema, name],
    ):
        with writer.writing():
            writer.rows(f"ALTER INDEX {ident} ATTACH PARTITION {qualified(child_schema, child)}")


def _drop(writer: Writer, found: Sequence[Leftover], tell: Tell) -> tuple[str, ...]:
    dropped = []
    for left in found:
        label, ident = f"{left.schema}.{left.name}", qualified(left.schema, left.name)
        try:
            try:
                writer.alone(f"DROP INDEX CONCURRENTLY {ident}")
            except QueryFailed as error:
                if error.facts.get("sqlstate") not in _NOT_THIS_WAY:
                    raise
                with writer.writing():
                    writer.rows(f"DROP INDEX {ident}")
        except DedupeError as error:
            if error.facts.get("sqlstate") in _GONE:
                # The session that was building it has finished or dropped it.
                continue
            raise
        tell(f"dropped {label}, which a failed build had left")
        dropped.append(label)
    return tuple(dropped)


def _cleaned(writer: Writer, table_oid: int, index_oid: int, tell: Tell) -> str:
    """Drop what the failed attempt left; return what there is to say if that failed too."""
    try:
        _drop(writer, [o for o in leftovers(writer, table_oid) if o.oid != index_oid], tell)
    except DedupeError as error:
        return f" (what the attempt left could not be dropped: {error.message})"
    return ""


def build_failed(error: DedupeError, label: str, more: str = "") -> DedupeError:
    """Return the error with the index named, and with where it leaves the table as its hint.

    Where rows violate the index, that is DuplicatesLeft.
    """
    if error.facts.get("sqlstate") == DUPLICATES:
        return DuplicatesLeft(
            f"the index {label} could not be built: rows still violate it{more}",
            hint="Scan that key again and repair what is found.",
            index=label,
            sqlstate=DUPLICATES,
        )
    return type(error)(
        f"the index {label} could not be rebuilt: {error.message}{more}",
        hint=_AGAIN,
        **{**error.facts, "index": label},
    )


def look_for_others(error: DedupeError, also_damaged: Collection[str]) -> None:
    """Raise DuplicatesLeft if the index of another damaged key refused a change."""
    cause = error.__cause__
    if error.facts.get("sqlstate") != DUPLICATES or not isinstance(cause, psycopg.Error):
        return
    label = f"{cause.diag.schema_name}.{cause.diag.constraint_name}"
    if label in also_damaged:
        raise DuplicatesLeft(
            f"the index {label} refuses a row that has a twin under its own key",
            hint=f"Repair the key of {label} first.",
            index=label,
            sqlstate=DUPLICATES,
        ) from error
