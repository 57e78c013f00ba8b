"""The file of a plan: SQLite, written in one piece, and what it says beside the decisions."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .decision import Ranking
from .errors import LocalStorageError, PlanError
from .groups import as_bytes
from .scan.checkpoint import sync_directory
from .scan.directory import PLAN_FILE
from .scan.run import Run

_UNFINISHED = f"{PLAN_FILE}.new"
_FORMAT = 4
#: marks an SQLite file as a plan (PRAGMA application_id): "pgmp"
_APPLICATION_ID = 0x70676D70


def write_plan(run: Run, facts: dict[str, Any], rankings: Iterable[Ranking]) -> None:
    """Write the plan of a run in one piece; ``facts`` may be filled while rankings stream.

    Raises LocalStorageError.
    """
    path, new = run.path / PLAN_FILE, run.path / _UNFINISHED
    try:
        new.unlink(missing_ok=True)
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            new.chmod(0o600)
            connection.executescript(
                "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
                f" PRAGMA application_id={_APPLICATION_ID}; BEGIN;"
                " CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
                " CREATE TABLE decision (number INTEGER NOT NULL, ordinal INTEGER NOT NULL,"
                " member INTEGER NOT NULL, policy INTEGER NOT NULL,"
                " PRIMARY KEY (number, ordinal)) WITHOUT ROWID;"
                " CREATE TABLE later (number INTEGER NOT NULL, ordinal INTEGER NOT NULL,"
                " member INTEGER NOT NULL, policy INTEGER NOT NULL,"
                " PRIMARY KEY (number, policy, ordinal)) WITHOUT ROWID;"
                " CREATE TABLE merged (number INTEGER NOT NULL, name BLOB NOT NULL, value BLOB,"
                " PRIMARY KEY (number, name)) WITHOUT ROWID;"
            )

            def decisions() -> Iterator[tuple[int, int, int, int]]:
                for group, places, merged, policy, later in rankings:
                    if later:
                        connection.executemany(
                            "INSERT INTO later VALUES (?, ?, ?, ?)",
                            ((group, n, member, policy) for n, member in enumerate(places)),
                        )
                        continue
                    for name, value in merged.items():
                        connection.execute(
                            "INSERT INTO merged VALUES (?, ?, ?)",
                            (group, as_bytes(name), None if value is None else as_bytes(value)),
                        )
                    for ordinal, member in enumerate(places):
                        yield group, ordinal, member, policy

            connection.executemany("INSERT INTO decision VALUES (?, ?, ?, ?)", decisions())
            connection.executemany(
                "INSERT INTO fact VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in {**facts, "format": _FORMAT}.items()],
            )
            connection.execute("COMMIT")
        finally:
            connection.close()
        with new.open("rb") as written:
            os.fsync(written.fileno())
        new.rename(path)
        sync_directory(run.path)
    except (sqlite3.Error, OSError) as error:
        raise LocalStorageError(
            f"cannot write {path}: {error}",
            hint="Make room or mend the directory, then give the plan command again.",
            path=path,
        ) from error


def connected(path: Path) -> sqlite3.Connection:
    """Open the file of a plan to be read."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
    )


def read_facts(path: Path) -> dict[str, Any]:
    """Read what a plan says beside its decisions. Raises PlanError."""
    if not path.is_file():
        raise PlanError(
            f"there is no plan in {path.parent} yet",
            hint=f"Make one: pgmend plan {path.parent} --keep oldest",
            path=path,
        )
    try:
        connection = connected(path)
        try:
            facts = {
                name: json.loads(text)
                for name, text in connection.execute("SELECT name, value FROM fact")
            }
        finally:
            connection.close()
    except (sqlite3.DatabaseError, ValueError) as error:
        raise damaged(path, error) from error
    if facts.get("format") != _FORMAT:
        raise PlanError(
            f"{path} was written by another version of pgmend",
            hint="Make the plan again with this one, or use the version that wrote it.",
            path=path,
        )
    return facts


def damaged(path: Path, error: Exception) -> PlanError:
    """Return the error of a file that is no plan, or not whole."""
    return PlanError(
        f"{path} is damaged: {error}", hint="Make the plan again: pgmend plan.", path=path
    )
