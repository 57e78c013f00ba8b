"""A recipe that was carried out, in part or whole: looked at again, or taken back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from ..connect import Connectable, Database
from ..errors import UndoRefused, UsageError
from ..journal import KnownRun, changed_between, find_run
from ..repair.locking import lock_recipes
from ..repair.result import UndoResult
from ..repair.telling import Telling
from ..repair.undoing import undo
from ..repair.uniqueindex import is_set_aside, set_aside, unique_again
from ..repair.verification import Verification, verify
from ..scan.owner import owned
from ..scan.run import Run
from ..session import Session
from .begun import (
    FINISHED_FILE,
    KEYS_FILE,
    STOP_RECIPE,
    VIEWS_FILE,
    StepState,
    carried_out,
    counter_runs,
    journaling,
)
from .ending import refresh
from .files import read_file, remove
from .labels import labelled, let_in
from .work import OnRecipeProgress

#: what the runs of counters are called where steps are named
_COUNTERS = "counters"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepVerification:
    """What is said of one step by a look at a recipe that was carried out."""

    #: the step's id; of a key that no step names, the index
    id: str
    #: schema.table
    table: str
    verification: Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUndo:
    """What came of one step by an undo, or would come of it."""

    #: the step's id; of a key that no step names, the index; ``counters``
    id: str
    #: schema.table
    table: str
    undo: UndoResult


def verify_recipe(
    place: str | Path,
    db: Connectable,
    *,
    on_progress: OnRecipeProgress | None = None,
    stop: threading.Event | None = None,
) -> tuple[StepVerification, ...]:
    """Verify the repair of every step in a directory; see ``verify``.

    A step that was not carried out to its end, or was taken back, is a finding. Raises what
    ``verify`` raises, NotARunDirectory, RunMismatch (another database), UsageError (nothing was
    carried out, or all of it was taken back).
    """
    database = journaling(place, db)
    with database.open("pgmend recipe") as session:
        states = carried_out(place, session)
        open_ = {one.id: let_in(session, one.index) for one in states}
    repaired = [one for one in states if one.known is not None]
    if repaired and all(one.taken_back for one in repaired):
        raise UsageError(
            f"the recipe in {place} was taken back: there is nothing of it to verify",
            hint="pgmend recipe run, with another --run, carries it out anew.",
            path=place,
        )
    found = []
    for one in states:
        if one.known is None or one.pending or one.taken_back:
            verification = _without_look(one)
        else:
            telling = None if on_progress is None else partial(on_progress, one.id)
            verification = verify(one.run, db=database, on_progress=telling, stop=stop)
        verification = replace(
            verification, findings=(*verification.findings, *open_[one.id])
        )
        found.append(StepVerification(id=one.id, table=one.run.table, verification=verification))
    return tuple(found)


def _without_look(step: StepState) -> Verification:
    """Say what is known of a step of which nothing is to be looked at."""
    checks: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    if step.rebuilt:
        checks = ("there was nothing to repair, and the index was built anew",)
    elif step.taken_back:
        findings = (f"step {step.id} was taken back",)
    else:
        far = " to its end" if step.known is not None else ""
        findings = (f"step {step.id} was not carried out{far}: pgmend recipe run goes on with it",)
    return Verification(run_id=step.run.id, groups=0, checks=checks, findings=findings)


def undo_recipe(
    place: str | Path,
    db: Connectable,
    *,
    execute: bool = False,
    drop_constraints: Sequence[str] = (),
    on_progress: OnRecipeProgress | None = None,
    stop: threading.Event | None = None,
) -> tuple[StepUndo, ...]:
    """Take back every step in a directory, what was changed last first; see ``undo``.

    ``drop_constraints`` are those of all steps; whatever has to go and is not among them is told
    before anything is written. It ends at the first step of which rows were refused, for what came
    before it is under them, unless it went on later: mended, the same call goes on. Indexes of
    steps that were not carried out become plain ones, for they would refuse the duplicates that
    they had let in; these steps come first. Materialized views that the recipe refreshed are
    refreshed again. Raises what
    ``undo`` raises, UndoRefused (``reasons``), NotARunDirectory, RunMismatch (another database),
    RunInUse (a recipe is carried out in this database), UsageError (nothing was carried out).
    """
    path = Path(place)
    database = journaling(path, db)
    with ExitStack() as held:
        # Nothing is written into what is no recipe's.
        if execute and (path / KEYS_FILE).exists():
            held.enter_context(owned(path, hint=STOP_RECIPE))
            lock = held.enter_context(database.open("pgmend recipe"))
            lock_recipes(lock, Telling(None, stop))
        with database.open("pgmend recipe") as session:
            states = carried_out(path, session)
            todo = _todo(path, session, states)
        if execute:
            _check_drops(database, todo, drop_constraints)
            remove(path / FINISHED_FILE)
        aside = _set_aside(database, states, execute=execute)
        results = [
            StepUndo(
                id=one.id,
                table=one.run.table,
                undo=UndoResult(
                    status="undone" if execute else "shown", run_id=one.run.id,
                    already_done=aside[one.id].before, statements=aside[one.id].statements,
                ),
            )
            for one in states
            if one.known is None and aside[one.id].statements
        ]

        def take_back(one: _Repaired) -> UndoResult:
            return undo(
                one.run,
                db=database,
                execute=execute,
                drop_constraints=drop_constraints,
                on_progress=None if on_progress is None else partial(on_progress, one.id),
                stop=stop,
            )

        if execute:
            done, whole = _taken_back(todo, take_back)
        else:
            done, whole = [(one, take_back(one)) for one in todo], True
        for one, result in done:
            own = result.statements or aside.get(one.id, _Aside()).statements
            results.append(
                StepUndo(id=one.id, table=one.known.table, undo=replace(result, statements=own))
            )
        views = path / VIEWS_FILE
        if execute and whole and views.exists():
            with database.open_writer("pgmend recipe") as writer:
                refresh(writer, read_file(views))
    return tuple(results)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repaired:
    """A run that a recipe journaled."""

    #: the step's id; of a key that no step names, the index; ``counters``
    id: str
    run: Run | str
    known: KnownRun
    #: when its first and its last change were made
    first: datetime
    last: datetime


def _taken_back(
    todo: Sequence[_Repaired], take_back: Callable[[_Repaired], UndoResult]
) -> tuple[list[tuple[_Repaired, UndoResult]], bool]:
    """Undo runs, the one that changed something last first; also return whether all came back.

    A run that was gone on with, because groups were left, may have changed the same rows before
    and after another one: of each comes back what it can, in turns, as long as anything does.
    What is under rows that were refused otherwise stays as it is.
    """
    done: dict[str, tuple[_Repaired, UndoResult]] = {}
    waiting = list(todo)
    while waiting:
        refused: list[_Repaired] = []
        left: list[_Repaired] = []
        came_back = False
        for one in waiting:
            if refused and not any(one.last > other.first for other in refused):
                left.append(one)
                continue
            result = take_back(one)
            came_back |= any(result.restored.values()) or any(result.put_back.values())
            if result.refused:
                refused.append(one)
                left.append(one)
            before = done.get(one.known.id)
            done[one.known.id] = one, result if before is None else _joined(before[1], result)
        waiting = left
        if refused and not came_back:
            break
    return list(done.values()), not waiting


def _joined(first: UndoResult, then: UndoResult) -> UndoResult:
    """Add up two undos of one run."""
    return replace(
        then,
        restored=dict(Counter(first.restored) + Counter(then.restored)),
        put_back=dict(Counter(first.put_back) + Counter(then.put_back)),
        already_done=first.already_done,
        statements=then.statements or first.statements,
        seconds=first.seconds + then.seconds,
    )


def _check_drops(database: Database, todo: Sequence[_Repaired], drop: Sequence[str]) -> None:
    """Raise UndoRefused for all that has to go before any step can be taken back."""
    reasons = [
        f"{one.id}: {text}"
        for one in todo
        for text in undo(one.run, db=database, drop_constraints=drop).refused
    ]
    if reasons:
        raise UndoRefused(
            f"the recipe cannot be taken back yet: {'; '.join(reasons)}",
            hint="Nothing was written. Give the same command with these options; SQL that restores"
            " what was dropped is printed.",
            reasons=tuple(reasons),
        )


def _todo(path: Path, session: Session, states: Sequence[StepState]) -> list[_Repaired]:
    """List all that was repaired, what was changed last first."""
    begun: list[tuple[str, Run | str, KnownRun]] = [
        (one.id, one.run, one.known) for one in states if one.known is not None
    ]
    counters = ((run, find_run(session, run)) for run in counter_runs(path))
    begun += [(_COUNTERS, run, known) for run, known in counters if known is not None]
    changes = changed_between(session, [known.id for *_, known in begun])
    found = []
    for name, run, known in begun:
        first, last = changes.get(known.id, (known.started, known.started))
        found.append(_Repaired(id=name, run=run, known=known, first=first, last=last))
    return sorted(found, key=lambda one: one.last, reverse=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aside:
    """An index of a step that stays plain after an undo, without being the undo's own doing."""

    #: what makes it unique again; none where it is not plain
    statements: tuple[str, ...] = ()
    #: whether it was plain before
    before: bool = False


def _set_aside(
    database: Database, states: Sequence[StepState], *, execute: bool
) -> dict[str, _Aside]:
    """Make the indexes plain of steps whose duplicates were found and not repaired."""
    found = dict.fromkeys((one.id for one in states), _Aside())
    in_the_way = []
    with database.open("pgmend recipe") as session:
        for one in states:
            waiting = one.pending and any(key.groups for key in one.run.keys)
            for index, _, comment in labelled(session, one.index) if one.index else ():
                before = is_set_aside(comment)
                if before or waiting:
                    statements = unique_again(session, index)
                    found[one.id] = _Aside(statements=statements, before=before)
                if waiting and not before:
                    in_the_way.append(index)
    if execute and in_the_way:
        with database.open_writer("pgmend recipe") as writer:
            for index in in_the_way:
                set_aside(writer, index, lambda _: None)
    return found
