"""The gate: whether a receipt shows a snapshot that may be relied on now. Unknown is no."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from dedupe.connect import Connectable, Database, connect
from dedupe.errors import DedupeError, SnapshotRequired, UsageError

from .cluster import Cluster, position
from .guard import CLOCKS, Guard
from .provider import Snapshot
from .receipts import Kept, Kind, Receipt, shelf

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is asked of a snapshot."""

    max_age: timedelta = timedelta(hours=24)
    level: Kind = "verified"


def duration(text: str) -> timedelta:
    """Read a duration such as ``90m``, ``24h`` or ``7d``. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9})([smhd])", text.strip())
    if found is None or not int(found[1]):
        raise UsageError(f"{text!r} is no age", hint="Write a number and s, m, h or d: 24h.")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def require_snapshot(
    dsn: Connectable,
    *,
    receipts: Path | str,
    max_age: str | timedelta = "24h",
    level: Kind = "verified",
    providers: Mapping[str, Mapping[str, Any]] | None = None,
    bindir: Path | None = None,
) -> Kept:
    """Return the newest receipt of a snapshot of this cluster that counts.

    ``level``: its newest proof is good, and, if ``drilled``, one was a drill. ``providers``
    are tables as under ``guard.providers``, for snapshots that lie with a service. The
    provider is asked whether the snapshot is still there. Raises SnapshotRequired with the
    reasons, ProviderSettingsError, and what ``connect`` raises.
    """
    guard = Guard(receipts=Path(receipts), providers=providers or {}, bindir=bindir)
    age = duration(max_age) if isinstance(max_age, str) else max_age
    return required(guard, connect(dsn), Demand(max_age=age, level=level))


def required(guard: Guard, database: Database, demand: Demand) -> Kept:
    """Return the newest receipt that counts. Raises SnapshotRequired."""
    cluster = Cluster.of(database)
    found = shelf(guard.receipts)
    there = _Presence(guard)
    reasons = [(error.message, None) for error in found.damaged]
    told: list[tuple[str, Kept | None]] = []
    for kept in reversed(found.kept):
        why = _against(kept, cluster, demand) or there.lacks(kept.receipt)
        if not why:
            return kept
        told.append((f"receipt {kept.receipt.id}: {why}", kept))
    every = [*told, *reasons]
    where = database.where
    missing = "" if guard.receipts.exists() else ", for there is no such directory"
    first = every[0][0] if every else f"there is no receipt in {guard.receipts}{missing}"
    raise SnapshotRequired(
        f"no snapshot of {where.host}:{where.port}/{where.dbname} counts: {first}"
        + (f" (and {len(every) - 1} more)" if len(every) > 1 else ""),
        hint=_remedy(guard, told, demand, cluster),
        reasons=tuple(text for text, _ in every),
    )


def _against(kept: Kept, cluster: Cluster, demand: Demand) -> str:
    """Say why a receipt does not count for a cluster; nothing if it does."""
    receipt = kept.receipt
    then, snapshot = receipt.cluster, receipt.snapshot
    if then.system_identifier != cluster.system_identifier:
        return (f"it is of another cluster, {then.system_identifier}, not"
                f" {cluster.system_identifier}")
    if then.timeline != cluster.timeline:
        return (f"it is of timeline {then.timeline}, which was left: the server is on"
                f" {cluster.timeline}")
    if then.now > cluster.now or snapshot.taken_at > cluster.now + CLOCKS:
        late = max(then.now, snapshot.taken_at)
        return f"it is of the future, {late:%Y-%m-%d %H:%M:%S}Z: a clock was or is wrong"
    if position(then.lsn) > position(cluster.lsn):
        return (f"it was taken at {then.lsn}, which the server has not reached ({cluster.lsn}):"
                " the server was set back since")
    dbname = conninfo_to_dict(cluster.conninfo).get("dbname")
    if snapshot.databases is not None and dbname not in snapshot.databases:
        return f"the database {dbname} is not in it, but {', '.join(snapshot.databases)}"
    age = cluster.now - min(then.now, snapshot.taken_at)
    if age > demand.max_age:
        return f"it is {spoken(age)} old, and at most {spoken(demand.max_age)} is asked for"
    if failed := kept.failure:
        return f"it failed when it was {failed.kind}: {failed.findings[0]}"
    if not kept.proved(demand.level):
        return f"it was never {demand.level}"
    return ""


class _Presence:
    """Which snapshots are there: each provider is asked once."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._known: dict[tuple[str, str | None], tuple[Snapshot, ...] | str] = {}

    def lacks(self, receipt: Receipt) -> str:
        """Say that a snapshot is not there, or that nobody knows; nothing if it is."""
        key = receipt.provider, receipt.to
        if key not in self._known:
            try:
                self._known[key] = self._guard.provider_of(receipt).list()
            except DedupeError as error:
                self._known[key] = f"whether it is still there is not known: {error.message}"
        found = self._known[key]
        if isinstance(found, str):
            return found
        one = next((one for one in found if one.id == receipt.snapshot.id), None)
        if one is None:
            return f"its snapshot {receipt.snapshot.id} is gone from {receipt.snapshot.place}"
        return "" if one.complete else f"its snapshot {one.id} is not complete"


def spoken(age: timedelta) -> str:
    """Write a duration for people."""
    seconds = age.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _remedy(
    guard: Guard, told: list[tuple[str, Kept | None]], demand: Demand, cluster: Cluster
) -> str:
    newest = told[0][1] if told else None
    # What only a drill has shown to be wrong, only a drill shows to be right.
    failed = newest is not None and newest.failure is not None and newest.failure.kind == "drilled"
    drilling = " --drill" if failed or demand.level == "drilled" else ""
    if newest is not None and "it was never" in told[0][0]:
        return f"Prove it: pgmend guard verify {shlex.quote(str(newest.path))}{drilling}"
    name = newest.receipt.provider if newest else next(iter(guard.providers), "pg_basebackup")
    to = newest.receipt.to if newest else None
    place = [] if (newest and to is None) or name in guard.providers else ["--to", to or "DIR"]
    words = ["pgmend", "guard", "take", "-d", cluster.conninfo, "--provider", name, *place,
             "--receipts", str(guard.receipts)]
    return (f"Take one and prove it: {shlex.join(words)}; then: pgmend guard verify"
            f" RECEIPT{drilling}")
