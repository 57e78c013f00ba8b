"""The pages: every command as it stands there, but for the names of what is on this machine."""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from migrations_check import Kept, load
from migrations_check.snapshots.programs import bindir_of

from .clusters import USER, Cluster
from .conftest import Guarded
from .paging import Renamed, block, shell


@pytest.fixture
def machine(guard: Guarded, own: Cluster) -> Guarded:
    """Give a machine where `pgmend` is a program and the server is the one that libpq finds."""
    guard.cluster = own
    guard.install()
    guard.env |= {"PGHOST": str(own.root), "PGPORT": "5432", "PGUSER": USER}
    return guard


def service(own: Cluster) -> dict[str, str]:
    """Return what stops and starts this server, as the page's service does its own."""
    owner = pwd.getpwuid(own.account.uid).pw_name
    ctl = f"{own.bindir}/pg_ctl --wait --pgdata {own.data} --log {own.root}/log"
    if own.account.other:
        ctl = f"runuser -u {owner} -- {ctl}"
    return {f"systemctl {verb} postgresql@18-main": f"{ctl} {verb}" for verb in ("stop", "start")}


def names_of(kept: Kept, theirs: Mapping[str, str]) -> dict[str, object]:
    taken = kept.receipt.snapshot.taken_at
    return {theirs["snapshot"]: kept.receipt.snapshot.id,
            "2026-11-29 03:15:00Z": f"{taken:%Y-%m-%d %H:%M:%S}Z"}


#: how the server is named in the way back
TARGET = "user=postgres dbname=template1 host=/var/run/postgresql port=5432"
PAGES = {
    "pg_basebackup": {"to": "/var/backups/pgmend/snapshots",
                      "receipt": "20261129T031500Z-pg_basebackup-1dcf2a",
                      "snapshot": "basebackup-20261129T031500Z-79ee0d"},
    "pg_dump": {"to": "/var/backups/pgmend/dumps",
                "receipt": "20261129T031500Z-pg_dump-5a66a4",
                "snapshot": "dump-20261129T031500Z-18c919"},
}


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_from_set_up_to_the_way_back(machine: Guarded, own: Cluster, kind: str) -> None:
    """The settings are taken, and what is printed is the page's way back, line for line."""
    page, theirs = f"guards/{kind}.md", PAGES[kind]
    renamed = Renamed({theirs["to"]: machine.to, "mastodon": "shop",
                       "/var/backups/pgmend/receipts": machine.receipts})
    if kind == "pg_basebackup":
        renamed.add({**service(own), "/var/lib/postgresql/18/main": own.data})
    general = block("guards.md", "toml").partition("[guard.providers")[0]
    machine.settings(renamed(general + block(page, "toml")))
    ruin = machine.where / "ruin.sh"
    ruin.write_text(f"{own.bindir}/psql -Xq -d shop -c 'DELETE FROM customers'\nexit 1\n")
    failed = shell(machine, f"pgmend guard run --take -- sh {ruin}", machine.where)
    assert failed.returncode == 1, failed.stderr
    assert own.run("shop", "SELECT count(*) FROM customers") == [(0,)]
    (receipt,) = machine.receipts.glob("*.receipt.json")
    kept = load(receipt)
    renamed.add(names_of(kept, theirs))
    if kind == "pg_dump":
        bindir = bindir_of(kept.receipt.cluster.major, "pg_dump", named=None)
        target = make_conninfo(kept.receipt.cluster.conninfo, dbname="template1")
        renamed.add({"/usr/lib/postgresql/18/bin": bindir, TARGET: target})
    steps = failed.stderr.partition("The way back to ")[2].partition("\n")[2]
    assert steps == renamed(block(page, "text"))
    assert renamed.unmet() == set()
    back = shell(machine, steps, Path("/"))
    assert back.returncode == 0, back.stderr
    assert own.run("shop", "SELECT count(*) FROM customers") == [(5000,)]


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_without_a_settings_file(machine: Guarded, kind: str) -> None:
    """Take, verify and require, one after the other, as they stand in the page."""
    theirs = PAGES[kind]
    renamed = Renamed({"mastodon": "shop", "/mnt/backup": machine.where / "backup"})
    take, verify, require = block(f"guards/{kind}.md", "sh").splitlines()
    taken = shell(machine, renamed(take), machine.where)
    assert taken.returncode == 0, taken.stderr
    receipt = Path(taken.stdout.strip())
    assert receipt.parent == machine.where / "backup/receipts"
    renamed.add({theirs["receipt"]: receipt.name.removesuffix(".receipt.json")})
    for line in (verify, require):
        done = shell(machine, renamed(line), machine.where)
        assert done.returncode == 0, done.stdout + done.stderr
    assert renamed.unmet() == set()


def shape(text: str) -> str:
    """Leave out of an output what is of its machine and its moment."""
    for known, name in (
        (r"\d{8}T\d{6}Z", "MOMENT"), (r"-[0-9a-f]{6}\b", "-ID"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "MOMENT"), (r"\b[0-9A-F]+/[0-9A-F]+\b", "LSN"),
        (r"\d[\d,.]*", "N"), (r"N (s|min|h|d)\b", "AGE"), (r"N (kB|MB|GB)", "SIZE"),
        ("-{3,}", "---"), (" {2,}", "  "),
    ):
        text = re.sub(known, name, text)
    return text


def test_outputs_of_the_guide(machine: Guarded) -> None:
    """Drill, require and status print what the guide shows, but for numbers and ids."""
    renamed = Renamed({"/var/backups/pgmend/snapshots": machine.to, "mastodon": "shop",
                       "/var/backups/pgmend/receipts": machine.receipts})
    settings = renamed(block("guards.md", "toml"))
    machine.settings(settings)
    taken = shell(machine, "pgmend guard take --keep 7 -q", machine.where)
    assert taken.returncode == 0, taken.stderr
    machine.settings(settings + 'max_rate = "1M"\n')
    command = machine.start("take")
    limit = time.monotonic() + 60
    while not list(machine.to.glob("*.partial/data/base")) and time.monotonic() < limit:
        time.sleep(0.05)
    os.kill(command.pid, signal.SIGKILL)
    command.communicate()
    machine.settings(settings)
    name = Path(taken.stdout.strip()).name.removesuffix(".receipt.json")
    renamed.add({"20261129T031500Z-nightly-1dcf2a": name})
    for verb, code in (("status", 1), ("verify", 0), ("require", 0)):
        line, _, output = block("guards.md", "console", f"guard {verb}").partition("\n")
        done = shell(machine, renamed(line.removeprefix("$ ")), machine.where)
        assert done.returncode == code, done.stderr
        assert shape(done.stdout) == shape(renamed(output))
    assert renamed.unmet() == set()
