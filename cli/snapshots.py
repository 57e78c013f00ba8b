"""How snapshots, their receipts and what was proved of them look: for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from migrations_check import Kept, Result, Snapshot, Status, spoken

from .output import FORMAT_VERSION, aligned, heard, moment_text, one_line


def kept_facts(kept: Kept) -> dict[str, Any]:
    """Return the fields of a receipt, in the documented order."""
    receipt = kept.receipt
    cluster = receipt.cluster
    return {
        "format_version": FORMAT_VERSION,
        "receipt": str(kept.path),
        "id": receipt.id,
        "provider": receipt.provider,
        "kind": receipt.kind,
        "taken": cluster.now.isoformat(),
        "seconds": receipt.seconds,
        "system_identifier": str(cluster.system_identifier),
        "timeline": cluster.timeline,
        "lsn": cluster.lsn,
        "server_version": cluster.version,
        "databases": {one.name: one.size for one in cluster.databases},
        "tables": len(receipt.tables),
        "snapshot": snapshot_facts(receipt.snapshot),
        "results": [result_facts(result) for result in kept.results],
    }


def snapshot_facts(snapshot: Snapshot) -> dict[str, Any]:
    """Return the fields of a snapshot."""
    return {
        "id": snapshot.id,
        "taken": snapshot.taken_at.isoformat(),
        "complete": snapshot.complete,
        "size": snapshot.size,
        "place": snapshot.place,
        "facts": dict(snapshot.facts),
        "databases": None if snapshot.databases is None else list(snapshot.databases),
    }


def result_facts(result: Result) -> dict[str, Any]:
    """Return the fields of what one proof showed."""
    return {
        "kind": result.kind,
        "passed": result.passed,
        "at": result.at.isoformat(),
        "seconds": result.seconds,
        "findings": list(result.findings),
    }


def receipt_text(kept: Kept) -> str:
    """Say in one line what a receipt is of: ``receipt … (pg_basebackup, taken …, verified …)``."""
    receipt, newest = kept.receipt, kept.newest
    proof = f", {newest.kind} {moment_text(newest.at)}" if newest and newest.passed else ""
    taken = moment_text(receipt.cluster.now)
    return one_line(f"receipt {receipt.id} ({receipt.provider}, taken {taken}{proof})")


@heard
def print_results(results: Sequence[Result]) -> None:
    """Print what proofs showed: ``checked:`` and ``wrong:``, as ``verify`` does."""
    for result in results:
        for finding in result.findings:
            print(f"{'checked' if result.passed else 'wrong'}: {one_line(finding)}")
        end = "good" if result.passed else "FAILED"
        print(f"{result.kind} in {result.seconds:.1f} s: {end}")


def status_facts(status: Status) -> dict[str, Any]:
    """Return the JSON object of ``guard status``."""
    return {
        "format_version": FORMAT_VERSION,
        "snapshots": [
            {
                "provider": one.provider,
                "to": one.to,
                "state": one.state,
                "snapshot": snapshot_facts(one.snapshot),
                "receipt": None if one.kept is None else kept_facts(one.kept),
            }
            for one in status.standings
        ],
        "findings": list(status.findings),
    }


@heard
def print_status(status: Status) -> None:
    """Print a table of the snapshots, and below it what is wrong."""
    now = datetime.now(UTC)
    header = ("provider", "snapshot", "taken", "age", "size", "cluster", "lsn", "state", "proved")
    rows = []
    for one in status.standings:
        size, kept, snapshot = one.snapshot.size, one.kept, one.snapshot
        newest = kept.newest if kept else None
        identifier = kept.receipt.cluster.system_identifier if kept else snapshot.system_identifier
        rows.append((
            one.provider,
            snapshot.id,
            moment_text(snapshot.taken_at),
            spoken(max(now - snapshot.taken_at, now - now)),
            "" if size is None else f"{size / (1 << 20):,.1f} MB",
            "" if identifier is None else str(identifier),
            snapshot.lsn or (kept.receipt.cluster.lsn if kept else ""),
            one.state,
            moment_text(newest.at) if newest and newest.passed else "",
        ))
    for line in aligned(header, rows) if rows else ():
        print(line)
    for finding in status.findings:
        print(f"wrong: {one_line(finding)}")
