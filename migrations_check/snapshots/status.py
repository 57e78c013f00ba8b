"""What there is: every snapshot of every known provider, and what is wrong with them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dedupe.errors import DedupeError

from .gate import spoken
from .guard import Guard
from .provider import Provider, Snapshot
from .receipts import Kept, shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A snapshot that is there, or that a receipt tells of."""

    provider: str
    to: str | None
    snapshot: Snapshot
    #: its receipt; None: none counts for it
    kept: Kept | None
    #: whether the provider has it
    there: bool

    @property
    def state(self) -> str:
        """Say in a few words how far it may be relied on."""
        if not self.there:
            return "gone"
        if not self.snapshot.complete:
            return "half-finished"
        if self.kept is None:
            return "no receipt"
        if failed := self.kept.failure:
            return f"failed ({failed.kind})"
        return self.kept.newest.kind if self.kept.newest else "never verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All snapshots, oldest first, and a sentence for each thing that is not as it should be."""

    standings: tuple[Standing, ...]
    findings: tuple[str, ...]


def status(guard: Guard, max_age: timedelta, also: tuple[str, str | None] | None = None) -> Status:
    """Ask every provider that is configured or that a receipt names, and ``also``.

    Ages are told by this machine's clock. Raises LocalStorageError; a provider that does
    not answer is a finding.
    """
    found = shelf(guard.receipts)
    asked: dict[tuple[str, str | None], str | None] = dict.fromkeys(
        ((name, None) for name in guard.providers), None
    )
    asked |= {also: None} if also else {}
    for kept in found.kept:
        asked.setdefault((kept.receipt.provider, kept.receipt.to), kept.receipt.kind)
    standings: list[Standing] = []
    findings = [error.message for error in found.damaged]
    for (name, to), kind in asked.items():
        try:
            provider = guard.provider(name, to=to, kind=kind)[1]
            standings += _of_provider(provider, to, found.kept)
        except DedupeError as error:
            findings.append(f"provider {name}: {error.message}")
    standings.sort(key=lambda one: one.snapshot.taken_at)
    for one in standings:
        findings += _wrong(one, guard.receipts)
    return Status(
        standings=tuple(standings), findings=(*findings, *_stale(standings, max_age))
    )


def _of_provider(provider: Provider, to: str | None, kept: tuple[Kept, ...]) -> list[Standing]:
    mine = {one.receipt.snapshot.id: one for one in kept
            if (one.receipt.provider, one.receipt.to) == (provider.name, to)}
    there = {one.id: one for one in provider.list()}
    gone = {name: one.receipt.snapshot for name, one in mine.items() if name not in there}
    return [
        Standing(provider=provider.name, to=to, snapshot=snapshot, kept=mine.get(name),
                 there=name in there)
        for name, snapshot in (there | gone).items()
    ]


def _wrong(one: Standing, receipts: Path) -> list[str]:
    place = ["--to", one.to] if one.to else []
    remove = shlex.join(
        ["pgmend", "guard", "remove", one.snapshot.id, "--provider", one.provider, *place,
         "--receipts", str(receipts)]
    )
    if one.state == "half-finished" and one.kept:
        whole = f"it was when its receipt was written: {one.kept.path}"
        return [f"snapshot {one.snapshot.id} is not complete any more; {whole}"]
    if one.state == "half-finished":
        return [f"snapshot {one.snapshot.id} is half-finished; remove it with: {remove}"]
    if one.state == "gone" and one.kept:
        return [f"snapshot {one.snapshot.id} is gone; its receipt counts no more: {one.kept.path}"]
    if failed := one.kept and one.kept.failure:
        why = failed.findings[0]
        return [f"snapshot {one.snapshot.id} failed when it was {failed.kind}: {why}"]
    return []


def _stale(standings: list[Standing], max_age: timedelta) -> list[str]:
    """Say of each cluster that its newest snapshot that counts is too old, or not there."""
    now = datetime.now(UTC)
    newest: dict[int, timedelta | None] = {}
    for one in standings:
        if one.kept is None:
            continue
        cluster = one.kept.receipt.cluster
        newest.setdefault(cluster.system_identifier, None)
        if one.there and one.snapshot.complete and one.kept.proved("verified"):
            newest[cluster.system_identifier] = now - cluster.now
    told = [
        f"cluster {cluster}: "
        + ("no snapshot that is proved" if age is None
           else f"its newest snapshot that is proved is {spoken(age)} old")
        for cluster, age in newest.items() if age is None or age > max_age
    ]
    return told if newest else ["there is no snapshot with a receipt"]
