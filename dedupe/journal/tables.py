"""Where the journal is, whether it is there, and how it is made."""

from __future__ import annotations

from ..connect import Connectable, Database, connect
from ..errors import NotReady, RefusedError
from ..scan.run import Run
from ..session import JOURNAL, Session
from ..writer import Writer

#: the journal's schema in SQL; the session knows its name
SCHEMA = JOURNAL
#: version of the journal's tables; another one is refused by name
JOURNAL_VERSION = 3


def database_of(run: Run, db: Connectable | None) -> Database:
    """Return the database with the journal of a run: ``db``, or where the run was made.

    Where ``db`` says no schema, the one that the run remembers is taken. Raises
    RefusedError where it says another one than the run's journal is in.
    """
    known = run.journal_schema
    database = connect(run.target.conninfo() if db is None else db)
    if known is None or database.journal_schema == known:
        return database
    if database.journal_schema is not None:
        with database.journaling_in(known).open() as session:
            entered = exists(session) and session.rows(
                f"SELECT 1 FROM {SCHEMA}.run WHERE id = $1::text", [run.id]
            )
        if not entered:
            # It was named as the repair was about to begin, and nothing was written there.
            return database
        raise RefusedError(
            f"the journal of {run.path} is in schema {known}, not in {database.journal_schema}",
            hint="Leave --journal-schema out, or journal_schema: the run remembers it.",
        )
    return database.journaling_in(known)


def standing(alias: str) -> str:
    """Write whether an entry is not undone: neither it nor its whole batch."""
    return (
        f"NOT {alias}.undone AND NOT EXISTS (SELECT FROM {SCHEMA}.batch b WHERE"
        f" b.run = {alias}.run AND b.number = {alias}.batch AND b.undone)"
    )


def things_in_schema(session: Session) -> int | None:
    """Count the tables and the like in the journal's schema; None: there is no such schema."""
    rows = session.rows(
        "SELECT (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid)"
        " FROM pg_catalog.pg_namespace n WHERE n.nspname = $1::text",
        [session.journal],
    )
    return rows[0][0] if rows else None


def exists(session: Session) -> bool:
    """Tell whether this database has a journal; raises NotReady for another version's.

    One that a session has seen it does not look for again.
    """
    seen = "journal", session.journal
    if seen in session.known:
        return True
    found = session.rows(
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = 'header'",
        [session.journal],
    )
    if not found:
        return False
    (version,) = session.row(f"SELECT version FROM {SCHEMA}.header")
    if version != JOURNAL_VERSION:
        raise NotReady(
            f"the journal in schema {session.journal} has version {version}; this pgmend writes"
            f" version {JOURNAL_VERSION}",
            hint="Use the pgmend that wrote it, or undo or drop its runs first.",
            reasons=(f"journal version {version}",),
        )
    session.known[seen] = True
    return True


def ensure(writer: Writer) -> None:
    """Make the journal's schema and tables where they are missing, in one transaction.

    Raises NotReady (another version's), PermissionDenied.
    """
    if exists(writer):
        return
    things = things_in_schema(writer)
    if things:
        raise NotReady(
            f"the schema {writer.journal} holds something else than a journal",
            hint="Name a schema that is empty or not there yet: --journal-schema NAME.",
            reasons=(f"schema {writer.journal} is taken",),
        )
    from .schema import creating  # noqa: PLC0415 - only who makes the tables pays for SQLAlchemy

    with writer.writing():
        if things is None:
            writer.rows(f"CREATE SCHEMA {SCHEMA}")
            writer.rows(f"REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC")
        for statement in creating():
            writer.rows(statement)
        writer.rows(f"INSERT INTO {SCHEMA}.header VALUES ($1)", [JOURNAL_VERSION])
