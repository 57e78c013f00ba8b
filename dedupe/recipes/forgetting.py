"""What earlier calls found for a recipe and nothing has begun to repair: forgotten, found anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..progress import RunStatus
from ..scan.checkpoint import STATE_FILE
from ..scan.directory import empty, own_name
from ..scan.owner import owned
from ..scan.run import Run
from .begun import REBUILT_FILE
from .files import remove
from .keys import RecipeKey
from .losses import forget_losses


def forget(place: Path, table: str, keys: Sequence[RecipeKey]) -> None:
    """Forget what was found in a table, and what was planned for its ``keys``.

    Raises LocalStorageError, RunInUse, RefusedError (a repair of it has begun).
    """
    # First what was made of the scan: a call that is cut off here makes it again.
    steps = [place / "steps" / own_name(key.id) for key in keys if key.table == table]
    for directory in (*steps, place / "scans" / own_name(table)):
        if directory.is_dir():
            with owned(directory):
                forget_losses(directory)
                remove(directory / REBUILT_FILE)
                empty(directory)


def forget_asking(place: Path, keys: Sequence[RecipeKey]) -> None:
    """Forget what was found in tables of steps that ask, or let rows go for good."""
    tables = {
        key.table
        for key in keys
        if key.step is not None
        for case in key.step.cases
        if case.answered or case.choice or case.accept_loss
    }
    for table in tables:
        path = place / "scans" / own_name(table)
        if (path / STATE_FILE).exists() and Run.open(path).status is RunStatus.FINISHED:
            forget(place, table, keys)
