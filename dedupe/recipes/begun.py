"""What a recipe's directory has begun to repair, and where the journal of that is."""

from __future__ import annotations

from pathlib import Path

from ..connect import Connectable, Database, connect
from ..journal import database_of
from ..scan.checkpoint import STATE_FILE
from ..scan.run import Run


def step_runs(place: str | Path) -> list[Run]:
    """List the runs of the steps in a recipe's directory. Raises RunDirectoryDamaged."""
    return [Run.open(file.parent) for file in sorted(Path(place).glob(f"steps/*/{STATE_FILE}"))]


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
