"""What triggers of users write into tables that take no part: no journal would know of it.

Source: https://www.postgresql.org/docs/current/monitoring-stats.html (the functions that count
what the transaction at hand has done)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ..errors import UnplannedEffect
from ..session import Session
from ..table import quoted
from ..writer import Writer
from .triggers import users_have_triggers

#: statements that are shown in a hint
_MOST_SHOWN = 3


@contextmanager
def nothing_elsewhere(writer: Writer, taking_part: Collection[int]) -> Iterator[None]:
    """Let a part of a transaction run; raise UnplannedEffect if a trigger lost rows elsewhere.

    That is: if rows of another table than ``taking_part`` (oids, of partitions too) were deleted or
    changed. Rows that are added, as to an audit table, are let pass: nothing is lost by them. To be
    called inside of the transaction, which is then rolled back. Without triggers and rules of users
    nothing is counted. Reads the catalogs and the session's own counts.
    """
    if not users_have_triggers(writer, taking_part):
        yield
        return
    before = _lost(writer, taking_part)
    yield
    for label, (deleted, changed) in _lost(writer, taking_part).items():
        then = before.get(label, (0, 0))
        if (deleted, changed) != then:
            raise UnplannedEffect(
                f"a trigger would have deleted {deleted - then[0]} and changed"
                f" {changed - then[1]} rows of {label}, which takes no part in the repair and is"
                " not journaled; the batch was rolled back",
                hint=f"Nothing was lost. Switch it off for the time of the repair, and on again"
                f" (ENABLE) behind it: {_switches(writer, taking_part)}",
            )


def _lost(session: Session, taking_part: Collection[int]) -> dict[str, tuple[int, int]]:
    """Count rows deleted and changed so far by this session in other tables."""
    return {
        label: (deleted, changed)
        for label, deleted, changed in session.rows(
            "SELECT n.nspname || '.' || c.relname,"
            " pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid),"
            " pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind::text = 'r' AND c.relpersistence::text <> 't'"
            " AND c.oid <> ALL ($1::int8[]::oid[])"
            " AND n.nspname <> ALL (ARRAY['pg_catalog', $2::text])"
            " AND pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)"
            " + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) > 0",
            [sorted(taking_part), session.journal],
        )
    }


def _switches(session: Session, tables: Collection[int]) -> str:
    """Write the statements that switch the triggers of users off."""
    found = [
        f"ALTER TABLE {quoted(schema)}.{quoted(table)} DISABLE TRIGGER {quoted(name)};"
        for schema, table, name in session.rows(
            "SELECT n.nspname, c.relname, t.tgname FROM pg_catalog.pg_trigger t"
            " JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE t.tgrelid = ANY ($1::int8[]::oid[]) AND NOT t.tgisinternal"
            " AND t.tgenabled <> 'D' AND t.tgparentid = 0 ORDER BY 1, 2, 3",
            [sorted(tables)],
        )
    ]
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return " ".join(found[:_MOST_SHOWN]) + more
