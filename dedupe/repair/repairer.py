"""Repair: the plan is carried out, round by round, until the key holds again.

A round repairs the groups of a plan in batches, each one transaction. Then the table is
scanned anew: duplicates that arrived meanwhile, and groups that were changed since their
plan, are planned by the same policies and repaired in the next round. When the scan finds
none, the unique index is rebuilt; if that still meets duplicates, another round follows.

All progress stands in the database, committed with the changes that it describes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from .. import journal
from ..connect import Database
from ..errors import (
    DedupeError,
    DuplicatesLeft,
    FailureError,
    LockNotAvailable,
    QueryFailed,
    RefusedError,
    ServerUnavailable,
    UnplannedEffect,
)
from ..journal import SCHEMA
from ..plan import Plan
from ..planning import make_plan, resolved_key
from ..policy import policies_to_json
from ..references import References
from ..scan.directory import ROUND_PREFIX
from ..scan.owner import end_leftovers
from ..scan.scanner import scan
from ..writer import Writer
from .batch import Batches
from .endgame import Endgame
from .loading import PIECE_ROWS, load_round
from .locking import jitter, lock_run, may_pass
from .preparing import drop_helpers, prepare
from .rebuild import DUPLICATES, look_for_others
from .resolving import resolve_references
from .result import Result, summary
from .taking import count_skipped, stuck
from .telling import Telling

MOST_ROUNDS = 5
#: a batch's; its locks are held as long
_TARGET_SECONDS = 0.5
#: the same where nobody else is connected who could wait for them
_TARGET_ALONE = 5.0
_FIRST_BATCH = 100
_LARGEST_BATCH = 20_000
_LOCK_TRIES = 8
#: rows of a group that a batch's size reckons with
_ROWS_A_GROUP = 3


class Repairer:
    """One call's work on a run."""

    def __init__(
        self,
        database: Database,
        plan: Plan,
        pointing: Sequence[References],
        telling: Telling,
        *,
        reason: str | None,
        triggers_off: bool,
        nice: float,
        max_lag: float | None,
        lock: bool,
        also_damaged: Collection[str],
        proved: set[int],
        alone: bool,
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
        self._reason = reason
        self._triggers_off = triggers_off or any(r.twin for one in pointing for r in one.references)
        self._nice = nice
        self._max_lag = max_lag
        self._lock = lock
        self._also_damaged = also_damaged
        self._proved = proved
        self._alone = alone
        self._target = _TARGET_ALONE if alone else _TARGET_SECONDS
        self._endgame = endgame
        self._size = _FIRST_BATCH
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
            key = resolved_key(writer, self._plan.run, self._plan.key)
            prepare(
                writer, lambda: self._database.open(self._name), self._run, self._pointing,
                key.index_oid, self._telling, self._proved, alone=self._alone,
            )
            batches = [
                Batches(
                    writer, self._run, references, policy, key, triggers_off=self._triggers_off
                )
                for references, policy in zip(self._pointing, self._plan.policies, strict=True)
            ]
            left, rebuilt = self._rounds(writer, batches)
            if self._triggers_off:
                self._prove_references(writer)
            for references in self._pointing:
                drop_helpers(writer, self._run, references)
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

    def _prove_references(self, writer: Writer) -> None:
        """Raise FailureError where a reference does not resolve: nothing else checked it."""
        checks: list[str] = []
        findings: list[str] = []
        for references in self._pointing:
            resolve_references(writer, references, checks, findings)
        if findings:
            told = "; ".join(dict.fromkeys(findings))
            raise FailureError(
                f"the repair was carried out without triggers, and {told}",
                hint=f"Take it back with pgmend undo {self._plan.run.path}, or look whether these"
                " rows pointed at nothing before.",
            )

    def _rounds(
        self, writer: Writer, batches: Sequence[Batches]
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
            self._repair_round(writer, batches, known.round, known.done)
            if self._plan.partial:
                return self._plan.left_out, ()
            if self._lock:
                return self._close(writer, batches, known.round)
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
        with writer.writing():
            load_round(writer, self._run, plan, round_, whole=self._moves_own)

    def _close(
        self, writer: Writer, batches: Sequence[Batches], round_: int
    ) -> tuple[int, tuple[str, ...]]:
        """Do the last round and the build in one transaction that keeps writers out.

        SHARE ROW EXCLUSIVE on the table until it is committed, and ACCESS EXCLUSIVE on the
        index while it is built. What is raised rolls all of it back.
        """
        self._telling.phase("waiting for the table")
        with writer.writing():
            for tries in range(_LOCK_TRIES + 1):
                try:
                    with writer.writing():
                        writer.rows(f"LOCK TABLE {self._table.sql} IN SHARE ROW EXCLUSIVE MODE")
                    break
                except LockNotAvailable:
                    if tries == _LOCK_TRIES:
                        raise
                    self._telling.wait(jitter(tries), "another session holds the table")
            again = self._look_again(round_, fresh=True)
            left = 0
            if again is not None:
                self._next_round(writer, again, round_ + 1)
                self._repair_round(writer, batches, round_ + 1, 0)
                skipped = count_skipped(writer, self._run, round_ + 1)
                left = again.kept_apart + again.changed + skipped
            if left:
                return left, ()
            return 0, self._endgame.build_closed(writer)

    def _repair_round(
        self, writer: Writer, batches: Sequence[Batches], round_: int, done: int
    ) -> None:
        (total,) = writer.row(
            f"SELECT coalesce(max(turn), 0) FROM {SCHEMA}.work WHERE run = $1::text"
            " AND round = $2::int4",
            [self._run, round_],
        )
        self._telling.phase("repairing", total, done)
        while True:
            self._telling.check_stop()
            self._wait_for_standbys(writer)
            policy, part = self._next_part(writer, round_, done)
            if not part:
                return
            took = self._one_batch(batches[policy], round_, done, part)
            done = part[-1]
            self._telling.did(len(part))
            if self._nice:
                self._telling.wait(took * self._nice, "being nice")

    def _next_part(self, writer: Writer, round_: int, done: int) -> tuple[int, list[int]]:
        """Return the turns of the next batch, and the policy that all of them belong to.

        Fewer where there are large groups among them.
        """
        part: list[int] = []
        rows = first = 0
        for turn, policy, count in writer.rows(
            f"SELECT turn, min(policy), count(*) FROM {SCHEMA}.work WHERE run = $1::text"
            " AND round = $2::int4 AND turn > $3::int4 GROUP BY turn ORDER BY turn LIMIT $4::int4",
            [self._run, round_, done, self._size],
        ):
            rows += count
            if not part:
                first = policy
            elif policy != first or rows > max(PIECE_ROWS, _ROWS_A_GROUP * self._size):
                break
            part.append(turn)
        return first, part

    def _one_batch(
        self, batches: Batches, round_: int, done: int, part: list[int]
    ) -> float:
        """Repair the groups of some turns; what fails is halved until it is alone."""
        tries = 0
        while True:
            started = time.monotonic()
            try:
                batches.run(round_, done, part[-1])
            except UnplannedEffect:
                raise
            except (QueryFailed, ServerUnavailable) as error:
                passing = may_pass(error)
                if isinstance(error, ServerUnavailable) and not passing:
                    raise
                tries += 1
                if not passing or tries >= _LOCK_TRIES:
                    return self._halved(batches, round_, done, part, error)
                self._telling.wait(jitter(tries), "a lock is held by another session")
                continue
            else:
                took = time.monotonic() - started
                if took < self._target / 2:
                    self._size = min(_LARGEST_BATCH, self._size * 2)
                elif took > self._target:
                    self._size = max(1, int(self._size * self._target / took))
                return took

    def _halved(
        self, batches: Batches, round_: int, done: int, part: list[int], error: DedupeError
    ) -> float:
        own = f"{self._table.schema}.{self._plan.key_name}"
        look_for_others(error, {label for label in self._also_damaged if label != own})
        if len(part) == 1:
            twins = error.facts.get("sqlstate") == DUPLICATES
            if twins and batches.join(round_, part[0]):
                return self._one_batch(batches, round_, done, part)
            look_for_others(error, self._also_damaged)
            for group in batches.skip(round_, part[0], error.message):
                self._telling.say(f"group {group} was left as it is: {error.message}")
            return 0.0
        middle = len(part) // 2
        first = self._one_batch(batches, round_, done, part[:middle])
        return first + self._one_batch(batches, round_, part[middle - 1], part[middle:])

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

