"""A recipe that was carried out, in part or whole: looked at again, or taken back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..connect import Connectable, Database
from ..errors import UndoRefused, UsageError
from ..journal import KnownRun, find_run
from ..repair.result import UndoResult
from ..repair.undoing import undo
from ..repair.uniqueindex import is_set_aside, set_aside, unique_again
from ..repair.verification import Verification, verify
from ..scan.run import Run
from ..session import Session
from .begun import (
    FINISHED_FILE,
    VIEWS_FILE,
    StepState,
    carried_out,
    counter_runs,
    journaling,
)
from .ending import refresh
from .files import read_file
from .labels import labelled
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
    """Take back every step in a directory, the last one first; see ``undo``.

    ``drop_constraints`` are those of all steps; whatever has to go and is not among them is told
    before anything is written. It ends at the first step of which rows were refused, for what came
    before it is under them: mended, the same call goes on. Indexes of steps that were not carried
    out become plain ones, for they would refuse the duplicates that they had let in; these steps
    come first. Materialized views that the recipe refreshed are refreshed again. Raises what
    ``undo`` raises, UndoRefused (``reasons``), NotARunDirectory, RunMismatch (another database),
    UsageError (nothing was carried out).
    """
    path = Path(place)
    database = journaling(path, db)
    with database.open("pgmend recipe") as session:
        states = carried_out(path, session)
        todo = _todo(path, session, states)
    if execute:
        _check_drops(database, todo, drop_constraints)
        (path / FINISHED_FILE).unlink(missing_ok=True)
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
    for name, run, known in todo:
        done = undo(
            run,
            db=database,
            execute=execute,
            drop_constraints=drop_constraints,
            on_progress=None if on_progress is None else partial(on_progress, name),
            stop=stop,
        )
        if not done.statements and name in aside:
            done = replace(done, statements=aside[name].statements)
        results.append(StepUndo(id=name, table=known.table, undo=done))
        if execute and done.refused:
            return tuple(results)
    views = path / VIEWS_FILE
    if execute and views.exists():
        with database.open_writer("pgmend recipe") as writer:
            refresh(writer, read_file(views))
    return tuple(results)


def _check_drops(
    database: Database, todo: Sequence[tuple[str, Run | str, KnownRun]], drop: Sequence[str]
) -> None:
    """Raise UndoRefused for all that has to go before any step can be taken back."""
    reasons = [
        f"{name}: {text}"
        for name, run, _ in todo
        for text in undo(run, db=database, drop_constraints=drop).refused
    ]
    if reasons:
        raise UndoRefused(
            f"the recipe cannot be taken back yet: {'; '.join(reasons)}",
            hint="Nothing was written. Give the same command with these options; SQL that restores"
            " what was dropped is printed.",
            reasons=tuple(reasons),
        )


def _todo(
    path: Path, session: Session, states: Sequence[StepState]
) -> list[tuple[str, Run | str, KnownRun]]:
    """List name, run, and what the journal knows, of all that was repaired, the last first."""
    begun: list[tuple[str, Run | str, KnownRun]] = [
        (one.id, one.run, one.known) for one in states if one.known is not None
    ]
    begun.sort(key=lambda one: one[2].started)
    counters = ((run, find_run(session, run)) for run in counter_runs(path))
    begun += [(_COUNTERS, run, known) for run, known in counters if known is not None]
    return begun[::-1]


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
