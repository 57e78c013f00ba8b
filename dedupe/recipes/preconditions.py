"""What must be so before a recipe writes: workers stopped, nobody else connected.

Sources: https://www.postgresql.org/docs/current/monitoring-stats.html,
https://www.postgresql.org/docs/current/view-pg-prepared-xacts.html
"""

from __future__ import annotations

from dataclasses import dataclass

from ..connect import Database
from ..session import Session
from .recipe import Recipe
from .workers import Place, find_workers

_MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What of the preconditions is not met."""

    #: a sentence each, with its remedy
    unmet: tuple[str, ...] = ()
    #: what could not be looked at
    notes: tuple[str, ...] = ()

    def joined(self, other: Met) -> Met:
        """Return both together."""
        return Met(unmet=self.unmet + other.unmet, notes=self.notes + other.notes)


def look(database: Database, recipe: Recipe, *, redis: Place | None, live: bool) -> Met:
    """Look whether a recipe may write; with ``live``, others may stay and none is looked for.

    Reads pg_stat_activity, pg_prepared_xacts and the Redis, if there is one. Where a recipe's
    workers are to be stopped and no Redis is named, the connections of the database tell.

    Raises what ``find_workers`` raises, FailureError.
    """
    if live:
        return Met()
    before = recipe.before
    unmet: list[str] = []
    notes: list[str] = []
    looked = redis is not None and before.redis_set is not None
    if redis is not None and before.redis_set is not None:
        unmet += _workers(redis, recipe)
    elif redis is not None:
        notes.append(f"the recipe {recipe.name} has no workers in a Redis: --redis is not used")
    elif before.workers is not None:
        notes.append(f"whether {before.workers} is stopped was not checked: give --redis URL")
    if before.alone or (before.workers is not None and not looked):
        with database.open("pgmend recipe") as session:
            unmet += [*_others(session), *_prepared(session)]
    return Met(unmet=tuple(unmet), notes=tuple(notes))


def _workers(redis: Place, recipe: Recipe) -> tuple[str, ...]:
    """Say which workers run, or that this Redis is not the application's."""
    called = recipe.before.workers
    found = find_workers(redis, recipe.before)
    if found.running:
        count = len(found.running)
        sentence = (
            f"{called} is running: {count} {'process' if count == 1 else 'processes'}"
            f" ({_listed(found.running)}) by Redis {found.where}; stop it (one that was killed"
            " counts for a minute more), or let it run with --live"
        )
        return (sentence,)
    if not found.known:
        sentence = (
            f"nothing of {called} is in Redis {found.where}, so it does not tell whether it is"
            " stopped; name the database and the --redis-namespace that the application uses, or"
            " leave --redis out"
        )
        return (sentence,)
    return ()


def _others(session: Session) -> tuple[str, ...]:
    """Say who else is connected to the database.

    Sessions of pgmend do not count, nor those that an earlier pgmend left when it was killed.
    Of a role whose details are hidden it is not known whether it is a client: it counts, but
    for what has no role at all, the server's own workers.
    """
    rows = session.rows(
        """
        SELECT coalesce(nullif(a.application_name, ''), a.usename::text, 'role ' || a.usesysid),
               a.usename::text, pg_catalog.host(a.client_addr), a.backend_type IS NULL,
               count(*), count(*) FILTER (WHERE a.state = 'idle')
        FROM pg_catalog.pg_stat_activity a
        WHERE a.datname = pg_catalog.current_database()
          AND a.pid <> pg_catalog.pg_backend_pid()
          AND a.usesysid IS NOT NULL
          AND coalesce(a.backend_type, 'client backend') = 'client backend'
          AND coalesce(a.application_name, '') !~ '^pgmend( |$)'
        GROUP BY 1, 2, 3, 4
        ORDER BY 5 DESC, 1, 2, 3
        """
    )
    if not rows:
        return ()
    told = [_connection(*row) for row in rows]
    hidden = any(row[3] for row in rows)
    return (
        f"others are connected to the database: {_listed(told)}; stop the application and its"
        " poolers, or let them stay with --live"
        + ("; GRANT pg_read_all_stats lets the role see details" if hidden else ""),
    )


def _connection(
    name: str, role: str | None, address: str | None, hidden: bool, count: int, idle: int
) -> str:
    """Write who holds connections: ``puma, role mastodon, from 10.0.0.5 (12, all idle)``."""
    text = name if role is None or role == name else f"{name}, role {role},"
    if hidden:
        return f"{text} ({count}, details hidden)"
    text += f" from {address}" if address else " from this machine"
    state = "" if not idle else ", idle" if idle == count == 1 else f", {idle} idle"
    return f"{text} ({count}{', all idle' if idle == count > 1 else state})"


def _prepared(session: Session) -> tuple[str, ...]:
    """Say which transactions are prepared: they hold locks, and no connection shows them."""
    rows = session.rows(
        "SELECT gid, owner::text, pg_catalog.to_char(prepared, 'YYYY-MM-DD HH24:MI \"UTC\"')"
        " FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()"
        " ORDER BY prepared, gid"
    )
    if not rows:
        return ()
    told = [f"{gid} of {owner} since {since}" for gid, owner, since in rows]
    sentence = (
        f"prepared transactions are open: {_listed(told)}; COMMIT PREPARED or ROLLBACK PREPARED"
        " ends them, or let them stay with --live"
    )
    return (sentence,)


def _listed(told: list[str] | tuple[str, ...]) -> str:
    more = len(told) - _MOST
    return ", ".join(told[:_MOST]) + (f" and {more} more" if more > 0 else "")
