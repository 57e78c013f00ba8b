"""The small files of a recipe's directory: JSON, whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import LocalStorageError, RunDirectoryDamaged
from ..scan.checkpoint import sync_directory


def write_file(file: Path, facts: object) -> None:
    """Write a file of the directory: whole, or not at all. Raises LocalStorageError."""
    new = file.with_suffix(".new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(facts, out)
            out.flush()
            os.fsync(out.fileno())
        new.rename(file)
        sync_directory(file.parent)
    except OSError as error:
        raise LocalStorageError(
            f"cannot write {file}: {error.strerror}",
            hint="Make room or mend the directory, then give the same command again.",
            path=file,
        ) from error


def read_file(file: Path) -> Any:
    """Read what ``write_file`` wrote. Raises RunDirectoryDamaged."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryDamaged(
            f"{file} is damaged: {error}", hint="Name another directory with --run.", path=file
        ) from error
