"""A run of several keys becomes runs of one key each, so that each can have a repair of its own."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path

from ..groups import copy_groups
from ..progress import RunStatus
from . import directory
from .checkpoint import STATE_FILE, State
from .owner import owned
from .run import Run


def run_of_key(run: Run, number: int, path: Path) -> Run:
    """Make a run in ``path`` that found what ``run`` found for its key ``number``; return it.

    It has an id of its own and belongs to the same moment of the same table. A run that is
    there already is returned as it is. Writes the groups of the key once more, to
    ``path`` alone; memory: a thousand rows.
    Raises UsageError (the run is unfinished), NotARunDirectory, RunInUse,
    RunDirectoryDamaged, LocalStorageError.
    """
    # Raises while the scan is unfinished.
    run.groups()
    directory.make(path)
    with owned(path):
        # One that a kill cut off is made anew.
        if (path / STATE_FILE).exists():
            known = Run.open(path)
            if known.status is RunStatus.FINISHED:
                return known
        directory.empty(path)
        with State.opened(run.path) as whole:
            facts, unreadable, events = whole.facts(), whole.unreadable(), whole.events()
        copy_groups(run.path, number, path)
        identity = facts["identity"]
        made = State.create(
            path,
            {
                **facts,
                "id": secrets.token_hex(8),
                "identity": {**identity, "keys": [identity["keys"][number]]},
                "asked": [facts["asked"][number]],
                "main_rows": [facts["main_rows"][number]],
                "keys": [facts["keys"][number]],
                # Nothing is spilled here.
                "main_length": 0,
                "spill_length": 0,
                "phase": RunStatus.CONFIRMING,
            },
        )
        with closing(made), made.commit():
            made.save_unreadable(unreadable)
            for at, message in events:
                made.save_event(at, message)
            made.move(RunStatus.FINISHED)
    return Run.open(path)
