"""Run directories on the command line: one run, or the runs of several tables in one place.

``--all-unique`` without a table scans every table into a run of its own; their
common parent holds ``scans.json``, which says what belongs to it and whether
all of it is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dedupe import Run, plain_name
from dedupe.errors import LocalStorageError, NotARunDirectory, RunDirectoryDamaged, RunMismatch

#: directory of the runs, where nothing else is said
BASE = "pgmend-runs"
_LIST = "scans.json"
_FORMAT = 1


def open_runs(path: Path) -> list[Run]:
    """Open a run directory, or all runs that a directory of several tables holds.

    Raises NotARunDirectory, RunDirectoryDamaged.
    """
    if not (path / _LIST).is_file():
        return [Run.open(path)]
    scans = ManyScans.load(path)
    return [Run.open(path / name) for name in scans.places.values() if (path / name).is_dir()]


@dataclass(slots=True, kw_only=True)
class ManyScans:
    """The list of scans in a directory of several tables."""

    #: the directory
    path: Path
    #: connection string of the database, without a password
    target: str
    #: schemas that were asked for; empty: all
    schemas: tuple[str, ...]
    #: table label to the name of its run directory
    places: dict[str, str] = field(default_factory=dict)
    #: whether every table was scanned
    finished: bool = False

    @classmethod
    def load(cls, path: Path) -> ManyScans:
        """Read the list. Raises NotARunDirectory, RunDirectoryDamaged."""
        file = path / _LIST
        if not file.is_file():
            raise NotARunDirectory(
                f"{path} is not a directory of several scans",
                hint="Name the directory that the scan printed first,"
                " or a path that does not exist yet.",
                path=path,
            )
        try:
            facts: dict[str, Any] = json.loads(file.read_text("utf-8"))
            if facts["format_version"] != _FORMAT:
                raise NotARunDirectory(
                    f"{path} was written in format {facts['format_version']};"
                    f" this pgmend reads format {_FORMAT}",
                    hint="Use the pgmend that wrote it, or begin a new run.",
                    path=path,
                )
            return cls(
                path=path,
                target=facts["target"],
                schemas=tuple(facts["schemas"]),
                places=dict(facts["scans"]),
                finished=bool(facts["finished"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunDirectoryDamaged(
                f"{file} is damaged: {error}", hint="Begin a new run.", path=file
            ) from error

    @classmethod
    def begin(
        cls, given: Path | None, base: Path, dbname: str, target: str,
        schemas: tuple[str, ...], *, fresh: bool,
    ) -> ManyScans:
        """Go on with ``given`` or the newest unfinished list like this one, else begin one.

        Raises RunMismatch, NotARunDirectory, LocalStorageError.
        """
        wanted = {"target": target, "schemas": schemas}
        if given is not None:
            if given.exists() and any(given.iterdir()):
                found = cls.load(given)
                for name, value in wanted.items():
                    if getattr(found, name) != value:
                        raise RunMismatch(
                            f"{given} belongs to another {name}: {getattr(found, name)!r},"
                            f" not {value!r}",
                            hint="Name another directory with --run.",
                            field=name, expected=getattr(found, name), found=value,
                        )
                if fresh:
                    found.places, found.finished = {}, False
                return found
            return cls(path=given, target=target, schemas=schemas)
        for path in [] if fresh else _newest_first(base.glob(f"*/{_LIST}")):
            try:
                found = cls.load(path.parent)
            except (NotARunDirectory, RunDirectoryDamaged):
                continue
            if not found.finished and all(getattr(found, k) == v for k, v in wanted.items()):
                return found
        name = f"{plain_name(dbname)}-all-unique-{secrets.token_hex(4)}"
        return cls(path=base / name, target=target, schemas=schemas)

    def place(self, label: str) -> Path:
        """Return the run directory of a table; the same one each time."""
        if label not in self.places:
            digest = hashlib.sha256(label.encode("utf-8", "surrogateescape")).hexdigest()[:8]
            self.places[label] = f"{plain_name(label)}-{digest}"
        return self.path / self.places[label]

    def save(self) -> None:
        """Write the list in one piece. Raises LocalStorageError."""
        facts = {
            "format_version": _FORMAT,
            "target": self.target,
            "schemas": self.schemas,
            "finished": self.finished,
            "scans": self.places,
        }
        new = self.path / f"{_LIST}.new"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                json.dump(facts, out)
                out.flush()
                os.fsync(out.fileno())
            new.rename(self.path / _LIST)
        except OSError as error:
            raise LocalStorageError(
                f"cannot write {self.path}: {error.strerror}",
                hint="Make room, or name another directory with --run.",
                path=self.path,
            ) from error


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
