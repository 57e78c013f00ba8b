"""What a program that takes part is told, and how it answers: for both ends of the process.

It imports little, because what it imports counts as the program's memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TypedDict

from benchmarks.truth import found_in


class Task(TypedDict):
    """The one argument of a program, as JSON."""

    dsn: str
    table: str
    key: str
    #: settings of its sessions
    settings: dict[str, str]
    #: paths of PostgreSQL's programs, by name
    tools: dict[str, str]


def task() -> Task:
    """Read the task of this process."""
    told: Task = json.loads(sys.argv[1])
    return told


def answer(seconds: float, groups: Iterable[Iterable[int]]) -> None:
    """Say how long the work took, and which groups of primary keys it found."""
    found = found_in(groups)
    counted(seconds, found.groups, found.rows_in_groups, found.fingerprint)


def counted(seconds: float, groups: int, rows: int, fingerprint: str | None = None) -> None:
    """Say the same of groups whose members nobody has."""
    found = {"groups": groups, "rows_in_groups": rows, "fingerprint": fingerprint}
    print(json.dumps({"seconds": seconds, "found": found}))


def options(told: Task) -> str:
    """Return the session's settings as PGOPTIONS."""
    return " ".join(f"-c {name}={value}" for name, value in told["settings"].items())
