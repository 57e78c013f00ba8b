"""Where the journal is, whether it is there, and how it is made."""

from __future__ import annotations

from ..errors import NotReady
from ..session import Session
from ..writer import Writer

SCHEMA = "pgmend"
#: version of the journal's tables; another one is refused by name
JOURNAL_VERSION = 1


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
        [SCHEMA],
    )
    if not found:
        return False
    (version,) = session.row(f"SELECT version FROM {SCHEMA}.header")
    if version != JOURNAL_VERSION:
        raise NotReady(
            f"the journal in schema {SCHEMA} has version {version}; this pgmend writes version"
            f" {JOURNAL_VERSION}",
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
