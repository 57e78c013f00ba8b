"""The small files of a recipe's directory: JSON, whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import RunDirectoryDamaged
from ..scan.checkpoint import sync_directory


def write_file(file: Path, facts: object) -> None:
    """Write a file of the directory: whole, or not at all."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(facts), "utf-8")
    with new.open("rb") as written:
        os.fsync(written.fileno())
    new.rename(file)
    sync_directory(file.parent)


def read_file(file: Path) -> Any:
    """Read what ``write_file`` wrote. Raises RunDirectoryDamaged."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryDamaged(
            f"{file} is damaged: {error}", hint="Name another directory with --run.", path=file
        ) from error
