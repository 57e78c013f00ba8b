"""Refusals: what ``--all-unique`` could not scan, kept beside what it could.

Those of a table among several stand in the list of the scans; those of a table that
was scanned alone, in a file of its run directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dedupe.errors import DedupeError, LocalStorageError, RunDirectoryDamaged, way_out

from .exits import ExitCode, code_of
from .output import complain

_FILE = "pgmend-refused.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A table of ``--all-unique``, or one of its keys, that could not be scanned."""

    #: the table's label
    table: str
    #: name of the key's index; None: the whole table
    key: str | None
    #: why, and what to do about it
    message: str
    hint: str | None
    #: the exit code that the reason would have had alone
    code: ExitCode

    @classmethod
    def of(cls, error: DedupeError, table: str, key: str | None = None) -> Refusal:
        """Take the reason from an error."""
        return cls(
            table=table, key=key, message=error.message, hint=error.hint, code=code_of(error)
        )

    @property
    def what(self) -> str:
        """The table, and the key if it is one, for people."""
        return self.table if self.key is None else f"{self.table}, key {self.key}"

    def tell(self) -> None:
        """Print it as an error."""
        complain(f"{self.what}: {self.message}", self.hint)

    def facts(self) -> dict[str, Any]:
        """Return what a file keeps."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Refusal:
        """Read what ``facts`` wrote. Raises KeyError, TypeError, ValueError."""
        return cls(**{**facts, "code": ExitCode(facts["code"])})


def kept_refusals(run: Path) -> tuple[Refusal, ...]:
    """Read the refusals in the directory of a table that was scanned alone.

    Raises RunDirectoryDamaged.
    """
    file = run / _FILE
    try:
        return tuple(Refusal.from_facts(facts) for facts in json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryDamaged(
            f"{file} is damaged: {error}",
            hint="Give the scan command again, with --all-unique: it writes the file anew.",
            path=file,
        ) from error


def keep_refusals(run: Path, refused: Sequence[Refusal]) -> None:
    """Write them into a run directory; an empty list leaves none. Raises LocalStorageError."""
    file = run / _FILE
    if refused:
        write_whole(file, json.dumps([refusal.facts() for refusal in refused]))
        return
    for name in (_FILE, f"{_FILE}.new"):
        try:
            (run / name).unlink(missing_ok=True)
        except OSError:
            # The scan tells what is wrong with its directory.
            return


def write_whole(file: Path, text: str) -> None:
    """Write a file in one piece, for its owner's eyes. Raises LocalStorageError."""
    new = file.with_name(f"{file.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        new.rename(file)
    except OSError as error:
        raise LocalStorageError(
            f"cannot write {file}: {error.strerror}",
            hint=way_out(error, "name another directory with --run"),
            path=file,
        ) from error
