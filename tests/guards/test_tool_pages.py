"""The pages of pgBackRest and Barman, from setup to restore, as root follows them.

Settings and commands are the page's own; only what is named differently on this machine is
replaced. The tools find the rest of this machine in their environment.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from migrations_check import load

from .backing import needed
from .clusters import DEBIAN_15, USER, Cluster, cluster, with_shop
from .conftest import Guarded
from .paging import Renamed, block, blocks, shell


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Guarded]:
    """Give a machine with PostgreSQL 15, where `pgmend` is a program; the pages are for root."""
    needed("runuser", str(DEBIAN_15 / "postgres"))
    with cluster(DEBIAN_15) as made:
        if made.account.name != "postgres":
            pytest.skip("the pages are followed by root, on a machine with the account postgres")
        guarded = Guarded(tmp_path, made)
        guarded.install()
        guarded.env["PATH"] = f"{DEBIAN_15}:{guarded.env['PATH']}"
        guarded.env |= {"PGHOST": str(made.root), "PGPORT": "5432", "PGUSER": USER}
        yield guarded


def owned(made: Cluster, name: str, text: str) -> Path:
    """Write a file that the server's account may read."""
    path = made.root / name
    path.write_text(text)
    path.chmod(0o644)
    return path


def as_owner(machine: Guarded, text: str) -> subprocess.CompletedProcess[str]:
    """Run lines of a page under the server's account."""
    return subprocess.run(
        ["runuser", "-u", "postgres", "--", "sh", "-ec", text], cwd="/", env=machine.env,
        capture_output=True, text=True, timeout=120, check=False,
    )


def follow(machine: Guarded, renamed: Renamed, page: str, theirs: str) -> None:
    """Take, verify, require, fail behind the gate, and go back by what is printed.

    ``theirs``: the snapshot's id in the page.
    """
    machine.settings(renamed(block(page, "toml")))
    take, verify, require = block(page, "sh", "guard take").splitlines()
    taken = shell(machine, renamed(take), machine.where)
    assert taken.returncode == 0, taken.stderr
    receipt = Path(taken.stdout.strip())
    (example,) = {word for word in verify.split() if word.endswith(".receipt.json")}
    renamed.add({Path(example).name: receipt.name})
    for line in (verify, require):
        done = shell(machine, renamed(line), machine.where)
        assert done.returncode == 0, done.stdout + done.stderr

    machine.cluster.run("shop", "DELETE FROM customers")
    failed = shell(machine, "pgmend guard run -d shop --drilled -q -- false", machine.where)
    assert failed.returncode == 1, failed.stderr
    renamed.add({theirs: load(receipt).receipt.snapshot.id})
    steps = failed.stderr.partition("The way back to ")[2].partition("\n")[2]
    back = blocks(page, "text")[-1]
    assert steps == renamed(back)
    gone = shell(machine, steps, Path("/"))
    assert gone.returncode == 0, gone.stderr
    limit = time.monotonic() + 60
    while machine.cluster.run("postgres", "SELECT pg_is_in_recovery()") != [(False,)]:
        assert time.monotonic() < limit, "it stays a standby"
        time.sleep(0.1)
    assert machine.cluster.run("shop", "SELECT count(*) FROM customers") == [(5000,)]
    assert renamed.unmet() == set()


@pytest.mark.slow
def test_the_page_of_pgbackrest(machine: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    needed("pgbackrest")
    page, own = "guards/pgbackrest.md", machine.cluster
    renamed = Renamed({
        "/var/lib/pgbackrest": own.root / "repo", "/var/lib/postgresql/15/main": own.data,
        "mastodon": "shop", "/var/backups/pgmend/receipts": machine.receipts,
    })
    config = owned(own, "pgbackrest.conf", renamed(block(page, "ini", "[global]")))
    here = {
        "PGBACKREST_CONFIG": str(config), "PGBACKREST_LOCK_PATH": str(own.root / "lock"),
        "PGBACKREST_LOG_LEVEL_FILE": "off", "PGBACKREST_PG1_SOCKET_PATH": str(own.root),
        "PGBACKREST_PG1_USER": USER,
    }
    machine.env |= here
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    with (own.data / "postgresql.conf").open("a") as conf:
        conf.write(block(page, "ini", "archive_mode"))
    own.stop()
    own.start()
    with_shop(own)
    done = as_owner(machine, renamed(block(page, "sh", "stanza-create")))
    assert done.returncode == 0, done.stdout + done.stderr
    follow(machine, renamed, page, "20261129-031500F")


@pytest.mark.slow
def test_the_page_of_barman(machine: Guarded) -> None:
    needed("barman")
    page, own = "guards/barman.md", machine.cluster
    home = own.directory("barman")
    renamed = Renamed({
        "/etc/barman-postgres.conf": own.root / "barman.conf", "/var/backups/barman": home,
        "/var/run/postgresql": own.root, "user=postgres": f"user={USER}",
        "mastodon": "shop", "/var/backups/pgmend/receipts": machine.receipts,
        "/var/lib/postgresql/15/main": own.data,
    })
    owned(own, "barman.conf", renamed(block(page, "ini")))
    done = as_owner(machine, renamed(block(page, "sh", "create-slot")))
    assert done.returncode == 0, done.stdout + done.stderr
    line = renamed(blocks(page, "text")[0])
    with every_moment(machine, line.removeprefix("* * * * * postgres ")):
        streaming = home / "main" / "streaming"
        wait(lambda: list(streaming.glob("*1.partial")), "Barman receives nothing")
        own.run("postgres", "SELECT pg_switch_wal()")
        with_shop(own)
        wait(lambda: list((home / "main" / "wals").glob("*/*01")), "no segment is archived")
        follow(machine, renamed, page, "20261129T031500")
        # It goes on behind the new timeline until it is told to stop.
        as_owner(machine, renamed("barman -c /etc/barman-postgres.conf receive-wal --stop main"))


@contextmanager
def every_moment(machine: Guarded, command: str) -> Iterator[None]:
    """Run a cron line's command again and again, as cron does each minute."""
    ended = Event()

    def again() -> None:
        while not ended.is_set():
            as_owner(machine, command)
            ended.wait(2)

    cron = Thread(target=again)
    cron.start()
    try:
        yield
    finally:
        ended.set()
        cron.join()


def wait(holds: Callable[[], object], otherwise: str) -> None:
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit, otherwise
        time.sleep(0.1)
