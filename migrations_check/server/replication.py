"""Replication slots and subscriptions, which an upgrade loses or refuses.

Sources: https://www.postgresql.org/docs/current/logical-replication-upgrade.html,
https://www.postgresql.org/docs/current/view-pg-replication-slots.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.errors import DedupeError, PermissionDenied
from dedupe.table import quoted

from .catalog import Catalog
from .rule import Look, Rule, Said

#: the first major whose logical slots and subscriptions pg_upgrade carries over
_KEPT = 17


def look(at: Look) -> Iterator[Said]:
    """List slots and subscriptions, and what becomes of them."""
    if at.target == at.catalog.major:
        return
    kept = at.catalog.major >= _KEPT
    yield from _slots(at, kept=kept)
    yield from _subscriptions(at, kept=kept)


def _slots(at: Look, *, kept: bool) -> Iterator[Said]:
    if kept:
        lost = "invalidation_reason IS NOT NULL"
    else:
        # Before 13 a slot keeps its log whatever that costs.
        lost = "coalesce(wal_status = 'lost', false)" if at.catalog.major >= 13 else "false"
    for name, kind, plugin, gone in at.catalog.rows(
        f"SELECT slot_name, slot_type, plugin, {lost}"
        " FROM pg_catalog.pg_replication_slots WHERE NOT temporary ORDER BY 1"
    ):
        drop = f"SELECT pg_drop_replication_slot('{name}')"
        if gone and kind == "logical" and kept:
            yield at.blocker(
                name, "the logical slot lost its write-ahead log, and pg_upgrade refuses it", drop
            )
        elif gone:
            yield at.warning(
                name,
                f"the {kind} slot lost its write-ahead log: whoever read from it cannot go on,"
                " with this server or with the new one",
                f"{drop}, and a new copy of the data for whoever read from it",
            )
        elif kind == "physical" or not kept:
            of = f"'{name}'" + (f", '{plugin}'" if plugin else "")
            yield at.warning(
                name,
                f"the {kind} slot is not carried over: whoever reads from it misses what is"
                " written before it is made again",
                "Stop what reads from it before the upgrade, and after it:"
                f" SELECT pg_create_{kind}_replication_slot({of})",
            )


def _subscriptions(at: Look, *, kept: bool) -> Iterator[Said]:
    try:
        found = at.catalog.rows(
            "SELECT s.subname, d.datname, o.roident IS NULL, 'pg_' || s.oid"
            " FROM pg_catalog.pg_subscription s"
            " JOIN pg_catalog.pg_database d ON d.oid = s.subdbid"
            " LEFT JOIN pg_catalog.pg_replication_origin o ON o.roname = 'pg_' || s.oid"
            " ORDER BY 1"
        )
    except PermissionDenied:
        # Its connection strings may hold passwords, so before 12 all of it is a superuser's.
        found = at.catalog.rows(
            "SELECT subname, '', false, '' FROM pg_catalog.pg_stat_subscription"
            " WHERE subname IS NOT NULL ORDER BY 1"
        )
    for name, database, lacks, origin in found:
        what, its = f"{database}/{name}", quoted(name)
        if not kept:
            yield at.warning(
                what,
                "the subscription comes back disabled and without its list of tables: what its"
                " publisher writes is missing until it is set going again",
                f"Before the upgrade: ALTER SUBSCRIPTION {its} DISABLE; after it: ALTER"
                f" SUBSCRIPTION {its} ENABLE; ALTER SUBSCRIPTION {its} REFRESH PUBLICATION WITH"
                " (copy_data = false)",
            )
        elif lacks:
            yield at.blocker(
                what,
                f"the subscription has lost its replication origin {origin}, and pg_upgrade"
                " refuses it",
                f"Make it anew after the upgrade, and before: ALTER SUBSCRIPTION {its} DISABLE;"
                f" ALTER SUBSCRIPTION {its} SET (slot_name = NONE); DROP SUBSCRIPTION {its}",
            )
    if kept:
        for database in sorted({database for _, database, _, _ in found}):
            yield from _copying(at, database)


def _copying(at: Look, database: str) -> Iterator[Said]:
    """List the tables of subscriptions whose first copy is under way."""
    if database not in at.databases:
        yield at.unseen(database, "how far its subscriptions are is not known: it was left out")
        return
    try:
        with Catalog(at.catalog.conninfo, database) as catalog:
            tables = catalog.rows(
                "SELECT s.subname, r.srrelid::regclass::text FROM pg_catalog.pg_subscription_rel r"
                " JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid"
                " WHERE r.srsubstate NOT IN ('i', 'r') ORDER BY 1, 2"
            )
    except DedupeError as error:
        yield at.unseen(database, f"how far its subscriptions are is not known: {error.message}")
        return
    for name, table in tables:
        yield at.blocker(
            f"{database}/{name}",
            f"the subscription is still copying {table}, and pg_upgrade refuses it until it is"
            " ready",
            f"Wait until it is, or leave the table out: ALTER SUBSCRIPTION {quoted(name)} SET"
            " PUBLICATION with others",
        )


RULE = Rule(name="replication", scope="cluster", look=look)
