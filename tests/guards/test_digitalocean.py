"""Snapshots of a DigitalOcean volume, over HTTP, against a server that speaks its API."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dedupe.errors import (
    DedupeError,
    ProgramMissing,
    ProviderFailed,
    ProviderSettingsError,
    RestoreByHand,
)
from migrations_check.snapshots.cluster import Cluster, DatabaseSize
from migrations_check.snapshots.provider import Provider, Step
from migrations_check.snapshots.settings import open_provider

from .digitalocean_api import TOKEN, Account, Fault, serving

Opener = Callable[..., Provider]
CLUSTER = Cluster(
    conninfo="host=/run/postgresql dbname=mastodon",
    system_identifier=7301234567890123456,
    timeline=3,
    lsn="16/B374D848",
    version=180006,
    standby=False,
    now=datetime(2026, 11, 29, 3, 15, tzinfo=UTC),
    databases=(DatabaseSize(name="mastodon", size=300 * 1024**2),),
    data_directory=Path("/mnt/pg-data/18/main"),
    tablespaces=(),
    fsync=True,
    full_page_writes=True,
)


def silent(step: Step) -> None:
    """Take a step of the work and say nothing."""


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("DO_TOKEN", TOKEN)
    with serving() as served:
        yield served


@pytest.fixture
def opened(account: Account) -> Opener:
    def opener(**settings: Any) -> Provider:
        facts = {
            "kind": "digitalocean", "volume": "pg-data", "region": "fra1", "token_env": "DO_TOKEN",
            "endpoint": account.url, "patience": 20, **settings,
        }  # fmt: skip
        return open_provider("nightly", {"nightly": {k: v for k, v in facts.items() if v}})[1]

    return opener


def test_a_snapshot_is_taken_listed_proved_and_removed(account: Account, opened: Opener) -> None:
    """Taken of a cluster, it is found again with the cluster's identity in any other process."""
    volume, provider = account.volume("pg-data", size=100), opened()
    steps: list[Step] = []
    taken = provider.take(CLUSTER, steps.append)
    assert taken.complete
    assert (taken.system_identifier, taken.timeline, taken.lsn) == (
        7301234567890123456, 3, "16/B374D848",
    )  # fmt: skip
    assert taken.facts["volume_id"] == volume
    assert taken.facts["min_disk_size"] == "100"
    assert taken.size == int(0.31 * 1024**3)
    assert steps[0].doing == "asking for a snapshot of pg-data"
    (listed,) = opened().list()
    assert listed == taken
    assert opened().inspect(taken, silent).passed
    provider.delete(taken)
    provider.delete(taken)
    assert provider.list() == ()
    proof = provider.inspect(taken, silent)
    assert not proof.passed
    assert proof.findings == ("it is gone: DigitalOcean does not know it",)


def test_all_pages_are_read(account: Account, opened: Opener) -> None:
    """230 snapshots come in three pages; the oldest is first, whoever made them."""
    volume = account.volume("pg-data")
    for hours in range(230):
        account.snapshot(volume, f"by-hand-{hours}", age=timedelta(hours=hours))
    account.snapshot(account.volume("other"), "of-another-volume")
    found = opened().list()
    assert [s.facts["name"] for s in found] == [f"by-hand-{hours}" for hours in range(229, -1, -1)]
    assert found[0].system_identifier is None
    pages = [path for _, path, _ in account.asked if path.startswith(f"/v2/volumes/{volume}")]
    assert [path.partition("page=")[2][-6:] for path in pages] == ["page=1", "page=2", "page=3"]


def test_pages_without_end_are_left(account: Account, opened: Opener) -> None:
    account.volume("pg-data")
    again = b'{"snapshots": [], "links": {"pages": {"next": "http://192.0.2.1/v2/volumes"}}}'
    account.faults = [Fault(method="GET", path="/snapshots", status=200, times=1000, body=again)]
    with pytest.raises(ProviderFailed, match="page 50 was not the last one"):
        opened().list()
    assert len(account.asked) == 51


def test_a_slow_snapshot_is_waited_for(account: Account, opened: Opener) -> None:
    """Neither one that is not shown yet nor one without a size is taken for finished."""
    account.volume("pg-data")
    account.shown_after, account.sized_after = 1, 3
    steps: list[Step] = []
    taken = opened().take(CLUSTER, steps.append)
    assert taken.complete
    waits = [step.doing.partition(": ")[2] for step in steps[1:]]
    assert waits == ["it is not shown yet", *["it has no region or no size yet"] * 2]


def test_a_snapshot_that_is_never_finished_ends_the_wait(account: Account, opened: Opener) -> None:
    """It is left, told by its id, listed as not complete, and can be removed."""
    account.volume("pg-data")
    account.sized_after = 10**9
    provider = opened(patience=2)
    with pytest.raises(ProviderFailed, match="it has no region or no size yet") as caught:
        provider.take(CLUSTER, silent)
    (left,) = provider.list()
    assert caught.value.snapshot == left.id
    assert f"pgmend guard remove {left.id} --provider nightly" in str(caught.value.hint)
    assert not left.complete
    assert not provider.inspect(left, silent).passed
    provider.delete(left)
    assert provider.list() == ()


@pytest.mark.parametrize(
    ("strange", "told"),
    [
        ({"resource_id": "5f0b9c1a-0000-4000-8000-000000000000"}, "it is of the volume 5f0b9c1a"),
        ({"regions": ["nyc3"]}, "it is in nyc3, the volume in fra1"),
        ({"min_disk_size": 50}, "it is of 50 GiB, the volume has 100"),
        ({"regions": []}, "it has no region or no size yet"),
    ],
)
def test_a_snapshot_of_something_else_is_not_taken_for_ours(
    account: Account, opened: Opener, strange: dict[str, Any], told: str
) -> None:
    account.volume("pg-data", size=100)
    account.strange = strange
    with pytest.raises(ProviderFailed, match=told):
        opened(patience=1).take(CLUSTER, silent)


@pytest.mark.parametrize(
    ("volume", "region"), [("pg-data", "nyc3"), ("pg-date", "fra1")], ids=["region", "volume"]
)
def test_a_volume_that_is_not_there_is_named(
    account: Account, opened: Opener, volume: str, region: str
) -> None:
    account.volume("pg-data", region="fra1")
    provider = opened(volume=volume, region=region)
    for ask in (provider.list, lambda: provider.take(CLUSTER, silent),
                lambda: provider.lacks(CLUSTER)):  # fmt: skip
        with pytest.raises(ProviderSettingsError, match=f"no volume {volume} in {region}"):
            ask()
    assert not account.snapshots


def test_a_snapshot_counts_after_its_volume_has_grown(account: Account, opened: Opener) -> None:
    volume = account.volume("pg-data", size=100)
    taken = opened().take(CLUSTER, silent)
    account.volumes[volume]["size_gigabytes"] = 200
    assert opened().list() == (taken,)
    assert taken.complete
    assert opened().inspect(taken, silent).passed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"resource_id": "5f0b9c1a"}, "and is 5f0b9c1a"),
        ({"regions": ["nyc3"]}, "its region was fra1, and is nyc3"),
        ({"min_disk_size": 7}, "its GiB was 1, and is 7"),
        ({"name": "renamed"}, "and is renamed"),
        ({"created_at": "2020-01-01T00:00:00Z"}, "and is 2020-01-01"),
        ({"size_gigabytes": 0, "sized_after": 99}, "it has no region or no size yet"),
    ],
)
def test_a_snapshot_that_is_no_longer_what_it_was_is_no_proof(
    account: Account, opened: Opener, change: dict[str, Any], told: str
) -> None:
    account.volume("pg-data")
    taken = opened().take(CLUSTER, silent)
    account.snapshots[taken.id] |= change
    proof = opened().inspect(taken, silent)
    assert not proof.passed
    assert told in proof.findings[0]


def test_a_wait_that_the_service_asks_for_is_kept(account: Account, opened: Opener) -> None:
    """429 with Retry-After, for reading and for the snapshot itself; one snapshot is made."""
    account.volume("pg-data")
    for method, path in (("GET", r"/volumes\?"), ("POST", "/snapshots")):
        account.faults.append(
            Fault(method=method, path=path, status=429, times=1, headers={"Retry-After": "1"})
        )
    before = datetime.now(UTC)
    assert opened().take(CLUSTER, silent).complete
    assert datetime.now(UTC) - before > timedelta(seconds=2)
    assert [status for _, _, status in account.asked] == [429, 200, 429, 200, 201, 200]


@pytest.mark.parametrize("asked", ["3600", "1" * 400])
def test_a_wait_that_is_too_long_is_told_at_once(
    account: Account, opened: Opener, asked: str
) -> None:
    account.volume("pg-data")
    account.faults = [
        Fault(method="POST", path="/snapshots", status=429, times=99,
              headers={"Retry-After": asked})
    ]  # fmt: skip
    with pytest.raises(ProviderFailed, match=r"\(429\): API rate limit exceeded") as caught:
        opened().take(CLUSTER, silent)
    assert caught.value.status == 429
    assert "once in ten minutes" in str(caught.value.hint)
    assert [m for m, _, _ in account.asked].count("POST") == 1


def test_one_snapshot_in_ten_minutes_is_told_in_the_words_of_the_service(
    account: Account, opened: Opener
) -> None:
    """Without Retry-After, and with one that is no time, the tries are few and end."""
    account.volume("pg-data")
    words = b'{"id": "too_many_requests", "message": "one request per 10m0s"}'
    account.faults = [
        Fault(method="POST", path="/snapshots", status=429, times=99, body=words,
              headers={"Retry-After": "inf"})
    ]  # fmt: skip
    with pytest.raises(ProviderFailed, match="one request per 10m0s"):
        opened(patience=2).take(CLUSTER, silent)
    assert [m for m, _, _ in account.asked].count("POST") == 3
    assert not account.snapshots


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_service_that_stumbles_is_asked_again(
    account: Account, opened: Opener, status: int
) -> None:
    account.volume("pg-data")
    account.faults = [
        Fault(method="GET", path=r"/volumes\?", status=status, times=1),
        Fault(method="POST", path="/snapshots", status=status, times=1),
    ]
    assert opened().take(CLUSTER, silent).complete
    assert len(account.snapshots) == 1


def test_a_snapshot_that_was_made_behind_an_error_is_found(
    account: Account, opened: Opener
) -> None:
    """The answer to the request is lost; no second snapshot is asked for."""
    account.volume("pg-data")
    account.faults = [
        Fault(method="POST", path="/snapshots", status=502, times=1, carried_out=True)
    ]
    taken = opened().take(CLUSTER, silent)
    assert list(account.snapshots) == [taken.id]
    assert [m for m, _, _ in account.asked].count("POST") == 1


def test_a_snapshot_that_was_made_and_is_listed_late_is_found(
    account: Account, opened: Opener
) -> None:
    """The list does not show it yet, so it is asked for again, and its name is taken."""
    account.volume("pg-data")
    account.faults = [
        Fault(method="POST", path="/snapshots", status=502, times=1, carried_out=True),
        Fault(method="GET", path="/snapshots[?]", status=200, times=1, body=b'{"snapshots": []}'),
    ]
    taken = opened().take(CLUSTER, silent)
    assert list(account.snapshots) == [taken.id]
    assert [status for method, _, status in account.asked if method == "POST"] == [502, 409]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_service_that_stays_down_ends_honestly(
    account: Account, opened: Opener, method: str
) -> None:
    account.volume("pg-data")
    account.faults = [Fault(method=method, path="/v2/volumes", status=503, times=999)]
    with pytest.raises(ProviderFailed, match=r"\(503\): Service Unavailable") as caught:
        opened(patience=2).take(CLUSTER, silent)
    assert caught.value.status == 503
    assert [m for m, _, _ in account.asked].count(method) == 3


def test_no_service_at_all_is_told(opened: Opener) -> None:
    with pytest.raises(ProviderFailed, match=r"no answer: .*refused"):
        opened(endpoint="http://127.0.0.1:9", patience=0.4).list()


@pytest.mark.parametrize(
    "answer",
    [b"<html>maintenance</html>", b"[]", b"{}", b"", b'{"volumes": [{"id": 1}]}',
     b'{"volumes": null}'],
)  # fmt: skip
def test_an_answer_that_is_none_is_told(account: Account, opened: Opener, answer: bytes) -> None:
    account.faults = [Fault(method="GET", path="/v2/volumes", status=200, times=9, body=answer)]
    with pytest.raises(ProviderFailed, match="its answer is not as documented"):
        opened(patience=0.4).list()


def test_a_redirection_is_not_followed(account: Account, opened: Opener) -> None:
    """The token goes to the address in the settings, and nowhere else."""
    account.faults = [
        Fault(method="GET", path="/v2/volumes", status=302, times=1, body=b"{}",
              headers={"Location": f"{account.url}/elsewhere"})
    ]  # fmt: skip
    with pytest.raises(ProviderFailed, match="302"):
        opened().list()
    assert len(account.asked) == 1


def everything(error: DedupeError) -> str:
    """Return all that an error can show anyone."""
    seen = "".join(traceback.format_exception(error))
    return f"{seen} {error!r} {error.hint} {error.facts} {pickle.dumps(error)!r}"


@pytest.mark.parametrize(("status", "hint"), [(401, "has expired"), (403, "lacks a right")])
def test_a_token_that_is_refused_is_never_shown(
    account: Account, opened: Opener, status: int, hint: str
) -> None:
    """Not even where the service gives it back in its own words."""
    account.volume("pg-data")
    echo = b'{"id": "unauthorized", "message": "bad token ' + TOKEN.encode() + b'"}'
    account.faults = [Fault(method="GET", path="/v2", status=status, times=9, body=echo)]
    with pytest.raises(ProviderFailed, match="bad token \\*\\*\\*") as caught:
        opened().take(CLUSTER, silent)
    assert hint in str(caught.value.hint)
    assert len(account.asked) == 1
    assert TOKEN not in everything(caught.value)
    assert caught.value.__cause__ is None


def test_an_expired_token_is_refused(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_TOKEN", TOKEN[:-1] + "0")
    with pytest.raises(ProviderFailed, match=r"\(401\): Unable to authenticate you") as caught:
        opened().list()
    assert TOKEN[:-1] not in everything(caught.value)


def test_the_token_is_in_nothing_that_a_provider_gives(account: Account, opened: Opener) -> None:
    account.volume("pg-data")
    provider = opened()
    steps: list[Step] = []
    taken = provider.take(CLUSTER, steps.append)
    proof = provider.inspect(taken, steps.append)
    shown = f"{provider!r} {taken!r} {proof!r} {steps!r} {provider.steps_back(taken, CLUSTER)!r}"
    assert account.authorized == {f"Bearer {TOKEN}"}
    assert TOKEN not in shown


def test_no_log_shows_the_token(
    account: Account, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where whoever calls has turned on every message of every library."""
    account.volume("pg-data")
    with caplog.at_level(logging.DEBUG):
        opened().take(CLUSTER, silent)
    assert "/v2/volumes" in caplog.text
    assert TOKEN not in caplog.text


def test_killed_in_the_middle_leaves_what_is_listed_and_can_be_removed(
    account: Account, opened: Opener
) -> None:
    account.volume("pg-data")
    account.sized_after = 10**9
    script = f"""
import datetime, pathlib
from migrations_check.snapshots.cluster import Cluster, DatabaseSize
from migrations_check.snapshots.settings import open_provider
provider = open_provider("nightly", {{"nightly": {{"kind": "digitalocean", "volume": "pg-data",
    "region": "fra1", "token_env": "DO_TOKEN", "endpoint": "{account.url}"}}}})[1]
PosixPath = pathlib.PosixPath
provider.take({CLUSTER!r}, lambda step: print(step.doing, flush=True))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("waiting for the snapshot"):
                break
        child.kill()
    (left,) = opened().list()
    assert not left.complete
    assert left.system_identifier == CLUSTER.system_identifier
    opened().delete(left)
    assert opened().list() == ()


def test_a_token_comes_from_a_file(account: Account, opened: Opener, tmp_path: Path) -> None:
    account.volume("pg-data")
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    assert opened(token_env=None, token_file=str(token)).list() == ()
    token.write_text(f"{TOKEN}\nand more\n")
    with pytest.raises(ProviderSettingsError, match="is no token") as caught:
        opened(token_env=None, token_file=str(token)).list()
    assert TOKEN not in everything(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_env": TOKEN},
        {"token_env": None, "token_file": TOKEN},
        {"token_env": None},
        {"token_file": "/run/secrets/token"},
        {"token_env": "NOT_SET_ANYWHERE"},
        {"endpoint": "http://api.digitalocean.com"},
        {"endpoint": "https://user:secret@api.digitalocean.com"},
        {"endpoint": "http://127.0.0.1.example.com"},
        {"volume": "PG Data"},
        {"region": "fra1; rm -rf"},
        {"patience": -1},
        {"data_directory": "relative"},
        {"token": TOKEN},
    ],
)
def test_settings_that_cannot_work_are_told_without_secrets(
    opened: Opener, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ProviderSettingsError) as caught:
        opened(**wrong)
    assert TOKEN not in everything(caught.value)
    assert "secret@" not in everything(caught.value)


def test_without_its_client_it_says_what_to_install(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client comes with an extra; without it every other provider works as before."""
    monkeypatch.setitem(sys.modules, "pydo", None)
    monkeypatch.delitem(sys.modules, "migrations_check.snapshots.volumes", raising=False)
    with pytest.raises(ProgramMissing, match="the Python package pydo") as caught:
        opened()
    assert caught.value.hint == "pip install 'pgmend[digitalocean]'"


def test_restoring_is_for_a_person(account: Account, opened: Opener) -> None:
    """The steps hold every id, so that nothing is left to look up at three in the morning."""
    volume = account.volume("pg-data", size=100)
    provider = opened()
    taken = provider.take(CLUSTER, silent)
    with pytest.raises(RestoreByHand) as caught:
        provider.restore(taken, None, silent)  # type: ignore[arg-type]
    steps = provider.steps_back(taken, None)
    assert caught.value.steps == steps
    new = f"pg-data-{taken.taken_at:%Y%m%d%H%M%S}"
    assert (
        f"volume=$(doctl compute volume create {new} --snapshot {taken.id} --size 100GiB"
        " --format ID --no-header)"
    ) in steps
    assert 'doctl compute volume-action attach "$volume" 386734086 --wait' in steps
    assert any(f"volume-action detach {volume} 386734086 --wait" in step for step in steps)
    assert any(f"/dev/disk/by-id/scsi-0DO_Volume_{new}" in step for step in steps)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fsync": False}, "fsync is off"),
        ({"full_page_writes": False}, "full_page_writes is off"),
        ({"data_directory": None}, "the role may not see where the data directory is"),
        ({}, "nobody knows on which volume /mnt/pg-data/18/main/global/pg_control lies"),
    ],
)
def test_what_makes_a_snapshot_useless_is_said_before(
    account: Account, opened: Opener, change: dict[str, Any], told: str
) -> None:
    """A server on another machine is one whose directory is not here."""
    account.volume("pg-data")
    lacking = opened().lacks(replace(CLUSTER, **change))
    assert any(sentence.startswith(told) for sentence in lacking)
    assert not account.snapshots


def test_a_volume_that_is_attached_nowhere_holds_no_running_cluster(
    account: Account, opened: Opener
) -> None:
    account.volumes[account.volume("pg-data")]["droplet_ids"] = []
    assert opened().lacks(CLUSTER)[0] == (
        "the volume pg-data is attached to no droplet: none runs on it"
    )
