"""Undo: what would come back is shown, or comes back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from .. import journal
from ..connect import Connectable, Database, connect
from ..errors import (
    UndoRefused,
    UsageError,
)
from ..journal import SCHEMA, KnownRun, database_of, image_settings, standing
from ..scan.owner import end_leftovers, owned
from ..scan.run import Run
from ..session import Session
from .endgame import key_index
from .hangers import hangers
from .locking import lock_run
from .plainindex import restoring
from .result import UndoResult
from .telling import OnRepairProgress, Telling
from .undoer import Undoer


def undo(
    run: Run | str | Path,
    *,
    db: Connectable | None = None,
    execute: bool = False,
    groups: Sequence[int] = (),
    drop_constraints: Sequence[str] = (),
    side_table: bool = False,
    on_progress: OnRepairProgress | None = None,
    stop: threading.Event | None = None,
) -> UndoResult:
    """Take a repair back; with ``execute`` false, say what would come back.

    ``run`` is a run, its directory, or a run's id as the journal lists it (then ``db`` is
    needed). ``groups`` limits it to groups, by the numbers of the scan; what later rounds found
    has numbers behind those. A plain unique index is replaced by a non-unique one of the same
    definition, because duplicates come back; constraints, foreign keys and a replica identity that
    hang on it must be named in ``drop_constraints``, whose other names are passed over. With
    ``side_table`` deleted rows come into ``restored_<table>`` in the journal's schema instead, and
    nothing else is touched.

    The same call goes on after a kill; after its end it changes nothing and says so.
    Locks: the rows of one batch. Memory: one batch of numbers.

    Raises UnknownObject, RefusedError, UndoRefused (``reasons``), UsageError (a group of which
    nothing was changed), RunInUse, RepairStopped,
    FailureError.
    """
    if isinstance(run, str | Path) and Path(run).exists():
        run = Run.open(run)
    database, run_id = found_run(run, db)
    telling = Telling(on_progress, stop)
    with database.open("pgmend undo") as session:
        known = journal.known_run(session, run_id)
        if known.state == "undone":
            return UndoResult(status="undone", run_id=run_id, already_done=True)
        if known.settings != image_settings():
            raise UndoRefused(
                "the journal was written under other settings than this pgmend reads it with",
                hint="Use the pgmend that wrote it.",
                reasons=tuple(
                    name for name, text in image_settings().items()
                    if known.settings.get(name) != text
                ),
            )
        _check_groups(session, run_id, groups)
        if not execute:
            return _shown(session, known, groups, drop_constraints, side_table=side_table)
    name = f"pgmend repair {run_id}"
    owning = owned(run.path) if isinstance(run, Run) else nullcontext()
    with owning, database.open_writer(name) as writer:
        if isinstance(run, Run):
            # Whoever owns the directory knows that nobody alive works on the run.
            end_leftovers(writer, name, telling.say, lambda: telling.stopping)
        lock_run(writer, run_id, telling)
        undoer = Undoer(writer, known, telling, tuple(groups))
        if side_table:
            return undoer.aside()
        return undoer.go(drop_constraints)


def _check_groups(session: Session, run: str, groups: Sequence[int]) -> None:
    """Raise UsageError for a group of which a run changed nothing."""
    unknown = session.rows(
        "SELECT g FROM pg_catalog.unnest($2::int4[]) g WHERE NOT EXISTS (SELECT"
        f" FROM {SCHEMA}.entry e WHERE e.run = $1::text AND e.groups && ARRAY[g])",
        [run, list(groups)],
    )
    if unknown:
        raise UsageError(
            f"run {run} changed nothing of group {', '.join(str(g) for (g,) in unknown)}",
            hint="pgmend groups RUN lists the groups by number; those that were left, or kept"
            " apart, have nothing to take back.",
        )


def found_run(run: Run | str | Path, db: Connectable | None) -> tuple[Database, str]:
    """Return where to connect, and the run's id. Raises UsageError, NotARunDirectory."""
    if isinstance(run, Run):
        return database_of(run, db), run.id
    if Path(run).exists():
        return found_run(Run.open(run), db)
    if db is None:
        raise UsageError(
            f"{run} is no run directory; a run's id needs a database to be looked up in",
            hint="Say where: -d DATABASE, or name the run directory.",
        )
    return connect(db), str(run)


def _shown(
    session: Session,
    known: KnownRun,
    groups: Sequence[int],
    drop: Sequence[str],
    *,
    side_table: bool,
) -> UndoResult:
    restored: dict[str, int] = {}
    put_back: dict[str, int] = {}
    for schema, table, action, rows in session.rows(
        f"SELECT s.schema_name, s.table_name, e.action::text, count(*) FROM {SCHEMA}.entry e"
        f" JOIN {SCHEMA}.shape s ON s.run = e.run AND s.number = e.shape WHERE e.run = $1::text"
        f" AND {standing('e')} AND ($2::int4[] IS NULL OR e.groups && $2::int4[])"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2",
        [known.id, list(groups) or None],
    ):
        (restored if action == "d" else put_back)[f"{schema}.{table}"] = rows
    index = key_index(session, known)
    reasons: list[str] = []
    statements: tuple[str, ...] = ()
    if index is not None and (restored or put_back) and not side_table:
        statements = restoring(session, index)
        reasons = [
            f"{hanger.kind} {hanger.name} of {hanger.table} has to go (--drop-constraint"
            f" {hanger.name}), or the rows come back into a side table (--side-table)"
            for hanger in hangers(session, index)
            if hanger.must_go and hanger.name not in drop
        ]
    return UndoResult(
        status="shown", run_id=known.id, restored=restored,
        put_back={} if side_table else put_back, refused=tuple(reasons), statements=statements,
    )
