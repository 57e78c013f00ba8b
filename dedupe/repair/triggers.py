"""Whether triggers run: users' own, and those that check foreign keys row by row.

For each row that goes, each foreign key to its table asks once for its children. Where
nobody has a trigger of their own, and many rows go, it takes less time to leave that out and
to prove at the end, by reading the heaps, that every reference resolves.

Source: https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-SESSION-REPLICATION-ROLE
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..references import References
from ..session import Session

#: bytes of children for each row that goes, each child once for each of its foreign keys, up to
#: which to read them takes less time than the checks of one row
_BYTES = 100_000


def may_switch_off(session: Session) -> bool:
    """Tell whether the role may set session_replication_role."""
    granted = (
        "pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"
        if session.version >= 150000
        else "false"
    )
    (allowed,) = session.row(
        f"SELECT rolsuper OR {granted} FROM pg_catalog.pg_roles WHERE rolname = current_user"
    )
    return bool(allowed)


def better_off(session: Session, pointing: Sequence[References], losers: int) -> bool:
    """Tell whether nothing but foreign keys' checks would run, and reading is quicker.

    ``losers`` are the rows that go by the plan. Reads the catalogs.
    """
    read = sum(
        one.relations[r.child].bytes
        for one in pointing for r in one.references if r.constraint is not None
    )
    if read > _BYTES * losers or not may_switch_off(session):
        return False
    return not users_have_triggers(
        session, {oid for one in pointing for r in one.relations.values() for oid in r.family}
    )


def users_have_triggers(session: Session, tables: Collection[int]) -> bool:
    """Tell whether one of some tables has a trigger or rule of its users that is on."""
    (users,) = session.row(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger"
        " WHERE tgrelid = ANY ($1::int8[]::oid[]) AND NOT tgisinternal AND tgenabled <> 'D')"
        " OR EXISTS (SELECT FROM pg_catalog.pg_rewrite"
        " WHERE ev_class = ANY ($1::int8[]::oid[]) AND ev_type <> '1' AND ev_enabled <> 'D')",
        [sorted(tables)],
    )
    return bool(users)


def updates_cascade(session: Session, tables: Collection[int]) -> bool:
    """Tell whether a foreign key to one of some tables follows its updates (ON UPDATE)."""
    (found,) = session.row(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f'"
        " AND confrelid = ANY ($1::int8[]::oid[]) AND confupdtype::text = ANY ('{c,n,d}'))",
        [sorted(tables)],
    )
    return bool(found)
