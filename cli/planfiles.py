"""Plans as files to look through and to change, in a spreadsheet or with other programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from dedupe import Plan, Run, export_plan, import_plan

#: bytes that are no UTF-8 come through as they are
_LENIENT = "surrogateescape"


def write_plan(plan: Plan, file: Path) -> None:
    """Write every row of a plan; for its owner's eyes, because it holds keys of rows."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors=_LENIENT, newline="") as stream:
        export_plan(plan, stream, _form(file))


def read_plan(run: Run, file: Path) -> Plan:
    """Make the plan of a run what a file says. Raises PlanError, RefusedError."""
    with file.open(encoding="utf-8", errors=_LENIENT, newline="") as stream:
        return import_plan(run, stream, _form(file))


def _form(file: Path) -> Literal["jsonl", "csv"]:
    return "csv" if file.suffix.lower() == ".csv" else "jsonl"
