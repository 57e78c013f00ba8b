"""From what was asked to finished scans: which runs there are, and how they are watched."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedupe import MatchKey, Run, RunStatus, default_run_directory, scan, unique_keys
from dedupe.connect import Database
from dedupe.errors import (
    NotARunDirectory,
    RefusedError,
    RunDirectoryDamaged,
    ScanStopped,
    UsageError,
)

from .exits import code_of
from .keys import Asked
from .output import complain, note
from .progress import Reporter
from .results import Refusal
from .runs import ManyScans, open_runs
from .stopping import Stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What one command line scanned."""

    #: the run's directory, or the parent of several tables' runs
    path: Path
    runs: tuple[Run, ...]
    refused: tuple[Refusal, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether something is left to do because of a stop."""
        return any(run.status is not RunStatus.FINISHED for run in self.runs)

    @property
    def fraction(self) -> float:
        """Share of the unfinished table's work that is done."""
        return min((run.fraction for run in self.runs), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """How this command line scans: the same for each table."""

    database: Database
    stopping: Stopping
    #: directory of the runs without a place of their own
    base: Path
    #: --run, or None
    place: Path | None
    fresh: bool
    quiet: bool
    verbose: bool
    #: order, memory, jobs and nice, as ``dedupe.scan`` takes them
    options: Mapping[str, Any]

    def scan(self, asked: Asked) -> Scanned:
        """Scan all that was asked for; ends early, without an error, when stopped."""
        if asked.keys:
            return self._one(asked.keys)
        tables = unique_keys(self.database, asked.table, asked.schemas)
        if asked.table is not None:
            keys = [key for _, keys in tables for key in keys]
            if not keys:
                raise UsageError(
                    f"{asked.table} has no unique index", hint="Name the key with --key."
                )
            return self._one(keys)
        return self._many(tables, asked.schemas)

    def _one(self, keys: Sequence[MatchKey]) -> Scanned:
        path, known = self.place, False
        if path is None:
            path, known = default_run_directory(
                self.base, self.database, keys, fresh=self.fresh
            )
        self._announce(path, known=known)
        run = self._run(keys, path, keys[0].name)
        return Scanned(path=path, runs=(run,))

    def _many(
        self, tables: Sequence[tuple[str, Sequence[MatchKey]]], schemas: tuple[str, ...]
    ) -> Scanned:
        where = self.database.where
        scans = ManyScans.begin(
            self.place, self.base, where.dbname, where.conninfo(), schemas, fresh=self.fresh
        )
        self._announce(scans.path, known=bool(scans.places))
        runs: list[Run] = []
        refused: list[Refusal] = []
        for label, keys in tables:
            path = scans.place(label)
            scans.save()
            try:
                run = self._run(keys, path, label)
            except (UsageError, RefusedError) as error:
                # One table that cannot be read must not hide the others' duplicates.
                complain(f"{label}: {error.message}", error.hint)
                refused.append(
                    Refusal(
                        table=label, message=error.message, hint=error.hint, code=code_of(error)
                    )
                )
                continue
            runs.append(run)
            if run.status is not RunStatus.FINISHED:
                return Scanned(path=scans.path, runs=tuple(runs), refused=tuple(refused))
        scans.finished = True
        scans.save()
        return Scanned(path=scans.path, runs=tuple(runs), refused=tuple(refused))

    def _run(self, keys: Sequence[MatchKey], path: Path, label: str) -> Run:
        if self.stopping.wanted:
            raise ScanStopped(f"stopped before {label}", path=path)
        with Reporter(label, quiet=self.quiet, verbose=self.verbose) as reporter:

            def show(event: Any) -> None:
                self.stopping.watch(event.run)
                reporter.show(event)

            self.stopping.begin()
            return scan(
                self.database,
                list(keys),
                run=path,
                fresh=self.fresh,
                on_progress=show,
                **self.options,
            )

    def _announce(self, path: Path, *, known: bool) -> None:
        if not self.quiet:
            note(f"run directory: {path}{' (goes on)' if known else ''}")


def remembered_target(path: Path | None) -> str | None:
    """Return the connection string that the run in ``path`` remembers, if there is one."""
    if path is None or not path.is_dir():
        return None
    try:
        runs = open_runs(path)
    except (NotARunDirectory, RunDirectoryDamaged):
        # The scan itself refuses it, or with --fresh begins anew.
        return None
    return runs[0].target.conninfo() if runs else None


def finished_run(path: Path | None, asked: Asked) -> list[Run] | None:
    """Return the finished run in ``path`` if nothing else was asked for, or None.

    Where a key is named, the scan itself checks that it is the run's.
    """
    if path is None or asked.anything or not path.is_dir():
        return None
    runs = open_runs(path)
    return runs if all(run.status is RunStatus.FINISHED for run in runs) else None


def how_to_go_on(path: Path, arguments: Sequence[str]) -> str:
    """Write the command that goes on; a password in it is left out."""
    words = ["pgmend", *map(_without_password, arguments)]
    if "--run" not in arguments and not any(word.startswith("--run=") for word in arguments):
        words += ["--run", str(path)]
    return shlex.join(word for word in words if word != "--fresh")


def _without_password(word: str) -> str:
    shown = re.sub(r"(://[^:/@\s]*):[^/\s]*@", r"\1@", word)
    return re.sub(r"password\s*=\s*('([^'\\]|\\.)*'|[^\s&]*)&?", "", shown).strip()
