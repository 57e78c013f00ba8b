"""Commands of one's own: the JSON that goes in and comes out, and what they do wrong."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dedupe.connect import connect
from dedupe.errors import ProgramMissing, ProviderFailed, ProviderSettingsError, RestoreByHand
from dedupe.lab import Server
from migrations_check.snapshots.cluster import Cluster
from migrations_check.snapshots.provider import Provider, Snapshot
from migrations_check.snapshots.settings import open_provider

from .conftest import Guarded

SECRET = "hunter2-and-more"
SAVED = {
    "id": "2026-11-29", "taken_at": "2026-11-29T03:00:00+01:00", "complete": True,
    "size": 4096, "place": "the shelf", "system_identifier": "18446744073709551615",
}  # fmt: skip
SNAPSHOT = Snapshot(
    id="2026-11-29",
    taken_at=datetime(2026, 11, 29, 2, tzinfo=UTC),
    complete=True,
    size=4096,
    place="the shelf",
    system_identifier=18446744073709551615,
)


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


def answering(answer: Mapping[str, Any]) -> list[str]:
    return ["echo", json.dumps({"contract": 1, **answer})]


LISTING = answering({"snapshots": [SAVED]})


def vault(**commands: object) -> Provider:
    whole = {"take": ["false"], "list": LISTING, "verify": ["false"], **commands}
    return open_provider("vault", {"vault": {"kind": "command", **whole}})[1]


def take(provider: Provider, lab: Server) -> Snapshot:
    return provider.take(Cluster.of(connect(lab.dsn())), lambda _: None)


def test_the_command_gets_the_cluster_and_the_shell_gets_variables(
    lab: Server, tmp_path: Path
) -> None:
    """What is wanted is on stdin as JSON, and its plain values are in the environment."""
    asked = tmp_path / "asked"
    text = (
        f"cat >{shlex.quote(str(asked))}; printf '%s'"
        ' "{\\"contract\\": 1, \\"snapshot\\": {\\"id\\": \\"a$PGMEND_CLUSTER_TIMELINE\\",'
        ' \\"taken_at\\": $(date +%s), \\"complete\\": true, \\"size\\": 1,'
        ' \\"place\\": \\"shelf\\",'
        ' \\"system_identifier\\": \\"$PGMEND_CLUSTER_SYSTEM_IDENTIFIER\\"}}"'
    )
    cluster = Cluster.of(connect(lab.dsn()))
    taken = vault(take=shell(text)).take(cluster, lambda _: None)
    told = json.loads(asked.read_text())
    assert (told["contract"], told["action"]) == (1, "take")
    assert told["cluster"]["system_identifier"] == str(cluster.system_identifier)
    assert told["cluster"]["data_directory"] == str(cluster.data_directory)
    assert taken.id == "a1"
    assert taken.system_identifier == cluster.system_identifier
    assert abs((datetime.now(UTC) - taken.taken_at).total_seconds()) < 120


def test_a_number_of_64_bits_arrives_whole_and_oldest_come_first() -> None:
    newer = {**SAVED, "id": "b", "taken_at": "2026-11-30T03:00:00Z", "complete": False}
    listed = vault(list=answering({"snapshots": [newer, SAVED]})).list()
    assert [one.id for one in listed] == ["2026-11-29", "b"]
    assert listed[0] == SNAPSHOT
    assert not listed[1].complete


@pytest.mark.parametrize(("passed", "finding"), [(True, "sums agree"), (False, "a sum differs")])
def test_a_proof_is_what_the_command_says(passed: bool, finding: str) -> None:
    verify = answering({"passed": passed, "findings": [finding]})
    proof = vault(verify=verify).inspect(SNAPSHOT, lambda _: None)
    assert (proof.passed, proof.findings) == (passed, (finding,))


def test_what_is_gone_is_a_failed_proof_and_no_command_is_asked() -> None:
    proof = vault(list=answering({"snapshots": []})).inspect(SNAPSHOT, lambda _: None)
    assert not proof.passed
    assert proof.findings == ("the snapshot 2026-11-29 is gone",)


def test_a_check_that_lacks_something_says_so(lab: Server) -> None:
    cluster = Cluster.of(connect(lab.dsn()))
    assert vault().lacks(cluster) == ()
    check = answering({"lacks": ["the log lies on another volume"]})
    assert vault(check=check).lacks(cluster) == ("the log lies on another volume",)


def test_a_name_of_a_snapshot_is_never_shell_text(tmp_path: Path) -> None:
    """An id that would run a program if it were pasted into a shell's text."""
    trap = tmp_path / "trap"
    evil = Snapshot(
        id=f"$(touch${{IFS}}{trap});`touch${{IFS}}{trap}`", taken_at=SNAPSHOT.taken_at,
        complete=True, size=None, place="the shelf",
    )  # fmt: skip
    note = tmp_path / "note"
    commands = vault(
        delete=shell(f'printf %s "$PGMEND_SNAPSHOT_ID" >{note}'), steps_back=["tool restore {id}"]
    )
    commands.delete(evil)
    assert note.read_text() == evil.id
    (step,) = commands.steps_back(evil, None)
    subprocess.run(["sh", "-c", step.replace("tool restore", ":")], check=True)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (["echo", "no JSON"], "JSON"),
        (["true"], "not contract 1"),
        (["echo", '{"snapshots": []}'], "contract"),
        (["echo", '{"contract": 2, "snapshots": []}'], "contract"),
        (answering({"snapshots": [{**SAVED, "complete": "perhaps"}]}), "complete"),
        (answering({"snapshots": [{"id": "a"}]}), "taken_at"),
        (answering({"snapshots": [], "more": 1}), "more"),
        (answering({"snapshots": [{**SAVED, "taken_at": "2026-11-29T03:00:00"}]}), "zone"),
        (answering({"snapshots": [{**SAVED, "id": "--force"}]}), "begins with -"),
        (answering({"snapshots": [{**SAVED, "id": ""}]}), "empty"),
        (answering({"snapshots": [SAVED, SAVED]}), "twice"),
    ],
)
def test_an_answer_that_is_not_of_the_contract_is_one_error(answer: list[str], said: str) -> None:
    with pytest.raises(ProviderFailed) as error:
        vault(list=answer).list()
    assert said in error.value.message
    assert error.value.provider == "vault"
    assert "docs/guards/command.md" in str(error.value.hint)


def test_a_command_that_fails_is_quoted_with_its_exit_code() -> None:
    with pytest.raises(ProviderFailed, match="exit code 3: the disk is full"):
        vault(list=shell("echo the disk is full >&2; exit 3")).list()


@pytest.mark.parametrize("missing", [["no-such-tool"], ["sh", "-c", "no-such-tool list"]])
def test_a_missing_program_is_named(missing: list[str]) -> None:
    with pytest.raises(ProgramMissing, match="no-such-tool"):
        vault(list=missing).list()


def test_without_a_command_to_restore_the_steps_are_told() -> None:
    with pytest.raises(RestoreByHand) as error:
        vault(steps_back=["fetch {id}"]).restore(SNAPSHOT, None, lambda _: None)  # type: ignore[arg-type]
    assert error.value.steps == ("fetch 2026-11-29",)


def test_a_command_that_takes_too_long_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    """A shell that ignores the polite signal, and a child of it."""
    child = tmp_path / "child"
    text = f"sleep 300 & echo $! >{child}; wait"
    began = time.monotonic()
    with pytest.raises(ProviderFailed, match="had not ended after 1 seconds"):
        vault(list=shell(text), time_limit=1).list()
    assert time.monotonic() - began < 60
    pid = int(child.read_text())
    limit = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < limit, "the child lives"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_a_secret_reaches_the_command_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file that only its owner reads; also one of the environment that looks like one."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("VAULT_TOKEN", "t0ken-of-mine")
    text = 'echo "bad: $VAULT_KEY $VAULT_TOKEN https://me:pw0rd@host password=abc123" >&2; exit 1'
    with pytest.raises(ProviderFailed) as error:
        vault(list=shell(text), secrets={"VAULT_KEY": str(file)}).list()
    whole = f"{error.value.message} {error.value.hint} {error.value.facts} {error.value.__cause__}"
    for value in (SECRET, "t0ken-of-mine", "pw0rd", "abc123"):
        assert value not in whole
    assert "bad: *** ***" in error.value.message
    file.chmod(0o644)
    with pytest.raises(ProviderSettingsError, match="other users"):
        vault(secrets={"VAULT_KEY": str(file)})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "take, list and verify"),
        ({"take": ["a"], "list": ["a"]}, "take, list and verify"),
        ({"preset": "pgbackrest"}, "target"),
        ({"preset": "wal-g", "target": "main"}, "wal-g"),
        ({"preset": "barman", "target": "main", "take": ["a"]}, "no command"),
        ({"preset": "barman", "target": "--all"}, "target"),
        ({"take": "a", "list": ["a"], "verify": ["a"]}, "take"),
        ({"take": [], "list": ["a"], "verify": ["a"]}, "take"),
        ({"take": ["a"], "list": ["a"], "verify": ["a"], "verfy": ["a"]}, "verfy"),
        ({"take": ["a"], "list": ["a"], "verify": ["a"], "time_limit": 0}, "time_limit"),
        ({"take": ["a"], "list": ["a"], "verify": ["a"], "secrets": {"A": "/none"}}, "/none"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ProviderSettingsError) as error:
        open_provider("vault", {"vault": {"kind": "command", **settings}})
    assert said in error.value.message


def test_a_preset_speaks_the_contract_to_anybody() -> None:
    """It is a program like the user's own: what is no question is refused by one line."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "migrations_check.snapshots.presets.barman", "main", "barman"],
        input="{}", capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert "contract" in ended.stderr


def test_a_take_that_is_killed_leaves_no_receipt_and_what_can_be_removed(guard: Guarded) -> None:
    """The command dies with pgmend; what it left is listed as half-finished."""
    shelf = guard.where / "shelf"
    half = {**SAVED, "id": "half", "complete": False}

    def told(snapshots: list[dict[str, Any]]) -> str:
        return json.dumps({"contract": 1, "snapshots": snapshots})

    commands = {
        "take": shell(f"mkdir {shelf}; echo $$ >{shelf}/pid; exec sleep 300"),
        "list": shell(f"if [ -e {shelf} ]; then echo '{told([half])}';"
                      f" else echo '{told([])}'; fi"),
        "verify": ["false"],
        "delete": shell(f'[ "$PGMEND_SNAPSHOT_ID" = half ] && rm -r {shelf}'),
    }
    (guard.where / "pgmend.toml").write_text(
        "[guard.providers.vault]\nkind = 'command'\n"
        + "".join(f"{name} = {json.dumps(argv)}\n" for name, argv in commands.items())
    )
    process = guard.start("take", *guard.db, "--provider", "vault")
    limit = time.monotonic() + 60
    while not (shelf / "pid").exists() or not (shelf / "pid").read_text():
        assert time.monotonic() < limit, "nothing was begun"
        time.sleep(0.05)
    process.kill()
    process.communicate()
    pid = int((shelf / "pid").read_text())
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < limit, "the command lives"
        time.sleep(0.05)
    assert not [*guard.receipts.glob("*.receipt.json")]
    status = guard("status", "--receipts", str(guard.receipts))
    assert status.returncode == 1
    assert "pgmend guard remove half --provider vault" in status.stdout
    removed = guard("remove", "half", "--provider", "vault", "--receipts", str(guard.receipts))
    assert removed.returncode == 0, removed.stderr
    assert not shelf.exists()
    assert "half" not in guard("status", "--receipts", str(guard.receipts)).stdout


def test_a_failing_tool_ends_with_5_and_wrong_settings_with_2(guard: Guarded) -> None:
    """One error and one hint, no traceback, no receipt."""
    for line, code, said in (
        ("take = ['sh', '-c', 'echo no room >&2; exit 9']", 5, "exit code 9: no room"),
        ("take = ['no-such-tool']", 2, "no-such-tool"),
        ("take = 'no list'", 2, "take"),
    ):
        (guard.where / "pgmend.toml").write_text(
            f"[guard.providers.vault]\nkind = 'command'\n{line}\n"
            f"list = {json.dumps(LISTING)}\nverify = ['false']\n"
        )
        done = guard("take", *guard.db, "--provider", "vault", "-q")
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 2
        assert not [*guard.receipts.glob("*.receipt.json")]
