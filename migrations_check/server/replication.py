"""Replication slots and subscriptions, which an upgrade loses or refuses.

Source: https://www.postgresql.org/docs/current/logical-replication-upgrade.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.errors import PermissionDenied

from .rule import Look, Rule, Said

#: the first major whose logical slots and subscriptions pg_upgrade carries over
_KEPT = 17


def look(at: Look) -> Iterator[Said]:
    """List slots and subscriptions, and what becomes of them."""
    if at.target == at.catalog.major:
        return
    kept = at.catalog.major >= _KEPT
    status = "wal_status" if at.catalog.major >= 13 else "NULL"
    for name, kind, lost in at.catalog.rows(
        f"SELECT slot_name, slot_type, {status} = 'lost'"
        " FROM pg_catalog.pg_replication_slots WHERE NOT temporary ORDER BY 1"
    ):
        drop = f"SELECT pg_drop_replication_slot('{name}')"
        if kind == "logical" and kept and lost:
            yield at.blocker(
                name, "the logical slot lost its write-ahead log, and pg_upgrade refuses it", drop
            )
        elif kind == "physical" or not kept:
            yield at.warning(
                name,
                f"the {kind} slot is not carried over: whoever reads from it misses what is"
                " written before it is made again",
                "Stop what reads from it before the upgrade, and make the slot again after it",
            )
    try:
        subscriptions = at.catalog.rows(
            "SELECT s.subname, d.datname, s.subenabled FROM pg_catalog.pg_subscription s"
            " JOIN pg_catalog.pg_database d ON d.oid = s.subdbid ORDER BY 1"
        )
    except PermissionDenied:
        # Its connection strings may hold passwords, so all of it is a superuser's.
        subscriptions = at.catalog.rows(
            "SELECT subname, '', true FROM pg_catalog.pg_stat_subscription"
            " WHERE subname IS NOT NULL ORDER BY 1"
        )
    for name, database, _ in subscriptions:
        if not kept:
            yield at.warning(
                f"{database}/{name}",
                "the subscription comes back disabled, and what was written to its publisher"
                " meanwhile is missing unless its slot and position are kept",
                "Note pg_subscription_rel and the origin's position, or copy the data again",
            )


RULE = Rule(name="replication", scope="cluster", look=look)
