"""The guard: snapshots are taken, proved and thinned out, and each step is put on record."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dedupe.connect import Database
from dedupe.errors import NotCovered, ProviderFailed, SnapshotRequired, UnknownObject

from . import drill as drills
from .cluster import Cluster, environment
from .provider import Proof, Provider, Snapshot, Step, Told
from .receipts import Kept, Receipt, forget, keep, keep_result, ready, shelf
from .rows import bounds, note
from .settings import open_provider

#: how far the clocks of the server and of a provider may be apart
CLOCKS = timedelta(minutes=5)
#: bytes of a database without a table of its own, rounded up
_EMPTY_DATABASE = 10 << 20
#: a snapshot smaller than this share of the data cannot hold it, however compressed
_LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Where receipts are kept, and the providers that are configured."""

    #: directory of the receipts
    receipts: Path
    #: name to settings, as under ``guard.providers``
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: where PostgreSQL's programs are; None: to be found
    bindir: Path | None = None

    def provider(
        self, name: str, *, to: str | None = None, kind: str | None = None,
        database: Database | None = None,
    ) -> tuple[str, Provider]:
        """Return the kind and the provider of that name. Raises ProviderSettingsError."""
        return open_provider(
            name, self.providers, to=to, kind=kind, bindir=self.bindir,
            environment=environment(database),
        )

    def provider_of(self, receipt: Receipt) -> Provider:
        """Return the provider that took the snapshot. Raises ProviderSettingsError."""
        return self.provider(receipt.provider, to=receipt.to, kind=receipt.kind)[1]

    def take(self, database: Database, name: str, *, to: str | None, told: Told) -> Kept:
        """Take a snapshot, check that it covers the cluster, and write its receipt.

        Tables are read once, to count their rows. Raises NotCovered before anything is
        taken, ProviderFailed, ProviderSettingsError, ProgramMissing, LocalStorageError, and
        what ``connect`` and ``note`` raise. No receipt is written then.
        """
        kind, provider = self.provider(name, to=to, database=database)
        cluster = Cluster.of(database)
        ready(self.receipts)
        if lacking := provider.lacks(cluster):
            raise NotCovered(
                f"a snapshot by {name} would not bring the cluster back: {'; '.join(lacking)}",
                hint="Mend that, or use another provider.", reasons=lacking,
            )
        names = tuple(one.name for one in cluster.databases)
        told(Step(doing="counting rows"))
        before = note(database, names, counting=True)
        began = time.monotonic()
        snapshot = provider.take(cluster, told)
        seconds = time.monotonic() - began
        if wrong := _unfit(snapshot, cluster):
            raise ProviderFailed(
                f"the snapshot {snapshot.id} of {name} does not count: {'; '.join(wrong)}",
                hint=f"pgmend guard remove {snapshot.id} --provider {name} removes it.",
                provider=name,
            )
        told(Step(doing="waiting for what others wrote to be told"))
        inside = snapshot.databases
        return keep(self.receipts, Receipt(
            id=f"{cluster.now:%Y%m%dT%H%M%SZ}-{name}-{secrets.token_hex(3)}",
            provider=name, kind=kind, to=to, snapshot=snapshot, cluster=cluster, seconds=seconds,
            tables=tuple(one for one in bounds(database, before, names)
                         if inside is None or one.database in inside),
        ))

    def verify(self, kept: Kept, told: Told) -> Kept:
        """Prove a snapshot without restoring it, and put the result beside its receipt.

        Raises ProviderFailed where it could not be looked at, ProgramMissing.
        """
        began = time.monotonic()
        provider, snapshot = self.provider_of(kept.receipt), kept.receipt.snapshot
        there = next((one for one in provider.list() if one.id == snapshot.id), None)
        if there is None or not there.complete:
            state = "gone" if there is None else "not complete"
            proof = Proof(passed=False, findings=(f"the snapshot {snapshot.id} is {state}",))
        else:
            proof = provider.inspect(snapshot, told)
        findings = (*_too_small(snapshot, kept.receipt.cluster), *proof.findings)
        return keep_result(
            kept, "verified", findings=findings, at=datetime.now(UTC),
            passed=proof.passed and findings == proof.findings, seconds=time.monotonic() - began,
        )

    def drill(self, kept: Kept, where: Path | None, told: Told) -> Kept:
        """Restore a snapshot below ``where``, compare, and put the result beside its receipt.

        Raises what ``drill.drill`` raises.
        """
        proof, seconds = drills.drill(
            kept.receipt, self.provider_of(kept.receipt),
            where=where, bindir=self.bindir, told=told,
        )
        return keep_result(kept, "drilled", passed=proof.passed, findings=proof.findings,
                           at=datetime.now(UTC), seconds=seconds)

    def remove(self, snapshot_id: str, name: str, *, to: str | None) -> Snapshot:
        """Remove a snapshot, whole or half-finished, and its receipt.

        Raises UnknownObject (no such snapshot), SnapshotRequired (it is the last good one of
        its cluster), ProviderFailed.
        """
        known = [one for one in shelf(self.receipts).kept if one.receipt.provider == name]
        kept = next((one for one in known if one.receipt.snapshot.id == snapshot_id), None)
        provider = self.provider_of(kept.receipt) if kept else self.provider(name, to=to)[1]
        found = next((one for one in provider.list() if one.id == snapshot_id), None)
        if found is None:
            raise UnknownObject(
                f"provider {name} has no snapshot {snapshot_id}",
                hint="See: pgmend guard status", kind="snapshot", name=snapshot_id,
            )
        if kept and kept.proved("verified"):
            identifier = kept.receipt.cluster.system_identifier
            if not any(one is not kept and one.proved("verified")
                       and one.receipt.cluster.system_identifier == identifier for one in known):
                raise SnapshotRequired(
                    f"snapshot {snapshot_id} is the last good one of its cluster",
                    hint="Take and verify another one first.", reasons=("it is the last one",),
                )
        provider.delete(found)
        if kept:
            forget(kept)
        return found

    def thin_out(self, kept: Kept, count: int) -> tuple[Receipt, ...]:
        """Remove what is older than the ``count`` newest good ones; return what was removed.

        Only snapshots of the same cluster by the same provider in the same place are
        counted and removed, and none unless ``kept`` itself is proved. Raises ProviderFailed.
        """
        if not kept.proved("verified"):
            return ()
        # The new one is first whatever a clock says.
        new, good, removed = kept.receipt, 1, []
        provider = self.provider_of(new)
        for one in reversed(shelf(self.receipts).kept):
            old = one.receipt
            if one.path == kept.path or _line(old) != _line(new):
                continue
            if good >= count:
                provider.delete(old.snapshot)
                forget(one)
                removed.append(old)
            good += one.proved("verified")
        return tuple(removed)


def _line(receipt: Receipt) -> tuple[object, ...]:
    """Return what snapshots that follow each other have in common."""
    return receipt.provider, receipt.kind, receipt.to, receipt.cluster.system_identifier


def _unfit(snapshot: Snapshot, cluster: Cluster) -> list[str]:
    """Say why what a provider took is not the snapshot that was asked for."""
    wrong = []
    if not snapshot.complete:
        wrong.append("it is not complete")
    if snapshot.system_identifier not in {None, cluster.system_identifier}:
        wrong.append(f"it is of the cluster {snapshot.system_identifier}, not"
                     f" {cluster.system_identifier}")
    if snapshot.timeline not in {None, cluster.timeline}:
        wrong.append(f"it is of timeline {snapshot.timeline}, not {cluster.timeline}")
    if snapshot.taken_at < cluster.now - CLOCKS:
        wrong.append(f"it is of {snapshot.taken_at:%Y-%m-%d %H:%M:%S}Z, before it was asked for:"
                     " an old one, or a clock is wrong")
    return wrong


def _too_small(snapshot: Snapshot, cluster: Cluster) -> tuple[str, ...]:
    """Compare the size with that of the databases in it."""
    if snapshot.size is None:
        return ("how large the snapshot is, is not known",)
    inside = [one for one in cluster.databases
              if snapshot.databases is None or one.name in snapshot.databases]
    data = sum(max(0, (one.size or 0) - _EMPTY_DATABASE) for one in inside)
    if snapshot.size < data * _LEAST_SHARE:
        return (f"{snapshot.size:,} bytes cannot hold databases of {data:,} bytes",)
    return ()
