"""The guard over a volume: a real server on a real disk, receipts, and the gate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.errors import NotCovered, ProviderFailed, RestoreByHand, SnapshotRequired
from dedupe.lab import Server
from migrations_check.snapshots.gate import Demand, required
from migrations_check.snapshots.guard import Guard
from migrations_check.snapshots.provider import Step

from .digitalocean_api import TOKEN, Account, Fault, serving
from .loopvolume import server_in, volume

NAME = f"pgmend-guard-{os.getpid()}"


@dataclass(frozen=True)
class Droplet:
    """A server whose cluster lies on a volume, and the account of the volume."""

    server: Server
    account: Account
    guard: Guard


def silent(step: Step) -> None:
    """Take a step of the work and say nothing."""


@pytest.fixture(scope="module")
def on_volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with volume(NAME, tmp_path_factory.mktemp("volume")) as at, server_in(at) as started:
        yield started


@pytest.fixture
def droplet(
    on_volume: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Droplet]:
    monkeypatch.setenv("DO_TOKEN", TOKEN)
    with serving() as account:
        account.volume(NAME)
        nightly = {"kind": "digitalocean", "volume": NAME, "region": "fra1", "patience": 2,
                   "token_env": "DO_TOKEN", "endpoint": account.url}  # fmt: skip
        guard = Guard(receipts=tmp_path / "receipts", providers={"nightly": nightly})
        yield Droplet(on_volume, account, guard)


def test_taken_verified_and_required(droplet: Droplet) -> None:
    """The receipt opens the gate once it is verified, and until the snapshot is gone."""
    database, guard = connect(droplet.server.dsn()), droplet.guard
    kept = guard.take(database, "nightly", to=None, told=silent)
    with pytest.raises(SnapshotRequired, match="it was never verified"):
        required(guard, database, Demand())
    kept = guard.verify(kept, silent)
    assert kept.newest is not None
    assert kept.newest.findings[-1].endswith("the contents were not read")
    assert required(guard, database, Demand()).receipt == kept.receipt
    with pytest.raises(RestoreByHand) as caught:
        guard.drill(kept, None, silent)
    assert kept.receipt.snapshot.id in "\n".join(caught.value.steps)  # type: ignore[arg-type]
    with pytest.raises(SnapshotRequired, match="it was never drilled"):
        required(guard, database, Demand(level="drilled"))
    droplet.account.snapshots.clear()
    with pytest.raises(SnapshotRequired, match=r"its snapshot .* is gone from DigitalOcean, fra1"):
        required(guard, database, Demand())
    assert not guard.verify(kept, silent).proved("verified")
    written = "".join(path.read_text() for path in guard.receipts.iterdir())
    assert kept.receipt.snapshot.id in written
    assert TOKEN not in written


def test_a_provider_that_does_not_answer_closes_the_gate(droplet: Droplet) -> None:
    database, guard = connect(droplet.server.dsn()), droplet.guard
    guard.verify(guard.take(database, "nightly", to=None, told=silent), silent)
    droplet.account.faults = [Fault(method="GET", path="/v2", status=503, times=99)]
    with pytest.raises(SnapshotRequired, match=r"still there is not known: .*\(503\)") as caught:
        required(guard, database, Demand())
    assert TOKEN not in f"{caught.value} {caught.value.hint} {caught.value.facts}"


@pytest.mark.parametrize("never", ["finished", "of the volume"])
def test_no_receipt_is_written_of_what_is_no_snapshot(droplet: Droplet, never: str) -> None:
    if never == "finished":
        droplet.account.sized_after = 10**9
    else:
        droplet.account.strange = {"resource_id": "5f0b9c1a-0000-4000-8000-000000000000"}
    with pytest.raises(ProviderFailed, match="to rely on"):
        droplet.guard.take(connect(droplet.server.dsn()), "nightly", to=None, told=silent)
    assert list(droplet.guard.receipts.iterdir()) == []


def test_a_cluster_that_could_not_recover_is_refused(droplet: Droplet) -> None:
    """With full_page_writes off nothing is taken, so nothing is paid for."""
    with psycopg.connect(droplet.server.dsn(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("SELECT pg_reload_conf(), pg_sleep(0.2)")
        try:
            with pytest.raises(NotCovered, match="full_page_writes is off"):
                droplet.guard.take(connect(droplet.server.dsn()), "nightly", to=None, told=silent)
        finally:
            connection.execute("ALTER SYSTEM RESET full_page_writes")
            connection.execute("SELECT pg_reload_conf()")
    assert droplet.account.snapshots == {}
    assert {method for method, _, _ in droplet.account.asked} == {"GET"}


def test_a_cluster_elsewhere_is_refused(lab: Server, droplet: Droplet) -> None:
    """The volume is right, and another server is asked for: its cluster lies on the root disk."""
    with pytest.raises(NotCovered) as caught:
        droplet.guard.take(connect(lab.dsn()), "nightly", to=None, told=silent)
    assert any("does not lie on the volume" in reason for reason in caught.value.reasons)  # type: ignore[attr-defined]
    assert droplet.account.snapshots == {}


def test_older_snapshots_go_when_the_new_one_is_proved(droplet: Droplet) -> None:
    database, guard = connect(droplet.server.dsn()), droplet.guard
    account = droplet.account
    by_hand = account.snapshot(next(iter(account.volumes)), "by-hand")
    ids = []
    for minute in range(3):
        kept = guard.verify(guard.take(database, "nightly", to=None, told=silent), silent)
        ids.append(kept.receipt.snapshot.id)
        account.snapshots[ids[-1]]["name"] += str(minute)
    assert [gone.snapshot.id for gone in guard.thin_out(kept, 1)] == [ids[1], ids[0]]
    assert set(account.snapshots) == {by_hand, ids[2]}
