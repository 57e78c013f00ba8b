"""A recipe's directory: what it has begun to repair, and where the journal of that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..connect import Connectable, Database, connect
from ..errors import (
    NotARunDirectory,
    RefusedError,
    RunDirectoryDamaged,
    RunMismatch,
    UsageError,
)
from ..journal import KnownRun, database_of, find_run, is_unfinished, undo_begun
from ..repair.taking import count_skipped
from ..scan.checkpoint import STATE_FILE
from ..scan.directory import names_in, own_name
from ..scan.identity import check_server, read_server
from ..scan.owner import LOCK_FILE
from ..scan.run import Run
from ..session import Session
from .files import WITHOUT_DIRECTORY, read_file, unfinished
from .labels import is_built

#: what is told where another process works on a recipe's directory
STOP_RECIPE = "Wait for it; SIGINT or SIGTERM stops it at a safe point."
#: which recipe a directory belongs to, and which decisions
SIGN_FILE = "recipe.json"
#: what people answered, kept by the command
DECISIONS_FILE = "decisions.toml"
#: by table and key of counters, the runs that its changes are journaled under, the current one last
COUNTERS_FILE = "counters.json"
#: the materialized views that were refreshed in the end
VIEWS_FILE = "views.json"
#: what a sign says
_SIGNED = {"recipe", "digest", "decisions"}
#: says that all of it was carried out, with nothing left
FINISHED_FILE = "finished"
#: the keys that a directory was begun with
KEYS_FILE = "keys.json"
#: says beside a key's run that its index, without duplicates, was built anew
REBUILT_FILE = "rebuilt"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """How far a step in a recipe's directory has come."""

    #: the step's id; of a key that no step names, the index
    id: str
    run: Run
    #: schema and name of the index of its key, if there was one
    index: str | None
    #: what the journal knows of its repair; None: that has not begun
    known: KnownRun | None
    #: whether there was nothing to repair, and its index was built anew, as it is now or later
    rebuilt: bool
    #: whether an undo of its repair has begun
    undoing: bool
    #: groups that its last round left
    left: int

    @property
    def begun(self) -> bool:
        """Whether anything of it was carried out, or was about to be."""
        # The directory knows it as well: a journal can be dropped.
        return self.known is not None or self.rebuilt or self.run.journal_schema is not None

    @property
    def pending(self) -> bool:
        """Whether it was planned and not carried out to its end."""
        return not self.rebuilt and is_unfinished(self.known)

    @property
    def taken_back(self) -> bool:
        """Whether its repair was undone."""
        return self.known is not None and self.known.state == "undone"


def make_directory(path: Path) -> None:
    """Make a recipe's directory if it is missing.

    Raises NotARunDirectory where something else is there, RunDirectoryDamaged, LocalStorageError.
    """
    names = names_in(path, _not_a_recipes(path))
    if SIGN_FILE in names:
        sign = read_file(path / SIGN_FILE)
        if not (isinstance(sign, dict) and sign.keys() >= _SIGNED):
            raise _not_a_recipes(path)
        return
    # A first call that was killed leaves no more than a lock and half a sign; a file system of
    # its own has a directory of its own.
    new = unfinished(path / SIGN_FILE).name
    if not names <= {LOCK_FILE, new, DECISIONS_FILE, "lost+found"}:
        raise _not_a_recipes(path)


def _not_a_recipes(path: Path) -> NotARunDirectory:
    return NotARunDirectory(
        f"{path} is not the directory of a recipe",
        hint="Name a path that does not exist yet, or the directory that pgmend recipe run was"
        " given with --run.",
        path=path,
    )


def step_runs(place: str | Path) -> list[Run]:
    """List the runs of the steps in a recipe's directory. Raises RunDirectoryDamaged."""
    places = sorted(file.parent for file in Path(place).glob(f"steps/*/{STATE_FILE}"))
    try:
        return [Run.open(path) for path in places]
    except RunDirectoryDamaged as error:
        raise RunDirectoryDamaged(error.message, hint=WITHOUT_DIRECTORY, **error.facts) from error


def recipe_journal(place: str | Path) -> str | None:
    """Return the schema of the journal that a recipe's repairs write; None before they begin.

    Reads the directory alone. Raises LocalStorageError, RunDirectoryDamaged.
    """
    known = (run.journal_schema for run in step_runs(place))
    return next((schema for schema in known if schema is not None), None)


def journaling(place: str | Path, db: Connectable) -> Database:
    """Return a database with the journal that a recipe's repairs write.

    Where ``db`` says no schema, it is the one that the steps remember. Raises RefusedError where
    it says another one than a step's journal is in, and what ``connect`` raises.
    """
    database = connect(db)
    for run in step_runs(place):
        database = database_of(run, database)
    return database


def step_states(place: str | Path, session: Session) -> tuple[StepState, ...]:
    """List the steps in a recipe's directory that were planned, in the order of the recipe.

    Raises RunMismatch where they are of another database, RunDirectoryDamaged.
    """
    path = Path(place)
    runs = {run.path.name: run for run in step_runs(path)}
    _check_database(runs.values(), session)
    keys = key_facts(path) if (path / KEYS_FILE).exists() else []
    found = tuple(
        StepState(
            id=key["id"], run=run, index=key["index"], known=known,
            rebuilt=_is_rebuilt(session, run, key["index"]),
            undoing=known is not None and undo_begun(session, known),
            left=0 if known is None else count_skipped(session, known.id, known.round),
        )
        for key in keys
        if (run := runs.get(own_name(key["id"]))) is not None
        for known in (find_run(session, run.id),)
    )
    finished = (path / FINISHED_FILE).exists()
    if finished or any(one.begun for one in found):
        # All are there before any is begun.
        there = {one.id for one in found}
        lost = [path / "steps" / own_name(key["id"]) for key in keys if key["id"] not in there]
        if finished:
            written = (path / name for name in (KEYS_FILE, COUNTERS_FILE, VIEWS_FILE))
            lost += [file for file in written if not file.exists()]
        if lost:
            raise RunDirectoryDamaged(
                f"{lost[0]} is gone or damaged", hint=WITHOUT_DIRECTORY, path=lost[0]
            )
    return found


def _is_rebuilt(session: Session, run: Run, index: str | None) -> bool:
    """Tell whether the index of a run's key was built anew, and is not the one of before."""
    mark = run.path / REBUILT_FILE
    # Of a backup that was restored since, the storage is an older one.
    return mark.exists() and is_built(session, index, read_file(mark))


def _check_database(runs: Iterable[Run], session: Session) -> None:
    """Raise RunMismatch where the runs of steps are of another database."""
    found = read_server(session)
    for run in runs:
        try:
            check_server(run.identity.server, found)
        except RunMismatch as error:
            raise RunMismatch(
                error.message,
                hint="Connect to the database that the recipe was begun on, or name another"
                " directory.",
                **error.facts,
            ) from error


def check_not_taken_back(place: str | Path, states: Sequence[StepState]) -> None:
    """Raise RefusedError where steps of a recipe were taken back: their rows have new addresses."""
    undone = [one.id for one in states if one.undoing]
    if undone:
        whole = all(one.taken_back for one in states if one.known is not None)
        raise RefusedError(
            f"the recipe in {place} was taken back"
            + ("" if whole else f" in part ({', '.join(undone)})"),
            hint="Its rows have new addresses: name another directory with --run. What is left of"
            " it pgmend recipe undo takes back.",
            path=place,
        )


def is_finished(place: str | Path, states: Sequence[StepState], session: Session) -> bool:
    """Tell whether a recipe of these steps was carried out whole."""
    if not (Path(place) / FINISHED_FILE).exists():
        return False
    runs = [one.known for one in states if not one.rebuilt]
    current = (runs[-1] for runs in read_counters(place).values() if runs)
    # Of counters that nothing has changed there is none.
    runs += [known for run in current if (known := find_run(session, run)) is not None]
    return all(known and known.state == "repaired" for known in runs)


def counter_runs(place: str | Path) -> list[str]:
    """List the runs that counters of a recipe's directory are journaled under, older ones first."""
    return [run for runs in read_counters(place).values() for run in runs]


def read_counters(place: str | Path) -> dict[str, list[str]]:
    """Read the runs of each table of counters. Raises RunDirectoryDamaged."""
    file = Path(place) / COUNTERS_FILE
    found = read_file(file) if file.exists() else {}
    if not isinstance(found, dict) or not all(isinstance(runs, list) for runs in found.values()):
        raise damaged(file)
    return found


def key_facts(place: str | Path) -> list[dict[str, Any]]:
    """Read what is written of the keys of a directory: at least ``id`` and ``index`` of each.

    Raises RunDirectoryDamaged.
    """
    file = Path(place) / KEYS_FILE
    found = read_file(file)
    if not isinstance(found, list) or not all(
        isinstance(one, dict)
        and isinstance(one.get("id"), str)
        and isinstance(one.get("index"), str | None)
        for one in found
    ):
        raise damaged(file)
    return found


def damaged(file: Path) -> RunDirectoryDamaged:
    """Return the error of a file that does not hold what is written to it."""
    return RunDirectoryDamaged(
        f"{file} is damaged, or another version of pgmend wrote it",
        hint=WITHOUT_DIRECTORY,
        path=file,
    )


def recipe_finished(place: str | Path, db: Connectable) -> bool:
    """Tell whether a recipe was carried out whole, so that ``run_recipe`` changes nothing more.

    Raises what ``journaling`` and ``step_states`` raise.
    """
    if not (Path(place) / FINISHED_FILE).exists():
        return False
    with journaling(place, db).open("pgmend recipe") as session:
        return is_finished(place, step_states(place, session), session)


def carried_out(place: str | Path, session: Session) -> tuple[StepState, ...]:
    """List the steps of a recipe that was carried out in this database, in part or whole.

    Raises NotARunDirectory: it is no recipe's; RunMismatch: it is of another database; UsageError:
    nothing of it was carried out.
    """
    if not (Path(place) / KEYS_FILE).exists():
        raise _not_a_recipes(Path(place))
    states = step_states(place, session)
    if any(one.known or one.rebuilt for one in states):
        return states
    raise UsageError(
        f"nothing of the recipe in {place} was carried out",
        hint="pgmend recipe run … --execute carries it out.",
        path=place,
    )
