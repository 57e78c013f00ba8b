"""What came of a repair: read back from the journal, whoever did the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .. import journal
from ..journal import SCHEMA
from ..session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a repair, or would come of it."""

    #: ``shown`` (nothing was written), ``repaired`` or ``left`` (groups are left)
    status: Literal["shown", "repaired", "left"]
    run_id: str
    #: groups of the plan
    groups: int
    #: groups that were repaired, all rounds together
    repaired: int
    #: groups that are left
    left: int
    #: groups of the last round that were skipped, each with its reason
    skipped: tuple[tuple[int, str], ...] = ()
    #: table to rows, all rounds together
    deleted: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    rounds: int = 0
    seconds: float = 0.0
    #: whether an earlier call had done all of it
    already_done: bool = False
    #: indexes that were rebuilt
    index_rebuilt: tuple[str, ...] = ()
    #: what else is worth doing, a sentence each
    advice: tuple[str, ...] = ()
    #: user@host:port/database
    target: str = ""
    server_version: str = ""
    standby: bool = False
    #: rows that the plan lets go
    losers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult:
    """What came of an undo, or would come of it."""

    status: Literal["shown", "undone", "partly"]
    run_id: str
    #: table to rows that came back
    restored: dict[str, int] = field(default_factory=dict)
    #: table to rows whose columns were put back
    put_back: dict[str, int] = field(default_factory=dict)
    #: rows that were left, each with its reason
    refused: tuple[str, ...] = ()
    already_done: bool = False
    #: SQL that makes the index, and what was dropped with it, what they were
    statements: tuple[str, ...] = ()
    seconds: float = 0.0


def target(session: Session) -> str:
    """Write where a session is connected: user@host:port/database."""
    info = session.connection.info
    return f"{info.user}@{info.host or 'localhost'}:{info.port}/{info.dbname}"


def summary(
    session: Session,
    base: Result,
    *,
    status: Literal["repaired", "left"],
    left: int,
    already_done: bool = False,
    index_rebuilt: tuple[str, ...] = (),
    seconds: float = 0.0,
    advice: tuple[str, ...] = (),
) -> Result:
    """Add up what the journal says of all calls."""
    deleted: dict[str, int] = {}
    changed: dict[str, int] = {}
    for schema, table, action, rows in session.rows(
        "SELECT s.schema_name, s.table_name, n.action, pg_catalog.sum(n.rows)::int8 FROM"
        " (SELECT e.shape, e.action::text AS action, count(*) AS rows"
        f" FROM {SCHEMA}.entry e WHERE e.run = $1::text GROUP BY 1, 2) n"
        f" JOIN {SCHEMA}.shape s ON s.run = $1::text AND s.number = n.shape"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2",
        [base.run_id],
    ):
        (deleted if action == "d" else changed)[f"{schema}.{table}"] = rows
    known = journal.find_run(session, base.run_id)
    # What was left for the next round, and is no group any more, was not left.
    skipped = [] if status == "repaired" else session.rows(
        f"SELECT k.grp, k.reason FROM {SCHEMA}.skipped k JOIN {SCHEMA}.run r ON r.id = k.run"
        " AND r.round = k.round WHERE k.run = $1::text ORDER BY 1",
        [base.run_id],
    )
    return Result(
        status=status,
        run_id=base.run_id,
        groups=base.groups,
        repaired=known.groups if known else 0,
        left=left,
        skipped=tuple((number, why) for number, why in skipped),
        deleted=deleted,
        changed=changed,
        rounds=known.round if known else 0,
        seconds=seconds,
        already_done=already_done,
        index_rebuilt=index_rebuilt,
        advice=advice,
        target=base.target,
        server_version=base.server_version,
        standby=base.standby,
        losers=base.losers,
    )
