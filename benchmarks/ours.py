"""pgmend itself: its command, beside somebody who writes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dedupe import Run

from .bystander import bystander
from .contest import Outcome, noted
from .failure import BenchmarkFailed
from .measure import measured, open_target
from .processes import NO_LIMITS, Limits
from .table import Table
from .truth import Found, found_in

NAME = "pgmend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """``pgmend scan`` with its settings."""

    jobs: int
    #: as on the command line
    memory: str
    name: str = NAME
    #: ``--key …`` or ``--index …``; empty: the table's damaged index, or its key
    key: tuple[str, ...] = ()
    #: further options
    options: tuple[str, ...] = ()

    def run(self, table: Table, scratch: Path, limits: Limits = NO_LIMITS) -> Outcome:
        """Scan once and remove the run directory. Raises BenchmarkFailed."""
        place = scratch / "run"
        try:
            with bystander(table.dsn):
                done = measured(
                    scan_command(
                        table, place, "--jobs", str(self.jobs), "--memory", self.memory,
                        "--json", *self.options, key=self.key,
                    ),
                    dsn=table.dsn,
                    scratch=scratch,
                    codes=(0, 1),
                    limits=limits,
                )  # fmt: skip
            told = json.loads(done.output)
            found = _found(told, place, table)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        outcome = noted(
            self.name,
            table,
            done,
            seconds=told["seconds"],
            sweep_seconds=told["sweep_seconds"],
            found=found,
            resumes=True,
        )
        return replace(outcome, rss_bytes=max(done.rss_bytes, told["peak_rss_bytes"]))


def scan_command(
    table: Table, place: Path, *options: str, key: Sequence[str] = ()
) -> list[str]:
    """Return the command that scans a table into a run directory, for its own key or another."""
    return [
        sys.executable, "-m", "cli", "scan", table.name, *(key or table.key_options),
        "--dbname", open_target(table.reached), "--no-password",
        "--run", str(place), "--quiet", *options,
    ]  # fmt: skip


def _found(told: dict[str, Any], place: Path, table: Table) -> Found:
    """Read the groups that the run wrote; of an enormous one its count is enough."""
    (key,) = told["keys"]
    if key["rows"] != table.keyed_rows:
        raise BenchmarkFailed(f"pgmend read {key['rows']:,} keys of {table.keyed_rows:,}")
    if table.truth.fingerprint is None:
        return Found(
            groups=key["groups"], rows_in_groups=key["rows_in_groups"], fingerprint=None
        )
    found = found_in(
        [int(member.pk["id"] or 0) for member in group.members if member.pk]
        for group in Run.open(place).groups()
    )
    if (found.groups, found.rows_in_groups) != (key["groups"], key["rows_in_groups"]):
        raise BenchmarkFailed("pgmend counted other groups than it wrote")
    return found
