"""From what was asked to finished scans: which runs there are, and how they are watched."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dedupe import MatchKey, Run, RunStatus, default_run_directory, scan, unique_keys, usable_keys
from dedupe.connect import Database
from dedupe.errors import (
    DedupeError,
    FailureError,
    KeyDefinitionError,
    NotARunDirectory,
    NotEnoughSpace,
    PermissionDenied,
    RowSecurityHidesRows,
    RunDirectoryDamaged,
    RunMismatch,
    UnknownObject,
    UnprovenIndex,
    UnsupportedRelation,
    UsageError,
)

from .keys import Asked
from .many import LIST, Entry, ScanList
from .output import note, one_line
from .progress import Reporter
from .refusals import Refusal, keep_refusals
from .runs import Scans, open_scans
from .stopping import Stopping, same_command

#: what keeps one table from being scanned, and none of the others
_ONE_TABLES = (
    KeyDefinitionError,
    NotARunDirectory,
    NotEnoughSpace,
    PermissionDenied,
    RowSecurityHidesRows,
    RunMismatch,
    UnknownObject,
    UnprovenIndex,
    UnsupportedRelation,
)


@dataclass(slots=True, kw_only=True)
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
    #: the command line, without the program
    arguments: Sequence[str]
    #: the run's directory, or the parent of several tables' runs, once it is known
    path: Path | None = field(default=None, init=False)
    #: what is in it is of this command line, not only of an earlier one
    _begun: bool = field(default=False, init=False)

    def scan(self, asked: Asked) -> Scans:
        """Scan all that was asked for; ends early, without an error, when stopped.

        Raises KeyboardInterrupt where there is nothing yet to go on with, and what the
        library raises.
        """
        try:
            path = self._scan(asked)
        except KeyboardInterrupt:
            scans = self._left()
            if scans is None:
                raise
            return scans
        except FailureError as error:
            if not (self.fresh and self._begun and self.path):
                raise
            # The same command would begin anew once more.
            hint = f"{error.hint or ''} Leave --fresh out: {self.how_to_go_on(self.path)}"
            raise type(error)(error.message, hint=hint.lstrip(), **error.facts) from error
        return open_scans(path)

    def _left(self) -> Scans | None:
        """Return what an interrupted scan left to go on with, if there is anything."""
        if self.path is None or (self.fresh and not self._begun):
            return None
        try:
            scans = open_scans(self.path)
        except DedupeError:
            return None
        return None if scans.finished else scans

    def how_to_go_on(self, path: Path) -> str:
        """Write the command that goes on; a password in it is left out."""
        words = same_command(self.arguments)
        if not any(word == "--run" or word.startswith("--run=") for word in words):
            words += ["--run", str(path)]
        return shlex.join(word for word in words if word != "--fresh")

    def _scan(self, asked: Asked) -> Path:
        if asked.keys:
            return self._one(asked.keys, asked.keys[0].name)
        tables = unique_keys(self.database, asked.table, asked.schemas)
        if asked.table is None:
            return self._many(tables, asked.schemas)
        keys = [key for _, keys in tables for key in keys]
        if not keys:
            raise UsageError(f"{asked.table} has no unique index", hint="Name the key with --key.")
        keys, reasons = usable_keys(self.database, keys)
        refused = [Refusal.of(error, asked.table, key) for key, error in reasons]
        if not keys:
            *others, last = refused
            for refusal in others:
                refusal.tell()
            raise UsageError(f"{last.what}: {last.message}", hint=last.hint)
        for refusal in refused:
            refusal.tell()
        return self._one(keys, asked.table, refused)

    def _one(
        self, keys: Sequence[MatchKey], label: str, refused: Sequence[Refusal] = ()
    ) -> Path:
        path, known = self.place, False
        if path is None:
            path, known = default_run_directory(
                self.base, self.database, keys, fresh=self.fresh
            )
        if (path / LIST).exists():
            raise NotARunDirectory(
                f"{path} holds the scans of several tables, not one table's",
                hint="Name another directory with --run, or scan with --all-unique alone.",
                path=path,
            )
        self._announce(path, known=known)
        keep_refusals(path, ())
        run = self._run(keys, path, label, fresh=self.fresh)
        keep_refusals(path, [replace(refusal, table=run.table) for refusal in refused])
        return path

    def _many(
        self, tables: Sequence[tuple[str, Sequence[MatchKey]]], schemas: tuple[str, ...]
    ) -> Path:
        where = self.database.where
        if not tables:
            narrowed = f" in {', '.join(schemas)}" if schemas else ""
            raise UsageError(
                f"no table of database {where.dbname} has a unique index{narrowed}",
                hint="Is it the database that is meant? Else name a table and a key with --key.",
            )
        target = where.conninfo()
        path = self.place
        if path is None:
            path = ScanList.choose(self.base, where.dbname, target, schemas, fresh=self.fresh)
        with ScanList.owned(path, target, schemas, fresh=self.fresh) as scans:
            self._announce(path, known=bool(scans.entries))
            gone = scans.take([label for label, _ in tables])
            self._begun = True
            if gone and not self.quiet:
                note(f"gone since the scan began, and left out: {one_line(', '.join(gone))}")
            for entry, (label, keys) in zip(scans.entries, tables, strict=False):
                if self.stopping.wanted or not self._table(scans, entry, label, keys):
                    break
        return path

    def _table(
        self, scans: ScanList, entry: Entry, label: str, keys: Sequence[MatchKey]
    ) -> bool:
        """Scan one table of several, or note why it cannot be; False when stopped."""
        try:
            usable, reasons = usable_keys(self.database, keys)
            entry.refused = [Refusal.of(error, label, key) for key, error in reasons]
            entry.left_out = not usable
            if usable:
                run = self._run(usable, scans.path / entry.place, label, fresh=False)
                if run.status is not RunStatus.FINISHED:
                    return False
        except _ONE_TABLES as error:
            # One table that cannot be read must not hide the others' duplicates.
            entry.refused, entry.left_out = [Refusal.of(error, label)], True
        for refusal in entry.refused:
            refusal.tell()
        scans.save()
        return True

    def _run(self, keys: Sequence[MatchKey], path: Path, label: str, *, fresh: bool) -> Run:
        with Reporter(label, quiet=self.quiet, verbose=self.verbose) as reporter:

            def show(event: Any) -> None:
                self._begun = True
                self.stopping.watch(event.run.stop)
                reporter.show(event)

            try:
                return scan(
                    self.database, list(keys), run=path, fresh=fresh, on_progress=show,
                    **self.options,
                )
            finally:
                self.stopping.forget()

    def _announce(self, path: Path, *, known: bool) -> None:
        self.path = path
        if not self.quiet:
            note(f"run directory: {path}{' (goes on)' if known else ''}")


def remembered_target(path: Path | None) -> str | None:
    """Return the connection string that the run in ``path`` remembers, if there is one."""
    if path is None or not path.is_dir():
        return None
    try:
        return open_scans(path).target
    except (NotARunDirectory, RunDirectoryDamaged):
        # The scan itself refuses it, or with --fresh begins anew.
        return None
