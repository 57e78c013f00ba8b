"""Several tables, each scanned into a run of its own: the list in their common directory.

``scans.json`` names every table from the beginning, so that a list that ended early is
known to be unfinished. Whoever changes it owns the directory.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dedupe import (
    Run,
    RunStatus,
    empty_run_directory,
    names_in_directory,
    owned_directory,
    plain_name,
)
from dedupe.errors import (
    DedupeError,
    NotARunDirectory,
    RunDirectoryDamaged,
    RunMismatch,
)

from .refusals import Refusal, write_whole

LIST = "scans.json"
#: what ``owned_directory`` locks
_LOCK = "lock"
_FORMAT = 1


@dataclass(slots=True, kw_only=True)
class Entry:
    """One table of the list."""

    #: schema and name of the table
    table: str
    #: name of its run directory
    place: str
    #: why the table, or some of its keys, could not be scanned
    refused: list[Refusal] = field(default_factory=list)
    #: nothing of the table could be scanned
    left_out: bool = False


@dataclass(slots=True, kw_only=True)
class ScanList:
    """The list of scans in a directory of several tables."""

    #: the directory
    path: Path
    #: connection string of the database, without a password
    target: str
    #: schemas that were asked for; empty: all
    schemas: tuple[str, ...]
    #: every table, in the order of the scan
    entries: list[Entry] = field(default_factory=list)
    #: run directories that ``--fresh`` replaced and that are still to be removed
    discarded: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the list. Raises NotARunDirectory, RunDirectoryDamaged."""
        file = path / LIST
        if not file.is_file():
            raise _not_a_list(path)
        try:
            facts: dict[str, Any] = json.loads(file.read_text("utf-8"))
            if facts["format_version"] != _FORMAT:
                raise NotARunDirectory(
                    f"{path} was written in format {facts['format_version']};"
                    f" this pgmend reads format {_FORMAT}",
                    hint="Use the pgmend that wrote it, or begin again with --fresh.",
                    path=path,
                )
            found = cls(
                path=path,
                target=facts["target"],
                schemas=tuple(facts["schemas"]),
                entries=[
                    Entry(
                        table=entry["table"],
                        place=_place(entry["run"]),
                        refused=[Refusal.from_facts(refusal) for refusal in entry["refused"]],
                        left_out=bool(entry["left_out"]),
                    )
                    for entry in facts["tables"]
                ],
                discarded=[_place(name) for name in facts["discarded"]],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunDirectoryDamaged(
                f"{file} is damaged: {error}",
                hint="Begin again with --fresh, or name another directory with --run.",
                path=file,
            ) from error
        return found

    @classmethod
    @contextmanager
    def owned(
        cls, path: Path, target: str, schemas: tuple[str, ...], *, fresh: bool
    ) -> Iterator[Self]:
        """Own the directory for the block, with its list or a new one; ``fresh`` begins anew.

        Raises RunInUse, RunMismatch, NotARunDirectory, RunDirectoryDamaged,
        LocalStorageError.
        """
        _make(path)
        with owned_directory(path):
            known = cls._known(path, damaged_too=not fresh)
            if fresh or known is None:
                old = known or cls(path=path, target=target, schemas=schemas)
                places = [entry.place for entry in old.entries]
                known = cls(path=path, target=target, schemas=schemas)
                known.discarded = [*old.discarded, *places]
            for name, value in (("target", target), ("schemas", schemas)):
                was = getattr(known, name)
                if was != value:
                    raise RunMismatch(
                        f"{path} belongs to {_words(name, was)}, not to {_words(name, value)}",
                        hint="Name another directory with --run, or begin again with --fresh.",
                        field=name, expected=was, found=value,
                    )
            yield known

    @classmethod
    def _known(cls, path: Path, *, damaged_too: bool) -> Self | None:
        """Return the list in a directory, or None; a damaged one is an error, or none."""
        if not (path / LIST).exists():
            return None
        try:
            return cls.load(path)
        except (NotARunDirectory, RunDirectoryDamaged):
            if damaged_too:
                raise
            return None

    @classmethod
    def choose(
        cls, base: Path, dbname: str, target: str, schemas: tuple[str, ...], *, fresh: bool
    ) -> Path:
        """Return the newest unfinished list like this one in ``base``, else a new name."""
        for path in [] if fresh else _newest_first(base.glob(f"*/{LIST}")):
            try:
                found = cls.load(path.parent)
                if (found.target, found.schemas) == (target, schemas) and not found.finished:
                    return found.path
            except DedupeError:
                # Told when it is named, not when it is passed by.
                continue
        return base / f"{plain_name(dbname)}-all-unique-{secrets.token_hex(4)}"

    @property
    def finished(self) -> bool:
        """Whether every table was scanned or refused."""
        return all(self.done(entry) for entry in self.entries)

    def done(self, entry: Entry) -> bool:
        """Tell whether a table was scanned or refused."""
        if entry.left_out:
            return True
        run = self.run(entry)
        return run is not None and run.status is RunStatus.FINISHED

    def run(self, entry: Entry) -> Run | None:
        """Open the run of a table; None before it has begun.

        Raises RunDirectoryDamaged, LocalStorageError.
        """
        try:
            return Run.open(self.path / entry.place)
        except NotARunDirectory:
            return None

    def take(self, tables: Sequence[str]) -> list[str]:
        """Make ``tables`` the list: known ones keep their runs; what was refused is tried again.

        Finished tables that are gone stay in the list. Saves it, and removes what
        ``--fresh`` has replaced. Returns the unfinished tables that are gone.
        Raises LocalStorageError, RunInUse.
        """
        known = self.entries
        self.entries = []
        for table in tables:
            # Two tables may be written alike: "a.b"."c" and "a"."b.c".
            entry = next((entry for entry in known if entry.table == table), None)
            if entry is None:
                place = f"{plain_name(table)}-{secrets.token_hex(4)}"
                entry = Entry(table=table, place=place)
            else:
                known.remove(entry)
            entry.refused, entry.left_out = [], False
            self.entries.append(entry)
        gone = [entry for entry in known if not entry.left_out]
        kept = [entry for entry in gone if self.done(entry)]
        self.entries += kept
        self.save()
        if self.discarded:
            for name in self.discarded:
                _remove(self.path / name)
            self.discarded = []
            self.save()
        return [entry.table for entry in gone if entry not in kept]

    def save(self) -> None:
        """Write the list in one piece. Raises LocalStorageError."""
        facts = {
            "format_version": _FORMAT,
            "target": self.target,
            "schemas": self.schemas,
            "tables": [
                {
                    "table": entry.table,
                    "run": entry.place,
                    "refused": [refusal.facts() for refusal in entry.refused],
                    "left_out": entry.left_out,
                }
                for entry in self.entries
            ],
            "discarded": self.discarded,
        }
        write_whole(self.path / LIST, json.dumps(facts))


def _place(name: str) -> str:
    """Check that a run directory lies in the list's own, for it may be removed."""
    if Path(name).name != name or name == "..":
        raise ValueError(f"{name!r} is not the name of a run directory in it")
    return name


def _make(path: Path) -> None:
    """Make the directory if it is missing; raise unless it is a list's or empty."""
    names = names_in_directory(path, _not_a_list(path))
    if LIST not in names and not names <= {_LOCK, f"{LIST}.new"}:
        raise _not_a_list(path)


def _not_a_list(path: Path) -> NotARunDirectory:
    return NotARunDirectory(
        f"{path} is not a directory of several tables' scans",
        hint="Name a path that does not exist yet, or the directory that an earlier scan of"
        " --all-unique printed first.",
        path=path,
    )


def _words(name: str, value: Any) -> str:
    if name == "schemas":
        return f"the schemas {', '.join(value)}" if value else "all schemas"
    return f"the database {value!r}"


def _remove(directory: Path) -> None:
    """Remove an old run; what somebody else laid into its directory stays."""
    if not directory.is_dir():
        return
    with owned_directory(directory):
        empty_run_directory(directory)
        (directory / _LOCK).unlink(missing_ok=True)
    try:
        directory.rmdir()
    except OSError:
        return


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
