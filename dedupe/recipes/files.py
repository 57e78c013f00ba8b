"""The files of a recipe's directory: whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from ..errors import LocalStorageError, RunDirectoryDamaged
from ..scan.checkpoint import sync_directory

#: what can be done where a recipe's directory is not whole: the journal is in the database
WITHOUT_DIRECTORY = (
    "Bring it back from a copy. Without one: what was repaired is listed by pgmend journal list -d"
    " DATABASE, and pgmend undo ID -d DATABASE --execute takes it back, the last one first; another"
    " --run begins anew."
)


def unfinished(file: Path) -> Path:
    """Return what a file is called while ``whole`` writes it."""
    return file.with_name(f"{file.name}.new")


@contextmanager
def whole(file: Path) -> Iterator[TextIO]:
    """Write a file for its owner's eyes: whole after the block, or not at all.

    Raises LocalStorageError; of whatever ends the block nothing is left, but by a kill what
    ``unfinished`` names.
    """
    new = unfinished(file)
    try:
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        new.rename(file)
        sync_directory(file.parent)
    except BaseException as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise LocalStorageError(
            f"cannot write {file}: {error.strerror}",
            hint="Make room or mend the directory, then give the same command again.",
            path=file,
        ) from error


def remove(*files: Path) -> None:
    """Remove files that may be there, for good. Raises LocalStorageError."""
    for file in files:
        try:
            if file.exists():
                file.unlink()
                sync_directory(file.parent)
        except OSError as error:
            raise LocalStorageError(
                f"cannot remove {file}: {error.strerror}",
                hint="Mend the directory, then give the same command again.",
                path=file,
            ) from error


def write_file(file: Path, facts: object) -> None:
    """Write a file of JSON, as ``whole`` does."""
    with whole(file) as out:
        json.dump(facts, out)


def read_file(file: Path) -> Any:
    """Read what ``write_file`` wrote. Raises RunDirectoryDamaged."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryDamaged(
            f"{file} is damaged: {error}", hint=WITHOUT_DIRECTORY, path=file
        ) from error
