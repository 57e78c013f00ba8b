"""Repair: everything is checked, and then the plan is carried out."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal

from .. import journal
from ..connect import Connectable, Database
from ..disk import disk_need, disk_obstacle
from ..errors import (
    NotReady,
    PlanError,
    RefusedError,
)
from ..plan import Plan
from ..planning import known_key
from ..references import load_references
from ..scan.identity import check_leaves, check_server, read_server
from ..scan.owner import owned
from ..session import Session
from ..surroundings import Surroundings
from .endgame import Endgame
from .preflight import obstacles
from .repairer import Repairer
from .result import Result, summary, target
from .survey import Survey
from .telling import OnRepairProgress, Telling


def repair(
    plan: Plan,
    *,
    db: Connectable | None = None,
    execute: bool = False,
    reason: str | None = None,
    triggers: Literal["fire", "off"] = "fire",
    despite_unreadable: bool = False,
    nice: float = 0.0,
    max_lag: float | None = None,
    lock: bool = False,
    create_index: str | None = None,
    assume_disk: bool = False,
    also_damaged: Collection[str] = (),
    proved: set[int] | None = None,
    alone: bool = False,
    around: Surroundings | None = None,
    survey: Survey | None = None,
    on_progress: OnRepairProgress | None = None,
    stop: threading.Event | None = None,
) -> Result:
    """Carry a plan out; with ``execute`` false, check everything and write nothing.

    The same call goes on where the last one ended, however that was; after the end it
    changes nothing and says so. ``reason`` is journaled. ``triggers``: ``"off"`` keeps
    triggers and the foreign keys' own checks from running; that every reference resolves
    is proved at the end by reading the heaps. ``nice``: seconds to sleep for
    each second of work. ``max_lag``: pause while a standby is further behind, in seconds;
    one whose lag is unknown counts as lagging. ``lock``: the last round and the rebuild
    are one transaction that keeps writers out of the table. ``create_index`` names a unique
    index to make, in the table's schema, for a key that has none or a plain one of that
    name. ``assume_disk``: begin though more than a gigabyte is needed and it cannot be known
    whether the server has it.
    ``also_damaged``: indexes (``schema.name``) of other keys that hold duplicates; one that
    refuses a change raises DuplicatesLeft, in place of leaving the group as it is.
    ``proved``: oids of indexes that an earlier repair in this process has proved, while nobody
    could damage them; those that this one proves are added. ``alone``: nobody else is connected,
    so a batch may be a whole round and hold its locks as long, with child rows found by reading
    heaps, indexes are built by the faster way that stops writers, and where no table has a
    trigger or rule of its users, the role may switch triggers off and it is quicker, they are.
    ``around``: what an earlier repair has read of the catalogs, while nobody changed the schema.
    ``survey``: what ``take_survey`` found, while nobody but such repairs wrote; only ``alone``.
    ``stop`` ends it between two batches.

    Writes: the rows of the plan and those that point at them, the journal in its schema,
    helper indexes on children (dropped at the end), the unique index. Locks: rows
    of one batch for about half a second (``alone``: of a round, and SHARE ROW EXCLUSIVE on what
    points at them); no lock is waited for longer than two seconds, but by the index builds, which
    block no reader and no writer (``alone``: they block writers). Memory: one batch of numbers;
    the rows stay on the server.

    Raises NotReady (``reasons``: all that is in the way), PlanError, RunMismatch, RunInUse,
    UnprovenIndex, DuplicatesLeft (another key), RepairStopped, FailureError.
    """
    database = journal.database_of(plan.run, db)
    telling = Telling(on_progress, stop)
    with _session(database, around) as session:
        check_server(plan.run.identity.server, read_server(session))
        nearby = around or Surroundings(session)
        key = known_key(nearby, plan.run, plan.key)
        pointing = [load_references(nearby, key, policy) for policy in plan.policies]
        known = journal.find_run(session, plan.run.id)
        if known is not None and known.fingerprint != plan.fingerprint:
            raise PlanError(
                f"the plan in {plan.run.path} is not the one whose repair was begun",
                hint="Take the repair back with pgmend undo, or go on with the plan as it was.",
            )
        if known is not None and known.state in {"undoing", "undone"}:
            raise RefusedError(
                f"the repair of {plan.run.path} was taken back; its rows have new addresses",
                hint="Scan again, then plan and repair; a recipe: another --run.",
            )
        if known is None:
            check_leaves(session, plan.run.identity)
        base = Result(
            status="shown",
            run_id=plan.run.id,
            groups=plan.groups,
            repaired=known.groups if known else 0,
            left=plan.groups,
            target=target(session),
            server_version=f"{session.version // 10000}.{session.version % 10000}",
            standby=session.standby,
            losers=plan.losers,
        )
        endgame = Endgame(
            plan, key, pointing[0].relations[pointing[0].root], telling, create_index,
            alone=alone,
        )
        if known is not None and known.state == "repaired" and not endgame.wanted(session):
            return summary(session, base, already_done=True, status="repaired", left=0)
        unreadable = 0 if despite_unreadable else len(plan.run.unreadable)
        found = obstacles(
            nearby, pointing, plan.policies,
            unreadable=unreadable, triggers_off=triggers == "off", index=key.index_oid,
        )
        reasons = (*found, *endgame.obstacles(session))
        if known is None and execute:
            need = disk_need(nearby, pointing, plan.losers, key.index_oid)
            short = disk_obstacle(session, need, assumed=assume_disk)
            reasons = reasons if short is None else (*reasons, short)
    if reasons:
        raise NotReady(
            "the repair cannot begin: " + "; ".join(reasons),
            hint="Nothing was written. Mend what is listed, then give the command again.",
            reasons=reasons,
        )
    if not execute:
        return base
    with owned(plan.run.path):
        repairer = Repairer(
            database, plan, pointing, telling, around,
            reason=reason, triggers_off=triggers == "off", nice=nice, max_lag=max_lag, lock=lock,
            also_damaged=also_damaged,
            proved=set() if proved is None else proved, alone=alone,
            survey=survey or Survey(), endgame=endgame,
        )
        return repairer.go(base)


@contextmanager
def _session(database: Database, around: Surroundings | None) -> Iterator[Session]:
    if around is not None:
        yield around.session
        return
    with database.open("pgmend repair") as session:
        yield session
