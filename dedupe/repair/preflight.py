"""Everything that stands in the way of a repair, found before the first write.

Reads the catalogs and the server's views; returns sentences, all of them at once.

Sources: https://www.postgresql.org/docs/current/logical-replication-publication.html,
https://www.postgresql.org/docs/current/view-pg-prepared-xacts.html
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import journal
from ..policy import Policy
from ..references import References
from ..relation import Relation
from ..session import Session
from ..surroundings import Surroundings
from .helpers import finding_index
from .triggers import may_switch_off


def obstacles(
    around: Surroundings,
    pointing: Sequence[References],
    policies: Sequence[Policy],
    *,
    unreadable: int,
    triggers_off: bool,
    index: int | None = None,
) -> tuple[str, ...]:
    """List what has to be mended before the repair can begin.

    ``pointing``: the references of each of ``policies``.
    ``unreadable``: rows that the scan skipped and that nobody accepted. ``triggers_off``:
    whether triggers are to be switched off. ``index``: what is rebuilt in the end.
    """
    session = around.session
    found: list[str] = []
    if session.standby:
        found.append("the server is a standby; connect to the primary")
    (read_only, counting) = session.row(
        # What holds but for this session's own pins.
        "SELECT (SELECT reset_val = 'on' FROM pg_catalog.pg_settings"
        "  WHERE name = 'default_transaction_read_only'),"
        " pg_catalog.current_setting('track_counts') = 'on'"
    )
    if read_only:
        found.append(
            "the server, the database or the role is set to read only; to write all the same,"
            " connect with options='-c default_transaction_read_only=off'"
        )
    if not counting:
        found.append("track_counts is off: what a cascade takes could not be counted")
    if unreadable:
        found.append(
            f"the scan could not read {unreadable} rows or blocks; duplicates may hide among them"
            " (--despite-unreadable)"
        )
    twins = sorted(
        {one.relations[r.child].label for one in pointing for r in one.references if r.twin}
    )
    if (triggers_off or twins) and not may_switch_off(session):
        found.append(
            (f"{', '.join(twins)} references the duplicated key itself, and deleting a row would"
             " take or strand what belongs to its twin: " if twins else "")
            + "only a superuser, or from PostgreSQL 15 on a role with GRANT SET ON PARAMETER"
            " session_replication_role, may switch triggers off"
        )
    changed = {r.child for one in pointing for r in one.references}
    losable = {oid for one in pointing for oid in one.losable}
    tables = list({oid: r for one in pointing for oid, r in one.relations.items()}.values())
    in_place = any(policy.merge or policy.loser.columns for policy in policies)
    wanted = [
        (relation, want)
        for relation in tables
        for want in (
            "SELECT",
            *(["DELETE"] if relation.oid in losable else []),
            *(["UPDATE"] if relation.oid in changed or in_place else []),
        )
    ]
    for (relation, want), (allowed, hidden) in zip(
        wanted, _rights(session, wanted), strict=True
    ):
        if not allowed:
            found.append(f"the role lacks {want} on {relation.label}")
        if hidden and want == "SELECT":
            found.append(f"row-level security would hide rows of {relation.label}")
    found += _not_mine(around, pointing, index)
    found += _journal_rights(session)
    found += _publications(session, [r.oid for r in tables])
    found += _prepared(session, [oid for r in tables for oid in r.family])
    return tuple(found)


def _rights(
    session: Session, wanted: Sequence[tuple[Relation, str]]
) -> list[tuple[bool, bool]]:
    """Return for each table and right whether the role has it, and whether rows are hidden."""
    return [
        (allowed, hidden)
        for allowed, hidden in session.rows(
            "SELECT pg_catalog.has_table_privilege(w.oid, w.want),"
            " pg_catalog.row_security_active(w.oid) FROM ROWS FROM ("
            "pg_catalog.unnest($1::int8[]::oid[]), pg_catalog.unnest($2::text[]))"
            " WITH ORDINALITY w (oid, want, n) ORDER BY w.n",
            [[relation.oid for relation, _ in wanted], [want for _, want in wanted]],
        )
    ]


def _not_mine(
    around: Surroundings, pointing: Sequence[References], index: int | None
) -> list[str]:
    """List tables of which an index has to be built, and that the role does not own."""
    session = around.session
    relations = {oid: r for one in pointing for oid, r in one.relations.items()}
    wanted: dict[int, str] = {}
    if index is not None:
        wanted[pointing[0].root] = "its unique index is rebuilt in the end"
    looked = set()
    for r in (r for one in pointing for r in one.references):
        alike = r.child, r.columns, r.soft
        if r.twin or alike in looked:
            continue
        looked.add(alike)
        if finding_index(around, r, relations[r.child]) is None:
            wanted[r.child] = f"no index finds its rows by {', '.join(r.columns)}; one is built"
    found = []
    for oid, why in wanted.items():
        relation = relations[oid]
        (mine, room) = session.row(
            "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE'),"
            " pg_catalog.has_schema_privilege(c.relnamespace, 'CREATE')"
            " FROM pg_catalog.pg_class c WHERE c.oid = $1::oid",
            [oid],
        )
        if not mine:
            found.append(f"the role does not own {relation.label}: {why}")
        elif not room:
            found.append(f"the role may not create in schema {relation.schema}: {why}")
    return found


def _journal_rights(session: Session) -> list[str]:
    schema = f"the journal's schema {session.journal}"
    rows = session.rows(
        "SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace"
        " WHERE nspname = $1::text",
        [session.journal],
    )
    if journal.things_in_schema(session) and not journal.exists(session):
        return [f"{schema} holds something else already"]
    if rows:
        return [] if rows[0][0] else [f"the role may not write {schema}"]
    (allowed, temporary) = session.row(
        "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),"
        " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')"
    )
    found = []
    if not allowed:
        found.append(f"the role may not create {schema} in this database")
    if not temporary:
        found.append("the role may not make temporary tables in this database")
    return found


def _publications(session: Session, oids: Sequence[int]) -> list[str]:
    """Find published tables whose updates and deletes the server would refuse."""
    rows = session.rows(
        """
        SELECT n.nspname || '.' || c.relname, pg_catalog.string_agg(p.pubname, ', ')
        FROM pg_catalog.pg_publication_tables t
        JOIN pg_catalog.pg_publication p ON p.pubname = t.pubname AND (p.pubupdate OR p.pubdelete)
        JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
        WHERE c.oid = ANY ($1::int8[]::oid[]) AND (c.relreplident = 'n' OR c.relreplident = 'd'
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
                            WHERE i.indrelid = c.oid AND i.indisprimary))
        GROUP BY 1 ORDER BY 1
        """,
        [list(oids)],
    )
    return [
        f"{table} is published ({publications}) and has no replica identity: the server refuses"
        " to delete from it (ALTER TABLE … REPLICA IDENTITY FULL)"
        for table, publications in rows
    ]


def _prepared(session: Session, oids: Sequence[int]) -> list[str]:
    """Find prepared transactions that hold locks on the tables and will not end by themselves."""
    rows = session.rows(
        """
        SELECT DISTINCT x.gid, x.prepared::text
        FROM pg_catalog.pg_prepared_xacts x
        -- The locks of a prepared transaction have no process; its own number is one of them.
        JOIN pg_catalog.pg_locks t ON t.locktype = 'transactionid' AND t.pid IS NULL
            AND t.transactionid = x.transaction AND t.granted
        JOIN pg_catalog.pg_locks l ON l.virtualtransaction = t.virtualtransaction AND l.pid IS NULL
        WHERE l.relation = ANY ($1::int8[]::oid[]) AND l.database = (SELECT oid
            FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        ORDER BY 1
        """,
        [list(oids)],
    )
    return [
        f"the prepared transaction {gid!r} (since {since}) holds locks on the tables:"
        " COMMIT PREPARED or ROLLBACK PREPARED it"
        for gid, since in rows
    ]
