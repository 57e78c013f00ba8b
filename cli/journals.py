"""What the journal of a database holds, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dedupe import JournalRun, journal_runs

from .output import FORMAT_VERSION, aligned, counted, moment_text
from .repairing import Meant


def known(meant: Meant) -> JournalRun | None:
    """Find a run in the journal of its database; None if it is not there."""
    return next((run for run in journal_runs(meant.database) if run.id == meant.id), None)


def entries_text(run: JournalRun | None) -> str:
    """Say how much is written down of a run: ``12 rows in 3 groups``."""
    if run is None:
        return "nothing"
    return f"{counted(run.entries, 'row')} in {counted(run.groups, 'group')}"


def undo_text(meant: Meant, groups: Sequence[int]) -> str:
    """Say what there is to undo: all that is written down, or some groups of it."""
    if groups:
        return f"to undo, of {entries_text(known(meant))}: group {', '.join(map(str, groups))}"
    return f"{entries_text(known(meant))} to undo"


def list_facts(runs: Sequence[JournalRun]) -> dict[str, Any]:
    """Return the JSON object of ``journal list --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "runs": [
            {
                "run_id": run.id,
                "table": run.table,
                "key_name": run.key_name,
                "state": run.state,
                "started": run.started.isoformat(),
                "finished": run.finished.isoformat() if run.finished else None,
                "groups": run.groups,
                "entries": run.entries,
                "reason": run.reason,
            }
            for run in runs
        ],
    }


def print_list(runs: Sequence[JournalRun]) -> None:
    """Print the runs as a table."""
    if not runs:
        print("The journal of this database is empty.")
        return
    header = (
        "run", "table", "key", "state", "groups", "entries", "started", "finished", "no snapshot"
    )
    rows = [
        (
            run.id,
            run.table,
            run.key_name,
            run.state,
            run.groups,
            run.entries,
            moment_text(run.started),
            moment_text(run.finished) if run.finished else "",
            run.reason or "",
        )
        for run in runs
    ]
    for line in aligned(header, rows):
        print(line)
