"""The keys' scans of a check: one pass a table, in a directory that an unfinished check goes on in.

The directory holds a file that says how far it is, and below it a run directory for each
table, which ``pgmend groups``, ``plan`` and ``repair`` take. A finished one is not gone on
with: the next check empties it and looks anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dedupe.connect import Database
from dedupe.errors import (
    DedupeError,
    LocalStorageError,
    NotARunDirectory,
    RunInUse,
    RunMismatch,
    way_out,
)
from dedupe.key import MatchKey
from dedupe.progress import Progress
from dedupe.scan.directory import empty, plain_name
from dedupe.scan.keys import unique_keys, usable_keys
from dedupe.scan.owner import owned
from dedupe.scan.run import Run
from dedupe.scan.scanner import scan

STATE = "check.json"
_LOCK = "lock"


class Reading(Protocol):
    """How the rows are to be read."""

    @property
    def jobs(self) -> int:
        """Sessions that read at a time."""

    @property
    def told(self) -> Callable[[str], None]:
        """Is told of the progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """A table whose keys were scanned, or the reason why it, or one of its keys, was not."""

    #: schema and name
    table: str
    run: Run | None = None
    #: name of the key that was left out; None: the whole table
    key: str | None = None
    refused: DedupeError | None = None


def unfinished_keys(path: Path) -> bool:
    """Tell whether the scan of a check's keys in a directory is unfinished."""
    try:
        facts = json.loads((path / STATE).read_text("utf-8"))
        return bool(facts["phase"] == "scanning")
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def place(path: Path, system: str) -> Iterator[None]:
    """Own the directory of the keys' scans for the block, emptied unless it goes on.

    ``system`` is what the check is of: a cluster's identifier, and what else it was asked.
    Raises NotARunDirectory, RunMismatch, RunInUse, LocalStorageError.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {file.name for file in path.iterdir()}
    except OSError as error:
        raise LocalStorageError(
            f"cannot make or read {path}: {error.strerror}",
            hint="Name another directory with --run.", path=path,
        ) from error
    if STATE not in names and not names <= {_LOCK, f"{STATE}.new"}:
        raise NotARunDirectory(
            f"{path} is not the directory of a check's scans",
            hint="Name a path that does not exist yet, or that of an earlier check.", path=path,
        )
    with owned(path):
        if unfinished_keys(path):
            known = json.loads((path / STATE).read_text("utf-8")).get("system")
            if known != system:
                raise RunMismatch(
                    f"{path} belongs to an unfinished check of the cluster {known}, not of"
                    f" {system}",
                    hint="Name another directory with --run.",
                    field="system identifier", expected=known, found=system,
                )
        else:
            _write(path, "clearing", system)
            _clear(path)
            _write(path, "scanning", system)
        yield


def finish(path: Path, system: str) -> None:
    """Note that every key was scanned. Raises LocalStorageError."""
    _write(path, "finished", system)


def scan_keys(
    database: Database,
    path: Path,
    asked: Reading,
    tables: Iterable[tuple[str, list[MatchKey]]] | None = None,
) -> Iterator[Scanned]:
    """Scan unique keys of a database, one pass a table, each table into a run directory.

    ``tables`` are labels with keys; without, all tables with their unique indexes.
    Raises what concerns the whole server; what concerns one table is in what it yields.
    """
    dbname = database.where.dbname
    with database.reusing() as kept:
        for label, keys in unique_keys(kept) if tables is None else tables:
            asked.told(f"keys of {dbname}: {label}")
            try:
                usable, refused = usable_keys(kept, keys)
                for name, error in refused:
                    yield Scanned(table=label, key=name, refused=error)
                if usable:
                    yield Scanned(table=label, run=_scan(kept, path, label, usable, asked))
            except RunInUse:
                raise
            except DedupeError as error:
                # One table that cannot be read must not hide the others' duplicates.
                yield Scanned(table=label, refused=error)


def _scan(
    database: Database, path: Path, label: str, keys: list[MatchKey], asked: Reading
) -> Run:
    dbname = database.where.dbname
    mark = hashlib.sha256(f"{dbname}\0{label}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
    run = path / plain_name(f"{dbname}.{label}-{mark}")

    def show(event: Progress) -> None:
        asked.told(f"keys of {dbname}: {label}, {event.fraction:.0%}")

    return scan(database, keys, run, jobs=asked.jobs, on_progress=show)


def _clear(path: Path) -> None:
    """Remove the runs of an earlier check, unless a repair of one has begun."""
    for run in [file for file in path.iterdir() if file.is_dir()]:
        try:
            began = Run.open(run).journal_schema is not None
        except DedupeError:
            began = False
        if began:
            raise NotARunDirectory(
                f"a repair of {run} has begun, which a new check would forget",
                hint="Name another directory with --run.", path=run,
            )
        with owned(run):
            empty(run)
            (run / _LOCK).unlink(missing_ok=True)
        try:
            run.rmdir()
        except OSError:
            # Somebody else laid something into it, and that stays.
            continue


def _write(path: Path, phase: str, system: str) -> None:
    new = path / f"{STATE}.new"
    text = json.dumps({"format_version": 1, "phase": phase, "system": system})
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        new.rename(path / STATE)
    except OSError as error:
        raise LocalStorageError(
            f"cannot write {path / STATE}: {error.strerror}",
            hint=way_out(error, "name another directory with --run"), path=path,
        ) from error
