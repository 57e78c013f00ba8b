"""The work of one call on a recipe: its directory, its scans, its plans, its repairs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from .. import journal
from ..connect import Database
from ..errors import DuplicatesLeft, QueryFailed, RunMismatch, UsageError
from ..key import MatchKey
from ..plan import Plan
from ..planning import known_key, plan_with, resolved_key
from ..progress import Progress, RepairProgress, RunStatus
from ..repair.executor import repair
from ..repair.plainindex import finish_plain
from ..repair.rebuild import rebuild
from ..repair.result import Result
from ..repair.survey import Survey
from ..repair.telling import Telling, stopped
from ..repair.uniqueindex import is_plain, set_aside
from ..scan.directory import PLAN_FILE, own_name
from ..scan.keys import usable_keys
from ..scan.options import Options
from ..scan.pace import MEMORY_MIN, parse_size
from ..scan.run import Run
from ..scan.scanner import scan
from ..scan.splitting import run_of_key
from ..surroundings import Surroundings
from .begun import KEYS_FILE, REBUILT_FILE
from .decisions import Decisions
from .files import read_file, write_file
from .fitting import Fit
from .forgetting import forget, forget_asking
from .keys import RecipeKey, keys_of, read_keys, write_keys
from .labels import is_built, labelled, storage
from .recipe import Counter, Recipe
from .rules import Going, cases_of, going_by, policies_of, policies_otherwise
from .stepresult import StepResult, step_result
from .surveying import obstacles_to, prove_references, survey_plans

#: up to which deleted row in the journal nothing points at one
_PROVED = "proved"
#: bytes of a heap below which most of a scan's time is not spent reading
_SMALL = 32 << 20
OnRecipeProgress = Callable[[str, RepairProgress | Progress], None]


class Work:
    """One call's work on a recipe."""

    def __init__(
        self,
        database: Database,
        recipe: Recipe,
        path: Path,
        decisions: Decisions,
        jobs: int,
        memory: int | str,
        nice: float,
        on_progress: OnRecipeProgress | None,
        stop: threading.Event | None,
        *,
        alone: bool,
    ) -> None:
        self._database = database
        #: whether nobody else is connected: then indexes are built by the faster way
        self._alone = alone
        self._recipe = recipe
        self._path = path
        self.decisions = decisions
        self._jobs = jobs
        self._memory = memory
        self._nice = nice
        self._on_progress = on_progress
        #: held while the listener is told by one of several scans
        self._telling = threading.Lock()
        self._stop = stop
        #: indexes that were proved by the repair of an earlier key
        self._proved: set[int] = set()
        #: by which indexes the repairs may go, and for which ids
        self._survey = Survey()
        self._known: Surroundings | None = None
        #: what a person should know of the plans
        self.notes: list[str] = []

    def close(self) -> None:
        """Close the session that the catalogs were read in."""
        self._forget_catalogs()

    def _forget_catalogs(self) -> None:
        if self._known is not None:
            self._known.session.close()
            self._known = None

    @property
    def around(self) -> Surroundings:
        """What was read of the catalogs, until the schema is changed."""
        if self._known is None:
            self._known = Surroundings(self._database.open("pgmend recipe"))
        return self._known

    def keys(self, fit: Fit, *, begun: bool) -> list[RecipeKey]:
        """List the keys to repair: ``keys_of``, or those that the repairs have begun with.

        A repair changes which indexes there are; a key is asked for in the same way until
        its directory is done with. Before that, what others changed of the keys of a table makes
        forget what was found there.
        """
        known = read_keys(self._path, self._recipe) if (self._path / KEYS_FILE).exists() else []
        if begun and known:
            return known
        keys = keys_of(fit)
        for table in {key.table for key in known}:
            if [key for key in known if key.table == table] != [
                key for key in keys if key.table == table
            ]:
                forget(self._path, table, known)
        write_keys(self._path, keys)
        return keys

    def scans(
        self, keys: list[RecipeKey], *, begun: bool
    ) -> Mapping[str, tuple[Run, list[MatchKey]]]:
        """Scan every table once for all of its keys; what is scanned already stays.

        But for tables of steps that ask, or let rows go for good: until the repairs have begun
        these are scanned by each call, so that what is asked and told is how it is now. Small
        tables several at a time, which share the memory: of these little of the time is reading.
        """
        if not begun:
            forget_asking(self._path, keys)
        Options.of(order="auto", jobs=self._jobs, memory=self._memory, nice=self._nice)
        around = self.around
        tables = list(dict.fromkeys(key.table for key in keys))
        small = [name for name in tables if around.relation(around.find(name)).bytes < _SMALL]
        # The scans may take hours, in which anything can become another thing.
        self._forget_catalogs()
        look = partial(self._scan, keys=keys, begun=begun)
        found = {
            name: look(name, jobs=self._jobs, memory=self._memory)
            for name in tables if name not in small
        }
        memory = parse_size(self._memory)
        at_once = max(1, min(self._jobs, memory // MEMORY_MIN))
        with ThreadPoolExecutor(at_once) as pool:
            share = {"jobs": 1, "memory": memory // at_once}
            waiting = {name: pool.submit(look, name, **share) for name in small}
            try:
                return found | {name: one.result() for name, one in waiting.items()}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _scan(
        self, table: str, keys: Sequence[RecipeKey], jobs: int, memory: int | str, *, begun: bool
    ) -> tuple[Run, list[MatchKey]]:
        """Scan a table for its keys, or go on with that."""
        usable, refused = usable_keys(
            self._database, [key.asked for key in keys if key.table == table]
        )
        for _, error in refused:
            raise error

        def scanned() -> Run:
            return scan(
                self._database,
                usable,
                self._path / "scans" / own_name(table),
                jobs=jobs,
                memory=memory,
                nice=self._nice,
                on_progress=partial(self._follow, table),
            )

        try:
            run = scanned()
        except RunMismatch as error:
            if begun:
                raise RunMismatch(
                    error.message,
                    hint="What was carried out pgmend recipe undo takes back; the rest takes"
                    " another directory (--run).",
                    **error.facts,
                ) from error
            forget(self._path, table, keys)
            run = scanned()
        if run.status is not RunStatus.FINISHED:
            raise stopped()
        return run, usable

    def _follow(self, table: str, event: Progress) -> None:
        if self._on_progress is not None:
            with self._telling:
                self._on_progress(table, event)
        if self.stopping():
            event.run.stop()

    def runs(
        self, keys: list[RecipeKey], scans: Mapping[str, tuple[Run, list[MatchKey]]]
    ) -> list[tuple[RecipeKey, Run]]:
        """Give each key a run of its own, of what the scan of its table found."""
        found = []
        for key in keys:
            run, asked = scans[key.table]
            place = self._path / "steps" / own_name(key.id)
            found.append((key, run_of_key(run, asked.index(key.asked), place)))
        return found

    def plans(
        self, fit: Fit, keys: list[tuple[RecipeKey, Run]]
    ) -> list[tuple[RecipeKey, Plan]]:
        """Make the plan of each key, unless it is there; first those that let rows go for good."""
        losing = {
            step.id
            for step in (key.step for key, _ in keys if key.step is not None)
            if any(case.accept_loss for case in cases_of(fit, step, self.decisions))
        }
        going: list[Going] = []
        made: dict[str, Plan] = {}
        for key, run in sorted(keys, key=lambda one: one[0].id not in losing):
            made[key.id] = self._plan(fit, key, run, going)
            if key.id in losing:
                going += going_by(self.around, made[key.id])
                if any(not one.ids for one in going):
                    self.notes.append(
                        f"so many rows of {key.table} go for good that of duplicates of other keys"
                        " it was not looked at whether they reference one of these"
                    )
        return [(key, made[key.id]) for key, _ in keys]

    def _plan(self, fit: Fit, key: RecipeKey, run: Run, going: Sequence[Going]) -> Plan:
        self._check_stop()
        if (run.path / PLAN_FILE).exists():
            return Plan(run)
        around = self.around
        resolved = known_key(around, run, 0)
        try:
            policies = (
                policies_otherwise(around, fit, resolved)
                if key.step is None
                else policies_of(around, fit, key.step, resolved, self.decisions, going)
            )
            return plan_with(around, run, 0, policies)
        except (UsageError, QueryFailed) as error:
            # Whoever wrote the recipe has to find the rule in it.
            raise type(error)(
                f"step {key.id}: {error.message}",
                hint=error.hint or f"See the rules of the step in the recipe {fit.recipe.name}.",
                **error.facts,
            ) from error

    def survey(
        self, plans: list[tuple[RecipeKey, Plan]], counters: Sequence[Counter]
    ) -> Survey:
        """Look once for what points at the rows of all plans that are still to be carried out."""
        if self._alone:
            everything, telling = [plan for _, plan in plans], self.telling("survey")
            self._survey = survey_plans(self._database, self.around, everything, counters, telling)
        return self._survey

    def obstacles(self, plans: list[tuple[RecipeKey, Plan]]) -> tuple[str, ...]:
        """List what stands in the way of the repairs, rights for instance, all of it at once."""
        return obstacles_to(self.around, [plan for _, plan in plans])

    def prove(self, plans: list[tuple[RecipeKey, Plan]]) -> None:
        """Prove that nothing points at rows that are gone, once for what the journal holds.

        Only alone: beside others each repair goes by proved indexes.
        """
        mark = self._path / _PROVED
        last = journal.last_deletion(self.around.session)
        if self._alone and not (mark.exists() and read_file(mark) == last):
            everything = [plan for _, plan in plans]
            if prove_references(self._database, self.around, everything, self.telling("proof")):
                write_file(mark, last)

    def telling(self, what: str) -> Telling:
        """Return what tells the listener about a part of the work, and hears a stop."""
        return Telling(partial(self._tell, what), self._stop)

    def _check_stop(self) -> None:
        if self.stopping():
            raise stopped()

    def stopping(self) -> bool:
        """Tell whether the call is asked to stop."""
        return self._stop is not None and self._stop.is_set()

    def carry_out(
        self, key: RecipeKey, plan: Plan, reason: str | None, behind: Collection[str]
    ) -> StepResult:
        """Repair a key, or build its index anew where there is nothing to repair.

        ``behind``: the indexes of keys that hold duplicates and come later.
        """
        session = self.around.session
        known = journal.find_run(session, plan.run.id)
        if key.index is not None and any(
            is_plain(session, index) for index, *_ in labelled(session, key.index)
        ):
            # Set aside, or made so by somebody else.
            key = replace(key, create=key.name)
        if known is None and not (plan.groups or plan.changed or key.create):
            try:
                self._rebuild(key, plan)
            except DuplicatesLeft:
                # They have come since the scan: the repair finds them.
                pass
            else:
                return step_result(key, plan, status="sound")
        if known is None and plan.parted and key.index is not None:
            # Rows that keep a twin until the next round are going to be changed in this one.
            key = self._aside(key, key.index)
        done = self._repaired(key, plan, reason, set(behind))
        status: Literal["repaired", "left"] = "left" if done.status == "left" else "repaired"
        return step_result(
            key, plan, status=status, repaired=done.repaired, left=done.left, skipped=done.skipped
        )

    def _repaired(
        self, key: RecipeKey, plan: Plan, reason: str | None, behind: set[str]
    ) -> Result:
        """Repair a key; what index is in its way becomes a plain one until its own turn."""
        # Its own as well: of some groups a twin is left to be decided about in the next round.
        if key.index is not None:
            behind.add(key.index)
        while True:
            try:
                done = repair(
                    plan,
                    db=self._database,
                    execute=True,
                    reason=reason,
                    nice=self._nice,
                    create_index=key.create,
                    also_damaged=behind,
                    proved=self._proved,
                    alone=self._alone,
                    around=self.around,
                    survey=self._survey,
                    on_progress=partial(self._tell, key.id),
                    stop=self._stop,
                )
            except DuplicatesLeft as error:
                label = error.facts.get("index")
                if label not in behind:
                    raise
                # One that cannot be made plain leaves the groups that it refuses.
                behind.remove(label)
                key = self._aside(key, label)
            else:
                if not self._alone:
                    # Any index that took part may be another one now.
                    self._forget_catalogs()
                elif key.create is not None:
                    self.around.forget_indexes(plan.run.identity.table_oid)
                return done

    def _aside(self, key: RecipeKey, label: str) -> RecipeKey:
        """Set an index aside; of the key's own, return the key that makes it unique again."""
        with self._database.open_writer("pgmend recipe") as writer:
            for index, table, _ in labelled(writer, label):
                set_aside(writer, index, lambda _: None)
                self.around.forget_indexes(table)
        return replace(key, create=key.name) if label == key.index else key

    def finish(self) -> bool:
        """Finish what a call that was cut off has begun about an index, if there is such."""
        with self._database.open_writer("pgmend recipe") as writer:
            return finish_plain(writer, lambda _: None)

    def _tell(self, what: str, event: RepairProgress) -> None:
        if self._on_progress is not None:
            self._on_progress(what, event)

    def _rebuild(self, key: RecipeKey, plan: Plan) -> None:
        """Build the index of a key anew, once, and write down which file it is in."""
        mark, session = plan.run.path / REBUILT_FILE, self.around.session
        if mark.exists() and is_built(session, key.index, read_file(mark)):
            return
        with self._database.open_writer("pgmend recipe") as writer:
            oid = resolved_key(writer, plan.run, plan.key).index_oid
            if oid is not None:
                rebuild(writer, oid, lambda _: None, alone=self._alone)
                if not self._alone:
                    self._forget_catalogs()
            built = 0 if key.index is None else storage(writer, key.index)
        write_file(mark, built or 0)
