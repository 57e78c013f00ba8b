"""The presets against the real pgBackRest and Barman, each with a server that it saves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dedupe.connect import connect
from dedupe.errors import ProgramMissing, ProviderFailed
from migrations_check.snapshots.cluster import Cluster
from migrations_check.snapshots.provider import Provider, Snapshot
from migrations_check.snapshots.settings import open_provider

from .backing import Backed, barman, flipped, pgbackrest
from .conftest import Guarded

#: what a snapshot consists of
KINDS = ("a table's file", "a segment of the log")


@pytest.fixture(scope="module", params=["pgbackrest", "barman"])
def backed(request: pytest.FixtureRequest) -> Iterator[Backed]:
    with {"pgbackrest": pgbackrest, "barman": barman}[request.param]() as ready:
        yield ready


@pytest.fixture
def guard(tmp_path: Path, backed: Backed) -> Guarded:
    """Give the command beside a settings file that names the tool."""
    (tmp_path / "pgmend.toml").write_text(backed.toml)
    return Guarded(tmp_path, backed.cluster)


def provider_of(backed: Backed, **other: object) -> Provider:
    return open_provider("vault", {"vault": {**backed.settings, **other}})[1]


@pytest.fixture(scope="module")
def taken(backed: Backed) -> Snapshot:
    return provider_of(backed).take(cluster_of(backed), lambda _: None)


def cluster_of(backed: Backed) -> Cluster:
    return Cluster.of(connect(backed.cluster.dsn()))


def test_what_was_taken_is_listed_with_all_that_a_receipt_needs(
    backed: Backed, taken: Snapshot
) -> None:
    """The tool's own list tells cluster, time, position and size."""
    cluster = cluster_of(backed)
    listed = provider_of(backed).list()
    assert [one.id for one in listed] == [taken.id]
    assert listed[0] == taken
    assert taken.system_identifier == cluster.system_identifier
    assert taken.timeline == 1
    assert taken.complete
    assert taken.lsn is not None
    assert taken.size is not None
    assert taken.size > 1_000_000
    assert abs(datetime.now(UTC) - taken.taken_at) < timedelta(minutes=5)


def test_nothing_is_lacking_where_the_tool_s_own_check_is_content(backed: Backed) -> None:
    assert provider_of(backed).lacks(cluster_of(backed)) == ()


def test_another_cluster_than_the_tool_s_is_named(backed: Backed) -> None:
    other = replace(cluster_of(backed), system_identifier=42)
    lacks = provider_of(backed).lacks(other)
    assert len(lacks) == 1
    assert "another cluster" in lacks[0]


def test_a_sound_snapshot_is_verified(backed: Backed, taken: Snapshot) -> None:
    proof = provider_of(backed).inspect(taken, lambda _: None)
    assert proof.passed, proof.findings
    assert len(proof.findings) >= 3


def repository_file(backed: Backed, taken: Snapshot, kind: str) -> tuple[Path, int]:
    """Return a file that the snapshot needs, and the number of a byte of it that matters."""
    if kind == "a table's file":
        table = {"pgbackrest": "backup/main/*F/pg_data/base/*/*",
                 "barman": f"main/base/{taken.id}/data/base/*/*"}[backed.preset]
        path = max(backed.repository.glob(table), key=lambda file: file.stat().st_size)
        return path, path.stat().st_size // 2
    position = int((taken.lsn or "").removeprefix("0/"), 16)
    segment = {"pgbackrest": "archive/main/*/*/", "barman": "main/wals/*/"}[backed.preset]
    found = backed.repository.glob(f"{segment}0000000100000000{position >> 24:08X}*")
    (path,) = (file for file in found if file.suffix != ".backup")
    # Much of a segment is never written; this is in the record where the backup begins.
    return path, position % (1 << 24) + 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_fails_the_proof(backed: Backed, taken: Snapshot, kind: str) -> None:
    path, at = repository_file(backed, taken, kind)
    with flipped(path, at):
        proof = provider_of(backed).inspect(taken, lambda _: None)
    assert not proof.passed, path
    assert provider_of(backed).inspect(taken, lambda _: None).passed


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file_fails_the_proof(backed: Backed, taken: Snapshot, kind: str) -> None:
    """Also the segment of the log in which the backup begins, which pgBackRest does not miss."""
    path, _ = repository_file(backed, taken, kind)
    away = path.rename(backed.repository / "away")
    try:
        proof = provider_of(backed).inspect(taken, lambda _: None)
    finally:
        away.rename(path)
    assert not proof.passed, path
    assert provider_of(backed).inspect(taken, lambda _: None).passed


def test_a_snapshot_that_is_gone_is_a_failed_proof(backed: Backed, taken: Snapshot) -> None:
    gone = replace(taken, id="20200101-000000F")
    proof = provider_of(backed).inspect(gone, lambda _: None)
    assert not proof.passed
    assert "20200101-000000F is gone" in proof.findings[0]
    provider_of(backed).delete(gone)


def test_an_unknown_target_is_an_error(backed: Backed) -> None:
    with pytest.raises(ProviderFailed, match="nowhere"):
        provider_of(backed, target="nowhere").list()


def test_a_tool_that_is_not_installed_is_named(backed: Backed) -> None:
    with pytest.raises(ProgramMissing, match="no-such-program"):
        provider_of(backed, tool=["no-such-program"]).list()


def test_a_failing_tool_is_quoted(backed: Backed, taken: Snapshot) -> None:
    """Its configuration is gone: the message of the tool is in ours."""
    tool = [*backed.tool[:-1], "/nonexistent" if backed.preset == "barman"
            else "--config=/nonexistent"]
    with pytest.raises(ProviderFailed, match="/nonexistent"):
        provider_of(backed, tool=tool).inspect(taken, lambda _: None)


def test_the_way_back_can_be_changed(backed: Backed, taken: Snapshot) -> None:
    own = provider_of(backed, steps_back=["ask Ada for {id}"])
    assert own.steps_back(taken, cluster_of(backed)) == (f"ask Ada for {taken.id}",)


def test_a_deleted_snapshot_is_gone(backed: Backed, taken: Snapshot) -> None:
    """The second one goes, the first one stays."""
    vault = provider_of(backed)
    second = vault.take(cluster_of(backed), lambda _: None)
    assert [one.id for one in vault.list()] == [taken.id, second.id]
    if backed.preset == "pgbackrest":
        # Incremental: what it is built on does not go.
        with pytest.raises(ProviderFailed, match=f"{second.id} is built on {taken.id}"):
            vault.delete(taken)
    vault.delete(second)
    vault.delete(second)
    assert [one.id for one in vault.list()] == [taken.id]


def test_what_the_tool_took_by_itself_counts_only_with_a_receipt(
    guard: Guarded, backed: Backed, taken: Snapshot
) -> None:
    """A backup by the tool's own cron line is seen, and opens nothing."""
    settings = guard.where / "pgmend.toml"
    settings.write_text(f'[guard]\nreceipts = "{guard.receipts}"\n{backed.toml}')
    told = guard("status", "--json")
    assert told.returncode == 1
    (one,) = json.loads(told.stdout)["snapshots"]
    assert (one["snapshot"]["id"], one["state"]) == (taken.id, "no receipt")
    guard.refused()


def test_from_the_snapshot_to_the_gate(guard: Guarded, backed: Backed) -> None:
    """Taken, verified, required, drilled; a flipped byte closes the gate."""
    done = guard("take", *guard.db, "--provider", "vault")
    assert done.returncode == 0, done.stderr
    receipt = done.stdout.strip()
    assert "it was never verified" in guard.refused()
    assert guard("verify", receipt).returncode == 0
    assert guard.required().returncode == 0
    assert "it was never drilled" in guard.refused("--drilled")
    drilled = guard("verify", receipt, "--drill")
    assert drilled.returncode == 0, drilled.stdout
    assert "2 tables, 5,000 rows" in drilled.stdout
    assert guard.required("--drilled").returncode == 0
    snapshot = provider_of(backed).list()[-1]
    with flipped(*repository_file(backed, snapshot, KINDS[0])):
        assert guard("verify", receipt).returncode == 1
        assert "it failed when it was verified" in guard.refused()
        assert guard("run", *guard.db, "--", "touch", "started").returncode == 4
    assert not (guard.where / "started").exists()
    assert guard("verify", receipt).returncode == 0
    assert guard.required().returncode == 0
    status = guard("status", "--receipts", str(guard.receipts))
    assert (status.returncode, snapshot.id in status.stdout) == (0, True), status.stdout


def test_a_failed_check_of_the_tool_is_said_before_anything_is_taken(backed: Backed) -> None:
    """The tool finds the server down. (The last one: nobody receives the log after it.)"""
    cluster = cluster_of(backed)
    backed.cluster.stop()
    lacks = provider_of(backed).lacks(cluster)
    assert any("check: " in one for one in lacks), lacks


def test_tests_are_not_left_out_where_tools_are_required() -> None:
    """What .ci/run exports is what the fixtures read."""
    text = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    assert "export PGMEND_REQUIRE_BACKUP_TOOLS=1" in text
    assert os.environ.get("PGMEND_REQUIRE_BACKUP_TOOLS") in {None, "1"}
