"""``pgmend guard`` over a volume, as a process: its outputs, its codes, and no token anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dedupe.lab import Server

from .digitalocean_api import TOKEN, Account, serving
from .loopvolume import server_in, volume

NAME = f"pgmend-command-{os.getpid()}"
ROOT = Path(__file__).parents[2]


@dataclass
class Droplet:
    """Runs ``pgmend`` beside a server on a volume, with a settings file; keeps all it says."""

    where: Path
    account: Account
    dsn: str
    said: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "cli", "guard", *arguments],
            cwd=self.where, env={**os.environ, "PYTHONPATH": str(ROOT), **self.env},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        self.said += done.stdout + done.stderr
        return done

    def everything(self) -> str:
        """Return what was said, and what lies in files other than the token's own."""
        files = [f for f in self.where.rglob("*") if f.is_file() and f.name != "token"]
        return self.said + "".join(file.read_text(errors="replace") for file in files)


@pytest.fixture
def droplet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Droplet]:
    where, disk = tmp_path_factory.mktemp("droplet"), tmp_path_factory.mktemp("disk")
    with volume(NAME, disk) as at, server_in(at) as started, serving() as account:
        account.volume(NAME)
        yield made(where, account, started)


def made(where: Path, account: Account, started: Server) -> Droplet:
    token = where / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    (where / "pgmend.toml").write_text(
        f"""
[guard]
receipts = "receipts"
[guard.providers.nightly]
kind = "digitalocean"
volume = "{NAME}"
region = "fra1"
token_file = "{token}"
endpoint = "{account.url}"
patience = 2
"""
    )
    return Droplet(where, account, started.dsn())


def test_the_whole_way_by_commands(droplet: Droplet) -> None:
    """Taken, proved, listed, demanded; the child that fails is answered with the way back."""
    account = droplet.account
    settings = str(droplet.where / "pgmend.toml")
    taken = droplet("take", "-q", "--config", settings, "-d", droplet.dsn, "--provider", "nightly",
                    "--receipts", "receipts", "--keep", "7")  # fmt: skip
    assert (taken.returncode, taken.stderr) == (0, "")
    receipt = taken.stdout.strip()
    (snapshot,) = account.snapshots
    assert json.loads(Path(receipt).read_text())["content"]["snapshot"]["id"] == snapshot
    assert droplet("verify", receipt).returncode == 0
    assert droplet("verify", receipt, "--json").returncode == 0
    status = droplet("status")
    assert status.returncode == 0, status.stderr
    assert snapshot in status.stdout
    droplet("status", "--json")
    assert droplet("require", "-d", droplet.dsn, "--max-age", "24h").returncode == 0
    ran = droplet("run", "-d", droplet.dsn, "--", "sh", "-c", "exit 7")
    assert ran.returncode == 7
    assert f"--snapshot {snapshot} --size 1GiB" in ran.stderr
    assert 'doctl compute volume-action attach "$volume" 386734086 --wait' in ran.stderr
    drilled = droplet("verify", receipt, "--drill")
    assert drilled.returncode == 2
    assert "cannot be restored into a directory" in drilled.stderr
    assert f"--snapshot {snapshot}" in drilled.stdout + drilled.stderr

    account.snapshots.clear()
    gone = droplet("run", "-d", droplet.dsn, "--", "touch", "started")
    assert gone.returncode == 4
    assert "pgmend: refused:" in gone.stderr
    assert not (droplet.where / "started").exists()
    assert droplet("verify", receipt).returncode == 1
    assert account.authorized == {f"Bearer {TOKEN}"}
    assert TOKEN not in droplet.everything()


def test_failures_end_with_their_codes_and_without_the_token(droplet: Droplet) -> None:
    account = droplet.account
    account.sized_after = 10**9
    never = droplet("take", "-d", droplet.dsn)
    assert never.returncode == 5
    assert "it has no region or no size yet" in never.stderr
    (left,) = account.snapshots
    assert droplet("status").returncode == 1
    assert left in droplet.said
    assert droplet("remove", left, "--provider", "nightly").returncode == 0
    assert account.snapshots == {}

    token = droplet.where / "token"
    token.write_text(TOKEN[:-1] + "0")
    expired = droplet("take", "-d", droplet.dsn)
    assert expired.returncode == 5
    assert "(401): Unable to authenticate you" in expired.stderr
    assert droplet("require", "-d", droplet.dsn).returncode == 4
    token.write_text(f"{TOKEN}\n{TOKEN}")
    assert droplet("take", "-d", droplet.dsn).returncode == 2
    token.chmod(0o644)
    assert droplet("take", "-d", droplet.dsn).returncode == 2
    settings = droplet.where / "pgmend.toml"
    settings.write_text(settings.read_text().replace("token_file =", "token ="))
    settings.write_text(settings.read_text().replace(str(token), TOKEN))
    assert droplet("take", "-d", droplet.dsn).returncode == 2
    settings.unlink()
    assert "Traceback" not in droplet.said
    assert TOKEN[:-1] not in droplet.everything()
