"""What can go wrong with a snapshot, its receipt or its provider: one clear answer each."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from migrations_check import load
from migrations_check.snapshots.receipts import keep, keep_result

from .clusters import DEBIAN_15, Cluster, cluster
from .conftest import Guarded

REAL = pytest.mark.parametrize("provider", ["pg_basebackup", "pg_dump"])


@contextmanager
def taking(guard: Guarded, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Begin to take a snapshot; give the command in the middle of that, where it stays."""
    with ExitStack() as stack:
        text, sign = 'max_rate = "1M"\n', "data/base"
        if kind == "pg_dump":
            # pg_dump waits for the lock in the second database, and no row of it is counted.
            text, sign = "", "dump/1"
            guard.cluster.run("shop", "CREATE TABLE parted (id int) PARTITION BY RANGE (id)")
            stack.callback(guard.cluster.run, "shop", "DROP TABLE parted")
            holder = stack.enter_context(psycopg.connect(guard.cluster.dsn("shop")))
            holder.execute("LOCK TABLE ONLY parted")
        guard.settings(f'[guard.providers.slow]\nkind = "{kind}"\nto = "{guard.to}"\n{text}')
        command = guard.start("take", *guard.db, "--provider", "slow")
        limit = time.monotonic() + 60
        while not list(guard.to.glob(f"*.partial/{sign}")) and time.monotonic() < limit:
            time.sleep(0.05)
        yield command


@REAL
def test_killed_in_the_middle_of_take(guard: Guarded, provider: str) -> None:
    """No receipt; what is left over is listed with the command that removes it."""
    with taking(guard, provider) as command:
        command.send_signal(signal.SIGKILL)
        command.communicate()
    assert command.returncode == -signal.SIGKILL
    assert list(guard.receipts.glob("*")) == []
    (left,) = guard.to.iterdir()
    assert left.name.endswith(".partial")
    guard.refused()
    place = ("--receipts", str(guard.receipts))
    told = guard("status", *place)
    assert told.returncode == 1
    assert f"snapshot {left.name} is half-finished; remove it with: " in told.stdout
    remedy = told.stdout.partition("remove it with: ")[2].splitlines()[0].split()
    assert remedy[:2] == ["pgmend", "guard"]
    assert guard(*remedy[2:]).returncode == 0
    assert list(guard.to.iterdir()) == []


@REAL
def test_a_snapshot_that_cannot_be_read_is_not_taken_for_half_finished(
    guard: Guarded, provider: str
) -> None:
    """Nobody is told to remove it, no failed proof is put on record, and it counts again later."""
    receipt = guard.taken(provider)
    (snapshot,) = guard.to.iterdir()
    description = snapshot / "pgmend-snapshot.json"
    aside = description.rename(guard.where / "aside")
    # Reading it fails for root, too.
    description.mkdir()
    results = sorted(guard.receipts.iterdir())
    told = guard("status", "--receipts", str(guard.receipts))
    assert told.returncode == 1
    assert "cannot read" in told.stdout
    assert "remove" not in told.stdout + told.stderr
    failed = guard("verify", str(receipt))
    assert (failed.returncode, "cannot read" in failed.stderr) == (5, True), failed.stderr
    assert "cannot read" in guard.refused()
    assert sorted(guard.receipts.iterdir()) == results
    description.rmdir()
    aside.rename(description)
    assert guard.required().returncode == 0
    description.unlink()
    told = guard("status", "--receipts", str(guard.receipts))
    assert "is not complete any more" in told.stdout
    assert "remove it with" not in told.stdout


@REAL
def test_what_can_be_known_is_said_before_a_table_is_read(guard: Guarded, provider: str) -> None:
    """A wrong directory of programs, and a place that cannot be written to."""
    nowhere = guard.where / "file"
    nowhere.touch()
    with psycopg.connect(guard.cluster.dsn("shop")) as holder:
        # Whoever reads it now fails at that.
        holder.execute("LOCK TABLE customers")
        for words, code, said in (
            (("--to", str(guard.to), "--bindir", "/nonexistent"), 2, "/nonexistent"),
            (("--to", str(nowhere)), 5, str(nowhere)),
            (
                ("--to", str(guard.to), "--receipts", str(nowhere)), 5,
                "Mend that path, or name another directory with --receipts.",
            ),
        ):
            done = guard("take", *guard.db, "--provider", provider, *words)
            assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@REAL
def test_tables_whose_names_are_no_utf8_are_saved_and_counted(
    guard: Guarded, own: Cluster, provider: str
) -> None:
    """A database without an encoding may hold such names; a drill finds their rows."""
    guard.cluster = own
    own.run("postgres", "CREATE DATABASE raw ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    script = own.root / "raw.sql"
    script.write_bytes(b'CREATE TABLE "t\xe9""" AS SELECT generate_series(1, 7) AS n')
    own.program("psql", "-Xq", "-d", own.dsn("raw"), "-f", str(script))
    receipt = guard.take(provider)
    told = guard("verify", str(receipt), "--drill")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "3 tables, 5,007 rows" in told.stdout
    (counted,) = (one for one in load(receipt).receipt.tables if one.database == "raw")
    assert (counted.table, counted.least) == ('t\\xe9"', 7)


@REAL
def test_a_stop_in_the_middle_of_take_leaves_nothing(guard: Guarded, provider: str) -> None:
    with taking(guard, provider) as command:
        command.send_signal(signal.SIGTERM)
        _, errors = command.communicate(timeout=60)
    assert command.returncode == 3, errors
    assert list(guard.to.iterdir()) == []
    assert list(guard.receipts.glob("*")) == []


@REAL
def test_a_full_disk_during_take(guard: Guarded, provider: str) -> None:
    """The tool's own words, no receipt, and the disk is as free as before."""
    guard.cluster.run("shop", "CREATE TABLE large AS SELECT md5(n::text) AS a, md5((-n)::text) AS b"
                      " FROM generate_series(1, 30000) n")
    guard.to.mkdir()
    size = "20m" if provider == "pg_basebackup" else "256k"
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(guard.to)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        done = guard("take", *guard.db, "--provider", provider, "--to", str(guard.to))
        assert list(guard.to.iterdir()) == []
    finally:
        subprocess.run(["umount", str(guard.to)], check=True)
        guard.cluster.run("shop", "DROP TABLE large")
    assert done.returncode == 5, done.stderr
    assert "No space left on device" in done.stderr
    assert "HINT: Make room" in done.stderr
    assert list(guard.receipts.glob("*")) == []


@REAL
def test_a_file_that_may_not_grow(guard: Guarded, provider: str) -> None:
    """A limit on the size of files ends the tool by a signal: no receipt, nothing left."""
    most = 4 << 20 if provider == "pg_basebackup" else 4 << 10
    done = guard("take", *guard.db, "--provider", provider, "--to", str(guard.to),
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
    assert done.returncode == 5, done.stderr
    assert f"pgmend: error: {provider} failed with" in done.stderr
    assert list(guard.to.iterdir()) == []
    assert list(guard.receipts.glob("*")) == []


def test_a_receipt_that_was_edited(guard: Guarded) -> None:
    receipt = guard.taken("pg_basebackup")
    whole = json.loads(receipt.read_text())
    whole["content"]["cluster"]["now"] = "2099-01-01T00:00:00Z"
    receipt.write_text(json.dumps(whole))
    done = guard("verify", str(receipt))
    assert done.returncode == 2
    assert "it is not as it was written" in done.stderr
    assert "it is not as it was written" in guard.refused()
    assert guard("status", "--receipts", str(guard.receipts)).returncode == 1


def test_a_result_that_was_edited(guard: Guarded) -> None:
    """A failure that was turned into a success counts as neither."""
    receipt = guard.taken("pg_basebackup")
    (result,) = (path for path in guard.receipts.iterdir() if ".verified." in path.name)
    result.write_text(result.read_text().replace('"passed": true', '"passed": false'))
    assert "it is not as it was written" in guard.refused()
    assert guard("verify", str(receipt)).returncode == 2


def test_a_result_of_another_receipt(guard: Guarded) -> None:
    """A good result is good for its own receipt only."""
    guard.taken("pg_basebackup")
    (result,) = (path for path in guard.receipts.iterdir() if ".verified." in path.name)
    second = guard.take("pg_basebackup")
    stem = second.name.removesuffix(".receipt.json")
    shutil.copy(result, second.with_name(f"{stem}.0001.verified.json"))
    done = guard("verify", str(second))
    assert done.returncode == 2
    assert "it is about another receipt" in done.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it is not JSON"),
        ("{}", "it has no format_version"),
        ('{"format_version": 99}', "its format_version is 99, known is 1"),
        (None, "there is no such file"),
    ],
)
def test_files_that_are_no_receipts(guard: Guarded, text: str | None, why: str) -> None:
    path = guard.where / "x.receipt.json"
    if text is not None:
        path.write_text(text)
    done = guard("verify", str(path))
    assert done.returncode == 2
    assert why in done.stderr


def test_a_receipt_of_another_cluster(guard: Guarded) -> None:
    guard.taken("pg_basebackup")
    with cluster() as other:
        other.run("postgres", "CREATE DATABASE shop")
        guard.cluster = other
        assert "it is of another cluster" in guard.refused()


def test_a_timeline_that_was_left(guard: Guarded, own: Cluster) -> None:
    guard.cluster = own
    guard.taken("pg_basebackup")
    own.promoted()
    assert "it is of timeline 1, which was left: the server is on 2" in guard.refused()


def test_a_server_that_was_set_back(guard: Guarded, own: Cluster) -> None:
    """A later snapshot of a history that is no more is none, though cluster and timeline fit."""
    guard.cluster = own
    early = load(guard.taken("pg_basebackup")).receipt
    own.run("shop", "INSERT INTO customers SELECT generate_series(6000, 90000)")
    guard.take("pg_basebackup", "--keep", "9")
    own.stop()
    shutil.rmtree(own.data)
    shutil.copytree(guard.to / early.snapshot.id / "data", own.data)
    for place, _, files in os.walk(own.data):
        for path in (place, *(f"{place}/{name}" for name in files)):
            os.chown(path, own.account.uid, own.account.gid)
    own.data.chmod(0o700)
    own.start()
    own.run("postgres", "CHECKPOINT")
    reasons = json.loads(guard.required("--json", "--max-age", "1s").stdout)["reasons"]
    assert "the server was set back since" in reasons[0]


def test_a_snapshot_of_the_future(guard: Guarded) -> None:
    """Taken while a clock was ahead: its age is not known, so it does not count."""
    kept = load(guard.take("pg_basebackup"))
    kept.path.unlink()
    ahead = replace(kept.receipt.cluster, now=kept.receipt.cluster.now + timedelta(hours=2))
    wrong = keep(guard.receipts, replace(kept.receipt, cluster=ahead))
    keep_result(wrong, "verified", passed=True, findings=(), at=ahead.now, seconds=1.0)
    assert "it is of the future" in guard.refused()


def test_a_snapshot_that_is_gone(guard: Guarded) -> None:
    receipt = guard.taken("pg_basebackup")
    (snapshot,) = guard.to.iterdir()
    shutil.rmtree(snapshot)
    assert f"its snapshot {snapshot.name} is gone" in guard.refused()
    assert guard("verify", str(receipt)).returncode == 1
    told = guard("status", "--receipts", str(guard.receipts))
    assert told.returncode == 1
    assert f"wrong: snapshot {snapshot.name} is gone" in told.stdout


def test_a_provider_that_is_gone(guard: Guarded) -> None:
    """A disk that is not mounted says nothing of its snapshots: unknown is bad."""
    receipt = guard.taken("pg_dump")
    guard.to.rename(guard.where / "elsewhere")
    assert "whether it is still there is not known" in guard.refused()
    done = guard("verify", str(receipt))
    assert done.returncode == 5
    assert "cannot read" in done.stderr
    told = guard("status", "--receipts", str(guard.receipts))
    assert told.returncode == 1
    assert "wrong: provider pg_dump: cannot read" in told.stdout


def test_a_drill_that_fails(guard: Guarded) -> None:
    """Whole as it is, the dump does not load where its databases' rules are not known."""
    guard.cluster.run("shop", "CREATE FUNCTION gone() RETURNS text LANGUAGE sql AS $$SELECT ''$$",
                      "CREATE TABLE odd (x text CHECK (x <> gone()))",
                      "INSERT INTO odd VALUES ('2')",
                      "CREATE OR REPLACE FUNCTION gone() RETURNS text LANGUAGE sql"
                      " AS $$SELECT '2'::text$$")
    try:
        receipt = guard.take("pg_dump")
    finally:
        guard.cluster.run("shop", "DROP TABLE odd", "DROP FUNCTION gone")
    scratch = guard.cluster.directory("scratch")
    done = guard("verify", str(receipt), "--drill", "--scratch", str(scratch))
    assert done.returncode == 1
    assert "verified in" in done.stdout
    assert "wrong: pg_restore failed" in done.stdout
    assert "violates check constraint" in done.stdout
    assert "it failed when it was drilled" in guard.refused()
    assert list(scratch.iterdir()) == []


def test_a_scratch_place_without_room(guard: Guarded) -> None:
    """It is not the snapshot that failed: nothing is put on record but what was verified."""
    receipt = guard.taken("pg_dump")
    for scratch in ("/dev/shm/none", "x" * 200):
        done = guard("verify", str(receipt), "--drill", "--scratch", scratch)
        assert done.returncode == 5, done.stdout
        assert "--scratch DIR" in done.stderr
    assert guard.required().returncode == 0


def test_a_server_that_is_down(guard: Guarded) -> None:
    """Whether there is a way back cannot be known then: the gate is closed."""
    mark = guard.where / "started"
    db = ["-d", f"host={guard.where} dbname=shop", "--receipts", str(guard.receipts)]
    for words in (("require", *db), ("run", *db, "--", "touch", str(mark))):
        done = guard(*words)
        assert done.returncode == 4
        assert "pgmend: refused: whether there is a snapshot that counts is not known" in (
            done.stderr
        )
    assert not mark.exists()
    assert guard("take", *db, "--provider", "pg_dump", "--to", str(guard.to)).returncode == 5


def test_a_copy_inside_of_what_it_copies(guard: Guarded) -> None:
    inside = guard.cluster.data / "backups"
    done = guard("take", *guard.db, "--provider", "pg_basebackup", "--to", str(inside))
    assert done.returncode == 4
    assert "lies inside the cluster" in done.stderr
    assert not inside.exists()


def test_a_role_that_may_not(guard: Guarded) -> None:
    db = ["-d", f"{guard.cluster.dsn('shop')} user=keeper", "--receipts", str(guard.receipts)]
    done = guard("take", *db, "--provider", "pg_dump", "--to", str(guard.to))
    assert done.returncode == 2
    assert "permission denied" in done.stderr
    guard.cluster.run("shop", "GRANT pg_read_all_data TO keeper")
    try:
        done = guard("take", *db, "--provider", "pg_basebackup", "--to", str(guard.to))
    finally:
        guard.cluster.run("shop", "REVOKE pg_read_all_data FROM keeper")
    assert done.returncode in {4, 5}
    assert "HINT: " in done.stderr
    assert list(guard.receipts.glob("*")) == []


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="needs the programs of another major")
def test_programs_of_another_major(guard: Guarded) -> None:
    """They are never taken, and what was found is named."""
    if guard.cluster.run("shop", "SELECT current_setting('server_version_num')::int / 10000") == [
        (15,)
    ]:
        pytest.skip("the server is of that major")
    done = guard("take", *guard.db, "--provider", "pg_basebackup", "--to", str(guard.to),
                 "--bindir", str(DEBIAN_15))
    assert done.returncode == 2
    assert f"{DEBIAN_15}: pg_basebackup is of PostgreSQL 15" in done.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[guard]\nmaxage = '1h'", "unknown key: guard.maxage"),
        ("[guard]\nreceipts = 5", "guard.receipts must be str"),
        ("[guard.providers]\nx = 5", "guard.providers.x must be a table"),
        ("[guard.providers.x]\nkind = 'zfs'", "its kind 'zfs' is not one of"),
        ("[guard.providers.x]\nto = '/x'", "its kind None is not one of"),
        ("[guard.providers.x]\nkind = 'pg_dump'", "missing required setting to"),
        ("[guard.providers.x]\nkind = 'pg_dump'\nto = '/x'\njob = 3",
         "contains unknown setting job"),
        ("[guard.providers.x]\nkind = 'pg_dump'\nto = '/x'\njobs = 'many'",
         "Expected `int`, got `str` - at `$.jobs`"),
    ],
)
def test_settings_that_are_none(guard: Guarded, text: str, why: str) -> None:
    guard.settings(text)
    done = guard("take", *guard.db, "--provider", "x")
    assert done.returncode == 2
    assert why in done.stderr


@pytest.mark.parametrize("age", ["", "24", "h", "0h", "-1h", "1w", "1.5h"])
def test_ages_that_are_none(guard: Guarded, age: str) -> None:
    done = guard.required("--max-age", age)
    assert done.returncode == 2
    assert "is no age" in done.stderr


def test_what_was_not_said(guard: Guarded) -> None:
    done = guard("require", "-d", guard.cluster.dsn("shop"))
    assert (done.returncode, "--receipts DIR" in done.stderr) == (2, True)
    done = guard("take", *guard.db)
    assert (done.returncode, "--provider NAME" in done.stderr) == (2, True)
    assert guard("run", *guard.db).returncode == 2
    mark = guard.where / "started"
    done = guard("run", *guard.db, "--to", str(guard.to), "--", "touch", str(mark))
    assert (done.returncode, "Add --take" in done.stderr) == (2, True)
    assert not mark.exists()


def test_a_place_for_receipts_that_is_none(guard: Guarded) -> None:
    """It is found out before anything is taken."""
    guard.receipts.write_text("in the way")
    done = guard("take", *guard.db, "--provider", "pg_dump", "--to", str(guard.to))
    assert done.returncode == 5
    assert f"cannot write to {guard.receipts}" in done.stderr
    assert not guard.to.exists()
