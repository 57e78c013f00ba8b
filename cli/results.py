"""What a scan found, for people and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dedupe import Run, RunStatus

from .exits import ExitCode
from .output import FORMAT_VERSION, aligned, one_line, print_json, styled


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A table of --all-unique that could not be scanned."""

    #: the table's label
    table: str
    #: why, and what to do about it
    message: str
    hint: str | None
    #: the exit code that the reason would have had alone
    code: ExitCode


def outcome(runs: Sequence[Run], refused: Sequence[Refusal]) -> ExitCode:
    """Return the exit code: what is incomplete weighs more than what was found."""
    if any(run.status is not RunStatus.FINISHED for run in runs):
        return ExitCode.STOPPED
    if refused:
        return max(refusal.code for refusal in refused)
    found = any(run.unreadable or any(key.groups for key in run.keys) for run in runs)
    return ExitCode.FOUND if found else ExitCode.OK


def scan_facts(runs: Sequence[Run], path: Path, refused: Sequence[Refusal] = ()) -> dict[str, Any]:
    """Return the JSON object of ``scan --json``; several tables share one object."""
    unfinished = [run for run in runs if run.status is not RunStatus.FINISHED]
    dates = [run.as_of for run in runs if run.as_of is not None]
    unreadable = [(row, run) for run in runs for row in run.unreadable]
    return {
        "format_version": FORMAT_VERSION,
        "run": str(path),
        "status": str(unfinished[0].status if unfinished else RunStatus.FINISHED),
        # Of several tables, the oldest moment: what is told holds since then.
        "as_of": min(dates).isoformat() if dates and not unfinished else None,
        "keys": [
            {
                "name": key.name,
                "schema": key.schema,
                "table": key.table,
                "rows": key.rows,
                "groups": key.groups,
                "rows_in_groups": key.rows_in_groups,
                "surplus_rows": key.surplus_rows,
                "false_candidates": key.false_candidates,
                "left_out": key.left_out,
                "as_of": run.as_of.isoformat() if run.as_of else None,
                "run": str(run.path),
            }
            for run in runs
            for key in run.keys
        ],
        "unreadable_rows": len(unreadable),
        "seconds": round(sum(run.seconds for run in runs), 3),
        "sweep_seconds": round(sum(run.sweep_seconds for run in runs), 3),
        "peak_rss_bytes": max((run.peak_rss_bytes for run in runs), default=0),
        "spill_bytes": sum(run.spill_bytes for run in runs),
        "unreadable": [
            {
                "schema": row.schema,
                "table": row.table,
                "ctid": row.ctid,
                "block": row.block,
                "message": row.message,
            }
            for row, _ in unreadable
        ],
        "refused": [{"table": each.table, "message": each.message} for each in refused],
    }


def print_scan(
    runs: Sequence[Run], path: Path, *, as_json: bool, refused: Sequence[Refusal] = ()
) -> None:
    """Print what finished scans found; a reader who has left changes nothing."""
    try:
        _print_scan(runs, path, as_json=as_json, refused=refused)
    except BrokenPipeError:
        # The exit code still says what was found.
        return


def _print_scan(
    runs: Sequence[Run], path: Path, *, as_json: bool, refused: Sequence[Refusal]
) -> None:
    if as_json:
        print_json(scan_facts(runs, path, refused))
        return
    header = ("table", "key", "rows", "groups", "rows in groups", "surplus rows")
    rows = [
        (
            f"{key.schema}.{key.table}",
            key.name,
            key.rows,
            key.groups,
            key.rows_in_groups,
            key.surplus_rows,
        )
        for run in runs
        for key in run.keys
    ]
    for line in aligned(header, rows):
        print(line)
    for run in runs:
        for row in run.unreadable:
            place = f"row {row.ctid}" if row.ctid else f"block {row.block}"
            label = one_line(f"{row.schema}.{row.table}")
            print(f"unreadable: {label} {place}: {one_line(row.message)}")
    dates = [run.as_of for run in runs if run.as_of is not None]
    groups = sum(key.groups for run in runs for key in run.keys)
    moment = f"As of {moment_text(min(dates))}: " if dates else ""
    if groups:
        found = styled(f"{groups:,} groups of duplicates", sys.stdout, fg="red", bold=True)
        print(f"{moment}{found}. Every row of them: pgmend groups {path}")
    elif any(run.unreadable for run in runs):
        print(f"{moment}no duplicates in what could be read.")
    else:
        print(f"{moment}{styled('no duplicates', sys.stdout, fg='green')}.")


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def status_facts(runs: Sequence[Run], path: Path) -> dict[str, Any]:
    """Return the JSON object of ``status --json``."""
    return {
        **scan_facts(runs, path),
        "runs": [
            {
                "run": str(run.path),
                "id": run.id,
                "status": str(run.status),
                "table": run.table,
                "fraction": round(run.fraction, 4),
                "started": run.started.isoformat(),
                "target": {
                    name: getattr(run.target, name)
                    for name in ("host", "port", "dbname", "user", "service", "sslmode")
                },
                "definitions": list(run.definitions),
            }
            for run in runs
        ],
    }


def print_status(runs: Sequence[Run]) -> None:
    """Print where runs are and what the finished ones found."""
    for run in runs:
        target = run.target
        facts = [
            ("run", str(run.path)),
            ("status", f"{run.status}, {run.fraction:.0%} done"),
            ("table", run.table),
            ("database", f"{target.dbname} on {target.host}, port {target.port}, as {target.user}"),
            ("started", moment_text(run.started)),
            ("as of", moment_text(run.as_of) if run.as_of else "not known before the sweep"),
            ("work", f"{run.seconds:.1f} s, {run.spill_bytes:,} bytes spilled"),
            *(("key", text) for text in run.definitions),
        ]
        for name, value in facts:
            print(f"{name:10} {one_line(value)}")
        if run.status is RunStatus.FINISHED:
            for key in run.keys:
                print(
                    f"{'found':10} {one_line(key.name)}: {key.groups:,} groups,"
                    f" {key.rows_in_groups:,} rows, {key.surplus_rows:,} more than unique"
                )
        print()
