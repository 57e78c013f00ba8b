"""What a directory holds: the run of one table, or the runs of several."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from dedupe import Run, RunStatus, is_owned_directory
from dedupe.errors import UsageError

from .many import LIST, ScanList
from .output import counted
from .refusals import Refusal, kept_refusals

#: directory of the runs, where nothing else is said
BASE = "pgmend-runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scans:
    """All that a run directory, or a directory of several tables, holds."""

    path: Path
    #: those that have begun, in the order of the tables
    runs: tuple[Run, ...]
    #: tables and keys that could not be scanned
    refused: tuple[Refusal, ...]
    #: tables that were asked for, and how many of them were scanned to the end
    tables: int
    scanned: int
    #: whether every table was scanned or refused
    finished: bool
    #: where the scan as a whole is
    status: RunStatus
    #: connection string of the database, without a password
    target: str
    #: schemas that a scan of several tables is limited to; None for one table's
    schemas: tuple[str, ...] | None = None

    @property
    def fraction(self) -> float:
        """Share of the work that is done, of the table that was read last."""
        return min((run.fraction for run in self.runs), default=0.0)

    @property
    def how_far(self) -> str:
        """How far an unfinished scan is, for people."""
        if self.schemas is None:
            return f"{self.status}, {self.fraction:.0%} done"
        return f"{self.status}, {self.counts}"

    @property
    def counts(self) -> str:
        """How many tables were scanned, for people."""
        text = f"{self.scanned} of {counted(self.tables, 'table')} scanned"
        return f"{text}, {len(self.refused)} refused" if self.refused else text


def open_scans(path: Path) -> Scans:
    """Open a run directory, or the directory of several tables.

    Raises NotARunDirectory, RunDirectoryDamaged, LocalStorageError.
    """
    if not (path / LIST).is_file():
        alone = Run.open(path)
        status = alone.status
        done = status is RunStatus.FINISHED
        return Scans(
            path=path,
            runs=(alone,),
            refused=kept_refusals(path),
            tables=1,
            scanned=int(done),
            finished=done,
            status=status,
            target=alone.target.conninfo(),
        )
    scans = ScanList.load(path)
    runs = [run for entry in scans.entries if (run := scans.run(entry)) is not None]
    states = [run.status for run in runs]
    working = [s for s in states if s not in (RunStatus.FINISHED, RunStatus.INTERRUPTED)]
    finished = not working and scans.finished
    if finished:
        status = RunStatus.FINISHED
    elif working:
        status = working[0]
    else:
        # Between two tables nobody owns a run, but the list.
        status = RunStatus.SCANNING if is_owned_directory(path) else RunStatus.INTERRUPTED
    return Scans(
        path=path,
        runs=tuple(runs),
        refused=tuple(refusal for entry in scans.entries for refusal in entry.refused),
        tables=len(scans.entries),
        scanned=states.count(RunStatus.FINISHED),
        finished=finished,
        status=status,
        target=scans.target,
        schemas=scans.schemas,
    )


def finished_scans(path: Path) -> Scans:
    """Open what a directory holds; raise UsageError unless it is finished.

    Raises what ``open_scans`` raises, too.
    """
    scans = open_scans(path)
    if scans.finished:
        return scans
    hint = "Give its scan command again: it goes on where it stopped."
    if scans.schemas is not None:
        narrowed = [word for schema in scans.schemas for word in ("--schema", schema)]
        words = ["pgmend", "scan", "--all-unique", *narrowed, "--run", str(path)]
        hint = f"Go on with: {shlex.join(words)}"
    raise UsageError(
        f"the scan in {path} is not finished ({scans.how_far}); its result is not known yet",
        hint=hint,
        path=path,
    )
