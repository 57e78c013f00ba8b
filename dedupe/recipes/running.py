"""A recipe is carried out: one scan a table, then step by step plan, repair and proof.

Everything stands in one directory: ``recipe.json`` says which recipe and which decisions it
belongs to, ``scans/`` holds one scan for all keys of a table, ``steps/`` a run of its own for
each key, with its plan and the rounds of its repair. The same call goes on wherever the last
one ended: what is finished is found again by the directories and by the journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from ..connect import Connectable, Database, connect
from ..errors import NotReady
from ..plan import Plan
from ..repair.locking import lock_recipes
from ..scan.checkpoint import sync_directory
from ..scan.owner import owned
from ..scan.run import Run
from .begun import (
    FINISHED_FILE,
    STOP_RECIPE,
    StepState,
    check_not_taken_back,
    is_finished,
    journaling,
    make_directory,
    step_states,
)
from .counting import unfit_counters
from .decisions import Decisions
from .ending import Ending, counters_of, end
from .fitting import Fit, fit_recipe
from .keys import RecipeKey
from .labels import let_in
from .longkeys import long_keys
from .losses import Losses, find_losses
from .preconditions import Met, look
from .recipe import Recipe
from .signing import sign
from .stepresult import StepResult, step_result
from .undecided import HOW_TO_DECIDE, Undecided, check_chosen, list_undecided
from .work import OnRecipeProgress, Work
from .workers import place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeResult:
    """What came of a recipe, or would come of it."""

    status: Literal["shown", "repaired", "left"]
    fit: Fit
    steps: tuple[StepResult, ...]
    #: what has to be so before anything is written, and is not, a sentence each
    unmet: tuple[str, ...]
    #: questions and choices that are open and that groups wait for, a sentence each
    open: tuple[str, ...]
    #: the same as values
    undecided: tuple[Undecided, ...]
    #: what goes for good by the answers and defaults, if they stay as they are
    losses: tuple[Losses, ...]
    #: whether its repair has begun, so that decisions cannot be changed any more
    begun: bool
    #: whether an earlier call had done all of it
    already_done: bool
    #: what is left for a person to do
    tell: tuple[str, ...]
    #: what a person should know, and what could not be looked at
    notes: tuple[str, ...]
    #: rows whose counters were counted again
    counted: int
    seconds: float


def run_recipe(
    recipe: Recipe,
    place: str | Path,
    db: Connectable,
    *,
    decisions: Decisions | None = None,
    defaults: bool = False,
    execute: bool = False,
    reason: str | None = None,
    live: bool = False,
    redis: str | None = None,
    redis_namespace: str | None = None,
    jobs: int = 2,
    memory: int | str = "64MB",
    nice: float = 0.0,
    on_progress: OnRecipeProgress | None = None,
    stop: threading.Event | None = None,
) -> RecipeResult:
    """Carry a recipe out; with ``execute`` false, scan and plan, and write nothing.

    ``place`` is the directory of the whole. ``decisions``: what people decided; with
    ``defaults`` whatever is open is decided as the recipe says. ``live``: others may be
    connected and workers run. ``redis`` is the URL of the Redis that knows the application's
    workers (needs redis-py, the extra ``redis``), ``redis_namespace`` what its keys begin with.
    ``reason`` is journaled. Once all is done the same call changes nothing, and asks for nothing,
    and says so. ``on_progress`` is called with the step or table, ``survey``,
    ``losses`` or ``proof``, and its progress, by one thread at a time, not always this one;
    ``stop`` ends it at a safe point.

    Reads every table of the recipe once for all its keys, and again after its repair; tables
    whose keys may be too long for an index once more, and so, with nobody else connected, large
    tables that point at duplicates, and after the last repair all that point at what went. What
    hangs on rows that go for good is read before (``list_losses``), and written to
    ``steps/ID/losses.jsonl``. Writes as ``repair`` does, each step with a run of its own in the
    journal. Memory: that of one scan or one repair.

    Raises RecipeDoesNotFit, RecipeError (a row was chosen that is in no group), RunMismatch (the
    directory is another recipe's, or other decisions were made), NotARunDirectory, RunInUse (a
    recipe is carried out in this database by another process), RefusedError (its journal is in
    another schema), NotReady (unmet preconditions, open questions; only with ``execute``), what
    ``find_workers`` raises of a Redis, and what ``scan``, ``plan`` and ``repair`` raise.
    """
    started = time.monotonic()
    path = Path(place)
    asked = place_of(redis, redis_namespace)
    alone = recipe.before.alone and not live
    with ExitStack() as held:
        database = connect(db)
        make_directory(path)
        held.enter_context(owned(path, hint=STOP_RECIPE))
        database = held.enter_context(journaling(path, database).reusing())
        work = Work(
            database, recipe, path, decisions or Decisions(), jobs, memory, nice, on_progress,
            stop, alone=alone,
        )
        held.callback(work.close)
        with database.open("pgmend recipe") as session:
            known = step_states(path, session)
            check_not_taken_back(path, known)
            finished = is_finished(path, known, session)
        states = {one.id: one for one in known}
        fit = fit_recipe(database, recipe)
        begun = any(one.begun for one in known)
        sign(path, recipe, work.decisions, begun=begun)
        if finished:
            return _as_it_is(work, fit, states, started)
        before = look(database, recipe, redis=asked, live=live)
        if execute:
            if before.unmet:
                raise _not_ready(before.unmet)
            lock = held.enter_context(database.open("pgmend recipe"))
            lock_recipes(lock, work.telling("lock"))
            if work.finish():
                fit = fit_recipe(database, recipe)
        keys = work.keys(fit, begun=begun)
        runs = work.runs(keys, work.scans(keys, begun=begun))
        plans, long = _planned(database, work, fit, runs)
        check_chosen(fit, work.decisions, plans)
        undecided = () if defaults else list_undecided(fit, work.decisions, plans)
        obstacles = (*work.obstacles(plans), *unfit_counters(work.around, counters_of(fit)))
        listing = work.telling("losses")
        losses, unread = find_losses(work.around, fit, work.decisions, plans, listing)
        unread = (*work.notes, *unread)
        if execute:
            # The scans may have taken hours, in which somebody came back.
            before = look(database, recipe, redis=asked, live=live)
            unmet = *before.unmet, *long.unmet, *obstacles
            if unmet or undecided:
                raise _not_ready(unmet, tuple(one.sentence for one in undecided))
            for one in losses:
                if not one.begun:
                    listing.say(f"{one.sentence}; each is listed in {one.file}")
            survey = work.survey(plans, counters_of(fit))
            steps = [
                work.carry_out(key, plan, reason, _behind(plans[number:]))
                for number, (key, plan) in enumerate(plans, 1)
            ]
            work.prove(plans)
            ending = end(
                database, fit, path, [step.run_id for step in steps], reason,
                alone=alone, survey=survey,
            )
            open_ = (let_in(work.around.session, key.index) for key in keys)
            unread = (*unread, *ending.notes, *chain.from_iterable(open_))
            if not ending.uncounted and not any(step.left for step in steps):
                unread = (*unread, *_note_finished(path))
        else:
            steps = [_shown(key, plan, states.get(key.id)) for key, plan in plans]
            ending = Ending()
    left = ending.uncounted or any(step.status == "left" for step in steps)
    return _result(
        fit, steps, losses, started,
        status="shown" if not execute else "left" if left else "repaired",
        met=before.joined(long).joined(Met(unmet=obstacles, notes=unread)),
        undecided=undecided, begun=begun or execute, counted=ending.counted,
    )


def _note_finished(path: Path) -> tuple[str, ...]:
    """Note that all was carried out; where that cannot be written, return a sentence."""
    try:
        (path / FINISHED_FILE).touch()
        sync_directory(path)
    except OSError as error:
        told = f"that all is done could not be noted in {path} ({error.strerror})"
        return (f"{told}: given again, the command looks at all of it once more",)
    return ()


def _as_it_is(
    work: Work, fit: Fit, states: Mapping[str, StepState], started: float
) -> RecipeResult:
    """Return what came of a recipe that was carried out whole before."""
    plans = [(key, Plan(states[key.id].run)) for key in work.keys(fit, begun=True)]
    listing = work.telling("losses")
    losses, _ = find_losses(work.around, fit, work.decisions, plans, listing)
    return _result(
        fit, [_shown(key, plan, states[key.id]) for key, plan in plans], losses, started,
        status="repaired", met=Met(), undecided=(), begun=True, counted=0, already_done=True,
    )


def _result(
    fit: Fit,
    steps: Sequence[StepResult],
    losses: tuple[Losses, ...],
    started: float,
    *,
    status: Literal["shown", "repaired", "left"],
    met: Met,
    undecided: tuple[Undecided, ...],
    begun: bool,
    counted: int,
    already_done: bool = False,
) -> RecipeResult:
    return RecipeResult(
        status=status,
        fit=fit,
        steps=tuple(steps),
        unmet=met.unmet,
        open=tuple(one.sentence for one in undecided),
        undecided=undecided,
        losses=losses,
        begun=begun,
        already_done=already_done,
        tell=tuple(
            after.tell
            for after in fit.recipe.afterwards
            if after.tell is not None and after.counts_at(fit.versions)
        ),
        notes=(*fit.notes, *met.notes),
        counted=counted,
        seconds=time.monotonic() - started,
    )


def _planned(
    database: Database, work: Work, fit: Fit, runs: list[tuple[RecipeKey, Run]]
) -> tuple[list[tuple[RecipeKey, Plan]], Met]:
    """Make the plans, and meanwhile look for keys that are too long, which takes as long."""
    failed = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(
            long_keys, database, runs, fit.recipe.rebuild,
            lambda: failed.is_set() or work.stopping(),
        )
        try:
            return work.plans(fit, runs), looking.result()
        except BaseException:
            failed.set()
            raise


def _not_ready(unmet: tuple[str, ...], waiting: tuple[str, ...] = ()) -> NotReady:
    hints = ["Mend what is named."] if unmet else []
    if waiting:
        hints.append(HOW_TO_DECIDE)
    return NotReady(
        "the recipe cannot be carried out yet: " + "; ".join((*unmet, *waiting)),
        hint=" ".join(hints),
        reasons=(*unmet, *waiting),
    )


def _behind(plans: list[tuple[RecipeKey, Plan]]) -> set[str]:
    """Return the indexes of keys that hold duplicates."""
    return {
        key.index for key, plan in plans if key.index is not None and (plan.groups or plan.changed)
    }


def _shown(key: RecipeKey, plan: Plan, state: StepState | None) -> StepResult:
    """Say what would be done for a key, or what an earlier call has done."""
    if state is not None and state.known is not None:
        done = state.known.groups
        if state.known.state == "repaired":
            return step_result(key, plan, status="repaired", repaired=done)
        if state.known.state == "left":
            return step_result(key, plan, status="left", repaired=done, left=state.left)
    sound = (state is not None and state.rebuilt) or not (plan.groups or plan.changed)
    return step_result(key, plan, status="sound" if sound else "shown", left=plan.groups)
