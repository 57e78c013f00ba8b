"""What a scan found, for people and as JSON."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import Any

from dedupe import Run, RunStatus

from .exits import ExitCode
from .output import (
    FORMAT_VERSION,
    aligned,
    counted,
    heard,
    moment_text,
    note,
    one_line,
    print_fact,
    print_json,
    styled,
)
from .runs import Scans


def outcome(scans: Scans) -> ExitCode:
    """Return the exit code: what is incomplete weighs more than what was found."""
    if not scans.finished:
        return ExitCode.STOPPED
    if scans.refused:
        return max(refusal.code for refusal in scans.refused)
    found = any(run.unreadable or any(key.groups for key in run.keys) for run in scans.runs)
    return ExitCode.FOUND if found else ExitCode.OK


def scan_facts(scans: Scans) -> dict[str, Any]:
    """Return the JSON object of ``scan --json``; several tables share one object."""
    runs = scans.runs
    dates = [run.as_of for run in runs if run.as_of is not None]
    unreadable = [(row, run) for run in runs for row in run.unreadable]
    return {
        "format_version": FORMAT_VERSION,
        "run": str(scans.path),
        "status": str(scans.status),
        # Of several tables, the oldest moment: what is told holds since then.
        "as_of": min(dates).isoformat() if dates and scans.finished else None,
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
        "refused": [
            {"table": each.table, "key": each.key, "message": each.message}
            for each in scans.refused
        ],
        "tables": scans.tables,
        "tables_scanned": scans.scanned,
    }


@heard
def print_scan(scans: Scans, *, as_json: bool) -> None:
    """Print what a finished scan found."""
    if as_json:
        print_json(scan_facts(scans))
    else:
        _print_scan(scans)


def print_stopped(scans: Scans, go_on: str, *, let_go: bool, as_json: bool) -> None:
    """Tell how far a scan came before it was stopped, and the command that goes on."""
    place = f"{scans.fraction:.0%}"
    if scans.schemas is not None:
        # Of several tables, one is read at a time.
        reading = [run for run in scans.runs if run.status is not RunStatus.FINISHED]
        place = "".join(f"{run.fraction:.0%} of {run.table}, " for run in reading) + scans.counts
    lost = "what was read since the last checkpoint is" if let_go else "nothing that was read is"
    note(f"pgmend: {'let go' if let_go else 'stopped'} at {one_line(place)}; {lost} lost")
    note(f"HINT: Go on with: {go_on}")
    if as_json:
        print_scan(scans, as_json=True)


def _print_scan(scans: Scans) -> None:
    runs = scans.runs
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
    for refusal in scans.refused:
        print(f"refused: {one_line(refusal.what)}: {one_line(refusal.message)}")
    dates = [run.as_of for run in runs if run.as_of is not None]
    groups = sum(key.groups for run in runs for key in run.keys)
    moment = f"As of {moment_text(min(dates))}: " if dates else ""
    if groups:
        words = f"{counted(groups, 'group')} of duplicates"
        found = styled(words, sys.stdout, fg="red", bold=True)
        print(f"{moment}{found}. Every row of them: {_groups_command(scans)}")
        if scans.schemas is not None:
            _print_plan_commands(runs)
    elif any(run.unreadable for run in runs):
        print(f"{moment}no duplicates in what could be read.")
    elif scans.refused:
        print(f"{moment}no duplicates in what could be scanned.")
    else:
        print(f"{moment}{styled('no duplicates', sys.stdout, fg='green')}.")


def _print_plan_commands(runs: Iterable[Run]) -> None:
    """Print how each key with duplicates is planned for: of several tables, each has a run."""
    print("To repair them, one key at a time, those that reference others first:")
    for run in runs:
        for key in run.keys:
            if key.groups:
                words = ["pgmend", "plan", str(run.path), "--key", key.name]
                print(f"  {one_line(shlex.join(words))} --keep RULE")


def _groups_command(scans: Scans) -> str:
    return shlex.join(["pgmend", "groups", str(scans.path)])


def status_facts(scans: Scans) -> dict[str, Any]:
    """Return the JSON object of ``status --json``."""
    return {
        **scan_facts(scans),
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
            for run in scans.runs
        ],
    }


def print_status(scans: Scans) -> None:
    """Print where runs are and what the finished ones found."""
    if scans.schemas is not None:
        print_fact("run", str(scans.path))
        print_fact("status", scans.how_far)
    for run in scans.runs:
        if scans.schemas is not None:
            print()
        _print_run(run)
    if scans.refused and scans.schemas is not None:
        print()
    for refusal in scans.refused:
        print_fact("refused", f"{refusal.what}: {refusal.message}")


def _print_run(run: Run) -> None:
    target = run.target
    print_fact("run", str(run.path))
    print_fact("status", f"{run.status}, {run.fraction:.0%} done")
    print_fact("table", run.table)
    place = f"{target.dbname} on {target.host}, port {target.port}, as {target.user}"
    print_fact("database", place)
    print_fact("started", moment_text(run.started))
    print_fact("as of", moment_text(run.as_of) if run.as_of else "not known before the sweep")
    print_fact("work", f"{run.seconds:.1f} s, {run.spill_bytes:,} bytes spilled")
    for definition in run.definitions:
        # Under which path it is read and how it is digested is for programs: status --json.
        shown = definition.rpartition("\nsearch_path ")[0] or definition
        # An expression ends on a line of its own, in case it ends in a comment.
        for number, line in enumerate(shown.replace("\n)", ")").split("\n")):
            print_fact("" if number else "key", line)
    if run.status is RunStatus.FINISHED:
        for key in run.keys:
            print_fact(
                "found",
                f"{key.name}: {counted(key.groups, 'group')},"
                f" {counted(key.rows_in_groups, 'row')}, {key.surplus_rows:,} more than unique",
            )
        if run.unreadable:
            print_fact("unreadable", f"{counted(len(run.unreadable), 'row or block')}")
