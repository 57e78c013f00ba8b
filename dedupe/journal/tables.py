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
JOURNAL_VERSION = 1


def database_of(run: Run, db: Connectable | None) -> Database:
    """Return the database with the journal of a run: ``db``, or where the run was made.

    Raises RefusedError where ``db`` looks for the journal in another schema than the
    run's repair has written it to.
    """
    known = run.journal_schema
    if db is None:
        return connect(run.target.conninfo(), journal_schema=known)
    database = connect(db)
    if known is not None and database.journal_schema != known:
        raise RefusedError(
            f"the journal of {run.path} is in schema {known}, not in {database.journal_schema}",
            hint="Say --journal-schema, or connect(..., journal_schema=...), as when the repair"
            " began; or leave it out and name the run's directory.",
        )
    return database


def standing(alias: str) -> str:
    """Write whether an entry is not undone: neither it nor its whole batch."""
    return (
        f"NOT {alias}.undone AND NOT EXISTS (SELECT FROM {SCHEMA}.batch b WHERE"
        f" b.run = {alias}.run AND b.number = {alias}.batch AND b.undone)"
    )


def exists(session: Session) -> bool:
    """Tell whether this database has a journal; raises NotReady for another version's."""
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
    return True


def ensure(writer: Writer) -> None:
    """Make the journal's schema and tables where they are missing, in one transaction.

    Raises NotReady (another version's), PermissionDenied.
    """
    if exists(writer):
        return
    from .schema import creating  # noqa: PLC0415 - only who makes the tables pays for SQLAlchemy

    with writer.writing():
        writer.rows(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        writer.rows(f"REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC")
        for statement in creating():
            writer.rows(statement)
        writer.rows(f"INSERT INTO {SCHEMA}.header VALUES ($1)", [JOURNAL_VERSION])
