"""Identity: what a run belongs to, and that it still does.

A run belongs to one history of one database cluster, one database, one table with
its heaps, and its keys. Addresses and digests mean something else in any other.

Source: https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-CONTROLDATA
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import RunMismatch
from ..key import ResolvedKey
from ..session import Session
from ..table import Table

_HINT = "Begin again with --fresh, or name another run directory with --run."


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One database of one history of one cluster."""

    #: system identifier, made by initdb
    system: str
    #: timeline; another one is another history of the same system
    timeline: int
    #: oid and name of the database
    database_oid: int
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a run belongs to."""

    server: Server
    #: oid and qualified name of the table
    table_oid: int
    table: str
    #: oid, file number, schema and name of each leaf, in the order of their numbers
    leaves: tuple[tuple[int, int, str, str], ...]
    #: definition of each key
    keys: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Return what the run's state keeps."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Identity:
        """Read what ``facts`` wrote, after a passage through JSON."""
        return cls(
            server=Server(**facts["server"]),
            table_oid=facts["table_oid"],
            table=facts["table"],
            leaves=tuple((leaf[0], leaf[1], leaf[2], leaf[3]) for leaf in facts["leaves"]),
            keys=tuple(facts["keys"]),
        )


def read_server(session: Session) -> Server:
    """Ask the server who it is."""
    # The control file knows a new timeline only from the next checkpoint on.
    timeline = (
        "(SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())"
        if session.standby
        else "('x' || pg_catalog.left(pg_catalog.pg_walfile_name("
        "pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::int4"
    )
    system, number, oid, name = session.row(
        "SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),"
        f" {timeline}, oid::int8, datname FROM pg_catalog.pg_database"
        " WHERE datname = pg_catalog.current_database()"
    )
    return Server(system=system, timeline=number, database_oid=oid, database=name)


def identify(server: Server, table: Table, keys: Sequence[ResolvedKey]) -> Identity:
    """Put together what a run of ``keys`` over ``table`` belongs to."""
    return Identity(
        server=server,
        table_oid=table.oid,
        table=table.label,
        leaves=tuple((leaf.oid, leaf.filenode, leaf.schema, leaf.name) for leaf in table.leaves),
        keys=tuple(key.definition for key in keys),
    )


def check_server(known: Server, found: Server) -> None:
    """Raise RunMismatch unless the server is the run's."""
    for field, name in (
        ("system", "database cluster (system identifier)"),
        ("timeline", "timeline of the cluster (a failover or a restore came between)"),
        ("database_oid", "database"),
    ):
        expected, now = getattr(known, field), getattr(found, field)
        if expected != now:
            shown = f"{expected}, not {now}"
            if field == "database_oid":
                shown = f"{known.database}, not {found.database}"
                if known.database == found.database:
                    # Dropped and made anew.
                    shown = f"an earlier {known.database} (oid {expected}, not {now})"
            raise RunMismatch(
                f"the run belongs to another {name}: {shown}",
                hint="Connect to the server that the run was made on. " + _HINT,
                field=field,
                expected=expected,
                found=now,
            )


def check_work(known: Identity, found: Identity) -> None:
    """Raise RunMismatch unless server, table and keys are the run's."""
    check_server(known.server, found.server)
    if known.table_oid != found.table_oid:
        # A table that was dropped and made again has its name and another oid.
        expected, now = (f"{i.table} (oid {i.table_oid})" for i in (known, found))
        raise RunMismatch(
            f"the run belongs to another table: {expected}, not {now}",
            hint=_HINT,
            field="table",
            expected=expected,
            found=now,
        )
    if len(known.keys) != len(found.keys):
        raise RunMismatch(
            f"the run has {len(known.keys)} keys, not {len(found.keys)}",
            hint=_HINT,
            field="keys",
            expected=known.keys,
            found=found.keys,
        )
    for before, now in zip(known.keys, found.keys, strict=True):
        if before != now:
            raise RunMismatch(
                f"the run has another key: {_difference(before, now)}",
                hint=_HINT,
                field="key",
                expected=before,
                found=now,
            )


def check_heaps(known: Identity, found: Identity) -> None:
    """Raise RunMismatch unless the table has the run's leaves, none of them rewritten."""
    was = {oid: (filenode, f"{schema}.{name}") for oid, filenode, schema, name in known.leaves}
    now = {oid: (filenode, f"{schema}.{name}") for oid, filenode, schema, name in found.leaves}
    if was.keys() != now.keys():
        changed = sorted((was | now)[oid][1] for oid in was.keys() ^ now.keys())
        raise RunMismatch(
            f"the partitions of {found.table} changed since the run began: {', '.join(changed)}",
            hint=_HINT,
            field="leaves",
            expected=sorted(name for _, name in was.values()),
            found=sorted(name for _, name in now.values()),
        )
    for oid, (filenode, name) in now.items():
        if was[oid][0] != filenode:
            raise rewritten(name, was[oid][0], filenode)


def check_leaves(session: Session, known: Identity) -> None:
    """Raise RunMismatch if a heap of a run was rewritten or is gone."""
    for oid, filenode, schema, name in known.leaves:
        (now,) = session.row("SELECT pg_catalog.pg_relation_filenode($1::oid)::int8", [oid])
        if now != filenode:
            raise rewritten(f"{schema}.{name}", filenode, now or 0)


def rewritten(table: str, expected: int, found: int) -> RunMismatch:
    """Make the error for a heap that has another file now."""
    return RunMismatch(
        f"{table} was rewritten since the run began (VACUUM FULL, CLUSTER, TRUNCATE or ALTER"
        " TABLE): its rows have new addresses",
        hint=_HINT,
        field="relfilenode",
        expected=expected,
        found=found,
    )


def _difference(before: str, now: str) -> str:
    """Show the first line in which two definitions differ."""
    old, new = before.splitlines(), now.splitlines()
    for one, other in zip(old, new, strict=False):
        if one != other:
            return f"{one!r}, not {other!r}"
    return f"{len(old)} lines of definition, not {len(new)}"
