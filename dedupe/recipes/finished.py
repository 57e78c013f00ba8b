"""A recipe that was carried out, in part or whole: looked at again, or taken back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..connect import Connectable, Database
from ..errors import UsageError
from ..journal import KnownRun, find_run
from ..repair.result import UndoResult
from ..repair.undoing import undo
from ..repair.uniqueindex import set_aside, unique_again
from ..repair.verification import Verification, verify
from ..scan.run import Run
from ..session import Session
from .begun import StepState, carried_out, journaling
from .ending import counter_runs
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
    if not any(one.pending or (one.known and not one.taken_back) for one in states):
        raise UsageError(
            f"the recipe in {place} was taken back: there is nothing of it to verify",
            hint="pgmend recipe run, with another --run, carries it out anew.",
            path=place,
        )
    found = []
    for one in states:
        if one.pending or one.taken_back:
            verification = Verification(
                run_id=one.run.id, groups=0, checks=(), findings=(_why_not(one),)
            )
        elif one.known is None:
            continue
        else:
            telling = None if on_progress is None else partial(on_progress, one.id)
            verification = verify(one.run, db=database, on_progress=telling, stop=stop)
        found.append(StepVerification(id=one.id, table=one.run.table, verification=verification))
    return tuple(found)


def _why_not(step: StepState) -> str:
    """Say why there is nothing to verify of a step."""
    if step.taken_back:
        return f"step {step.id} was taken back"
    far = " to its end" if step.known is not None else ""
    return f"step {step.id} was not carried out{far}: pgmend recipe run goes on with it"


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

    ``drop_constraints`` are those of all steps. It ends at the first step of which rows were
    refused, for what came before it is under them: mended, the same call goes on. Indexes of steps
    that were not carried out become plain ones, for they would refuse the duplicates that they
    had let in; these steps come first. Raises what ``undo`` raises, NotARunDirectory, RunMismatch
    (another database), UsageError (nothing was carried out).
    """
    path = Path(place)
    database = journaling(path, db)
    with database.open("pgmend recipe") as session:
        states = carried_out(path, session)
        todo = _todo(path, session, states)
    aside = _pending_aside(database, states, execute=execute)
    results = [
        StepUndo(
            id=one.id,
            table=one.run.table,
            undo=UndoResult(
                status="undone" if execute else "shown", run_id=one.run.id,
                statements=aside[one.id],
            ),
        )
        for one in states
        if one.id in aside and one.known is None
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
        statements = done.statements or aside.get(name, ())
        done = replace(done, statements=statements)
        results.append(StepUndo(id=name, table=known.table, undo=done))
        if execute and done.refused:
            break
    return tuple(results)


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


def _pending_aside(
    database: Database, states: Sequence[StepState], *, execute: bool
) -> dict[str, tuple[str, ...]]:
    """Make the indexes plain of which the duplicates were found and not repaired.

    Returns, by step, the statements that make them unique again.
    """
    pending = [
        one
        for one in states
        if one.pending and one.index is not None and any(key.groups for key in one.run.keys)
    ]
    found: dict[str, tuple[str, ...]] = {}
    with database.open_writer("pgmend recipe") as writer:
        for one in pending:
            for index, *_ in labelled(writer, str(one.index)):
                found[one.id] = unique_again(writer, index)
                if execute:
                    set_aside(writer, index, lambda _: None)
    return {step: statements for step, statements in found.items() if statements}
