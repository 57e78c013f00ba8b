"""Repair: the plan is carried out, round by round, until the key holds again.

A round repairs the groups of a plan in batches, each one transaction. Then the table is
scanned anew: duplicates that arrived meanwhile, and groups that were changed since their
plan, are planned by the same policies and repaired in the next round. When the scan finds
none, the unique index is rebuilt; if that still meets duplicates, another round follows.

All progress stands in the database, committed with the changes that it describes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import count

from .. import journal
from ..connect import Database
from ..errors import (
    DuplicatesLeft,
    FailureError,
    LockNotAvailable,
    RefusedError,
)
from ..journal import SCHEMA
from ..plan import Plan
from ..planning import make_plan, plan_with, resolved_key
from ..policy import policies_to_json
from ..references import References
from ..scan.directory import ROUND_PREFIX
from ..scan.owner import end_leftovers
from ..scan.scanner import scan
from ..surroundings import Surroundings
from ..writer import Writer
from .endgame import Endgame
from .helpers import drop_helpers
from .loading import load_round
from .locking import given_up, jitter, lock_run
from .resolving import resolve_references
from .result import Result, summary
from .survey import Survey
from .taking import count_skipped, stuck
from .telling import Telling
from .triggers import better_off
from .turns import Turns

MOST_ROUNDS = 5


class Repairer:
    """One call's work on a run."""

    def __init__(
        self,
        database: Database,
        plan: Plan,
        pointing: Sequence[References],
        telling: Telling,
        around: Surroundings | None,
        *,
        reason: str | None,
        triggers_off: bool,
        nice: float,
        max_lag: float | None,
        lock: bool,
        also_damaged: Collection[str],
        proved: set[int],
        alone: bool,
        survey: Survey,
        endgame: Endgame,
    ) -> None:
        self._database = database
        self._plan = plan
        self._run = plan.run.id
        #: the references of each policy
        self._pointing = pointing
        self._table = pointing[0].relations[pointing[0].root]
        #: of each policy, whether a batch may move rows of the table itself, which their
        #: twins' index refuses
        self._moves_own = [bool(one.of(one.root)) for one in pointing]
        self._telling = telling
        self._around = around
        self._reason = reason
        self._triggers_off = triggers_off or any(r.twin for one in pointing for r in one.references)
        self._nice = nice
        self._max_lag = max_lag
        self._lock = lock
        self._also_damaged = also_damaged
        self._proved = proved
        self._alone = alone
        self._survey = survey
        self._endgame = endgame
        self._stale = False
        self._name = f"pgmend repair {self._run}"

    def go(self, base: Result) -> Result:
        """Do all that is left to do."""
        with self._database.open_writer(self._name) as writer:
            end_leftovers(
                writer, self._name, self._telling.say, lambda: self._telling.stopping
            )
            lock_run(writer, self._run, self._telling)
            self._begin(writer)
            if self._alone and better_off(writer, self._pointing, self._plan.losers):
                self._triggers_off = True
            key = resolved_key(writer, self._plan.run, self._plan.key)
            turns = Turns(
                writer, self._database, self._run, self._pointing, self._plan.policies, key,
                f"{self._table.schema}.{self._plan.key_name}", self._telling,
                losers=self._plan.losers,
                triggers_off=self._triggers_off, nice=self._nice,
                also_damaged=self._also_damaged, proved=self._proved, alone=self._alone,
                survey=self._survey,
                wait=lambda: self._wait_for_standbys(writer),
            )
            left, rebuilt = self._rounds(writer, turns)
            if self._triggers_off:
                self._prove_references()
            drop_helpers(writer, self._run)
            with writer.writing():
                writer.rows(
                    f"UPDATE {SCHEMA}.run SET state = $2::text, finished = pg_catalog.now()"
                    " WHERE id = $1::text",
                    [self._run, "left" if left else "repaired"],
                )
            return summary(
                writer, base,
                status="left" if left else "repaired", left=left,
                index_rebuilt=rebuilt, seconds=self._telling.seconds,
                advice=() if left else self._endgame.advice(writer),
            )

    def _begin(self, writer: Writer) -> None:
        """Enter the run and its first round, unless an earlier call did."""
        journal.ensure(writer)
        known = journal.find_run(writer, self._run)
        if known is not None:
            # What was left then may be free now: the next look is a new one.
            self._stale = known.state in {"left", "repaired"}
            with writer.writing():
                writer.rows(
                    f"UPDATE {SCHEMA}.run SET state = 'repairing', finished = NULL"
                    " WHERE id = $1::text",
                    [self._run],
                )
            return
        self._plan.run.begin_repair(writer.journal)
        with writer.writing():
            journal.begin(
                writer,
                run=self._run,
                table=self._table,
                key_name=self._plan.key_name,
                asked=self._plan.run.asked[self._plan.key],
                policies=policies_to_json(self._plan.policies),
                fingerprint=self._plan.fingerprint,
                reason=self._reason,
            )
            load_round(writer, self._run, self._plan, 1, whole=self._moves_own)

    def _prove_references(self) -> None:
        """Raise FailureError where a reference does not resolve: nothing else checked it."""
        checks: list[str] = []
        findings: list[str] = []
        with self._database.reusing() as reused:
            another = partial(reused.open, self._name)
            resolve_references(another, self._pointing, checks, findings, self._telling)
        if findings:
            raise FailureError(
                f"the repair was carried out without triggers, and {'; '.join(findings)}",
                hint=f"Take it back with pgmend undo {self._plan.run.path}, or look whether these"
                " rows pointed at nothing before.",
            )

    def _rounds(
        self, writer: Writer, turns: Turns
    ) -> tuple[int, tuple[str, ...]]:
        """Repair round by round; returns groups left and indexes built."""
        known = journal.known_run(writer, self._run)
        last_round = known.round + MOST_ROUNDS - 1
        # Of a later round that another call began, the plan is not at hand.
        plan = self._plan if known.round == 1 and not self._stale else None
        # What was in the way when an earlier call ended need not be there any more.
        first = known.round if self._stale else 0
        fresh = False
        while True:
            known = journal.known_run(writer, self._run)
            turns.round(known.round, known.done)
            if self._plan.partial:
                return self._plan.left_out, ()
            if self._lock:
                return self._close(writer, turns, known.round)
            again = None
            if plan is None or not self._all_done(writer, plan, known.round):
                again = self._look_again(known.round, fresh=fresh)
            plan, fresh = again, False
            if again is not None and (again.groups or again.changed):
                if known.round >= last_round or (
                    known.round > first and stuck(writer, self._run, known.round)
                ):
                    return again.groups + again.changed + again.kept_apart, ()
                self._next_round(writer, again, known.round + 1)
                continue
            if again is not None:
                return again.kept_apart, ()
            self._telling.check_stop()
            try:
                return 0, self._endgame.build(writer)
            except DuplicatesLeft:
                if known.round >= last_round:
                    raise
                self._telling.say("duplicates arrived before the index was built: once more")
                fresh = True

    def _all_done(self, writer: Writer, plan: Plan, round_: int) -> bool:
        """Tell whether a round has left none of the groups that its scan found.

        Then the unique index alone says whether others have arrived since: its build would
        fail, and they are looked for.
        """
        waiting = plan.changed or plan.kept_apart or plan.parted
        if waiting or not self._endgame.proves(writer):
            return False
        return not count_skipped(writer, self._run, round_)

    def _next_round(self, writer: Writer, plan: Plan, round_: int) -> None:
        self._telling.say(
            f"{plan.groups + plan.changed} groups arrived or were changed meanwhile: round {round_}"
        )
        # Behind those of the scan and of the rounds before, a number means one group of the run.
        scanned = self._plan.run.keys[self._plan.key].groups
        (behind,) = writer.row(
            f"SELECT greatest(max(grp), $2::int4) FROM {SCHEMA}.work WHERE run = $1::text",
            [self._run, scanned],
        )
        with writer.writing():
            load_round(writer, self._run, plan, round_, whole=self._moves_own, behind=behind)

    def _close(
        self, writer: Writer, turns: Turns, round_: int
    ) -> tuple[int, tuple[str, ...]]:
        """Do the last round and the build in one transaction that keeps writers out.

        SHARE ROW EXCLUSIVE on the table until it is committed, and ACCESS EXCLUSIVE on the
        index while it is built. What is raised rolls all of it back.
        """
        self._telling.phase("waiting for the table")
        with writer.writing():
            for tries in count():
                try:
                    with writer.writing():
                        writer.rows(f"LOCK TABLE {self._table.sql} IN SHARE ROW EXCLUSIVE MODE")
                    break
                except LockNotAvailable:
                    if given_up(tries):
                        raise
                    self._telling.wait(jitter(tries), "another session holds the table")
            again = self._look_again(round_, fresh=True)
            left = 0
            if again is not None:
                self._next_round(writer, again, round_ + 1)
                turns.round(round_ + 1, 0)
                skipped = count_skipped(writer, self._run, round_ + 1)
                left = again.kept_apart + again.changed + skipped
            if left:
                return left, ()
            return 0, self._endgame.build_closed(writer)

    def _look_again(self, round_: int, *, fresh: bool = False) -> Plan | None:
        """Scan anew and plan what was found by the same policies; None: the key holds."""
        self._telling.phase("looking again")
        path = self._plan.run.path / f"{ROUND_PREFIX}{round_ + 1}"
        found = scan(
            self._database, self._plan.run.asked[self._plan.key], path,
            fresh=fresh or self._stale,
            on_progress=self._telling.follow,
        )
        self._telling.check_stop()
        self._stale = False
        if not found.keys[0].groups:
            return None
        policies, program = self._plan.policies, self._plan.program
        if program is None and any(policy.by_program for policy in policies):
            raise RefusedError(
                f"{found.keys[0].groups} groups arrived or were changed meanwhile, and the callable"
                " that decided about the others is not at hand in this process",
                hint="Plan them anew: scan again, or give the plan that dedupe.plan returned.",
            )
        if self._around is not None:
            return plan_with(self._around, found, 0, policies, program=program)
        return make_plan(self._database, found, 0, policies, program=program)

    def _wait_for_standbys(self, writer: Writer) -> None:
        """Wait while a standby is too far behind; one whose lag is unknown counts as such."""
        if self._max_lag is None:
            return
        while True:
            lagging = writer.rows(
                "SELECT coalesce(nullif(application_name, ''), pid::text), replay_lag::text FROM"
                " pg_catalog.pg_stat_replication WHERE NOT coalesce(replay_lag <="
                " pg_catalog.make_interval(secs => $1::float8), replay_lsn >="
                " pg_catalog.pg_current_wal_lsn(), false)",
                [self._max_lag],
            )
            if not lagging:
                return
            name, lag = lagging[0]
            self._telling.wait(0.5, f"standby {name} is behind ({lag or 'lag unknown'})")

