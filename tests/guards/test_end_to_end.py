"""From the snapshot to the gate, on real servers, with each byte minded."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

import psycopg
import pytest

from dedupe.errors import SnapshotRequired
from migrations_check import load, require_snapshot

from .clusters import DEBIAN_15, Cluster, cluster, with_shop
from .conftest import Guarded

REAL = pytest.mark.parametrize("provider", ["pg_basebackup", "pg_dump"])


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def files_of(snapshots: Path) -> list[Path]:
    """Return the files of the only snapshot, the largest first."""
    found = [path for path in snapshots.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: -path.stat().st_size)


@REAL
def test_from_the_snapshot_to_the_gate(guard: Guarded, provider: str) -> None:
    """Taken, verified, drilled, required, run behind: each step opens what it should."""
    receipt = guard.take(provider)
    assert receipt.parent == guard.receipts
    assert "it was never verified" in guard.refused()
    verified = guard("verify", str(receipt))
    assert verified.returncode == 0, verified.stdout
    assert guard.required().returncode == 0
    assert "it was never drilled" in guard.refused("--drilled")
    drilled = guard("verify", str(receipt), "--drill", "--json")
    assert drilled.returncode == 0, drilled.stdout
    facts = json.loads(drilled.stdout)
    assert [result["kind"] for result in facts["results"]] == ["verified", "verified", "drilled"]
    assert facts["results"][-1]["seconds"] > 0
    assert any("2 tables, 5,000 rows" in text for text in facts["results"][-1]["findings"])
    assert guard.required("--drilled").returncode == 0
    done = guard("run", *guard.db, "--drilled", "-q", "--", "sh", "-c", "echo done; exit 0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@REAL
@pytest.mark.skipif(not DEBIAN_15.exists(), reason="needs the server of another major")
def test_each_major_has_its_own_programs(guard: Guarded, provider: str) -> None:
    """An older server, whose programs do not know all that the driver's library knows."""
    with cluster(DEBIAN_15) as old:
        guard.cluster = with_shop(old)
        receipt = guard.take(provider)
        drilled = guard("verify", str(receipt), "--drill")
        assert drilled.returncode == 0, drilled.stdout
        assert load(receipt).receipt.cluster.major == 15
        assert guard.required("--drilled").returncode == 0


@REAL
def test_any_flipped_byte_closes_the_gate(guard: Guarded, provider: str) -> None:
    receipt = guard.taken(provider)
    # The largest files are the log and catalogs, the smallest are descriptions.
    found = [path for path in files_of(guard.to) if path.stat().st_size]
    for path in (found[0], found[len(found) // 2], found[-1]):
        assert guard.required().returncode == 0
        flip(path)
        assert guard("verify", str(receipt)).returncode == 1, path
        assert "it failed when it was verified" in guard.refused(), path
        flip(path)
        assert guard("verify", str(receipt)).returncode == 0, path


@REAL
def test_a_truncated_file_closes_the_gate(guard: Guarded, provider: str) -> None:
    receipt = guard.taken(provider)
    target = next(p for p in files_of(guard.to) if p.suffix in {"", ".gz", ".dat"})
    os.truncate(target, target.stat().st_size // 2)
    assert guard("verify", str(receipt)).returncode == 1
    guard.refused()


def test_rows_that_are_lost_fail_the_drill(guard: Guarded) -> None:
    """A copy whose every file is whole may still lack rows: the drill counts them."""
    receipt = guard.taken("pg_basebackup")
    ((heap,),) = guard.cluster.run("shop", "SELECT pg_relation_filepath('customers')")
    ((pages,),) = guard.cluster.run("shop", "SELECT pg_relation_size('customers') / 8192")
    assert pages > 2
    (copied,) = guard.to.glob(f"*/data/{heap}")
    whole = copied.read_bytes()
    copied.write_bytes(whole[: len(whole) - 8192])
    from migrations_check import Guard

    # The command would not drill what it cannot verify.
    failed = Guard(receipts=guard.receipts).drill(load(receipt), None, lambda _: None)
    assert failed.newest is not None
    assert not failed.newest.passed
    assert "public.customers" in failed.newest.findings[0]
    assert "rows instead of 5,000" in failed.newest.findings[0]
    copied.write_bytes(whole)
    assert "it failed when it was drilled" in guard.refused()
    # Only another drill makes that good.
    assert guard("verify", str(receipt)).returncode == 0
    assert "it failed when it was drilled" in guard.refused()
    told = guard("status", "--receipts", str(guard.receipts))
    assert (told.returncode, "failed (drilled)" in told.stdout) == (1, True)
    assert guard("verify", str(receipt), "--drill").returncode == 0


def test_writers_do_not_make_a_drill_fail(guard: Guarded, own: Cluster) -> None:
    """What is written while the snapshot is taken is told from what is lost."""
    guard.cluster = own
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(own.dsn("shop"), autocommit=True) as connection:
            number = 10_000
            while not stop.wait(0.01):
                number += 1
                connection.execute("INSERT INTO customers VALUES (%s, 'new')", [number])
                connection.execute("DELETE FROM customers WHERE id = %s", [number - 9_000])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.3)
        receipt = guard.take("pg_basebackup")
    finally:
        stop.set()
        writer.join()
    bounds = {table.table: (table.least, table.most) for table in load(receipt).receipt.tables}
    assert bounds["nothing"] == (0, 0)
    least, most = bounds["customers"]
    assert most is not None
    assert least < most
    drilled = guard("verify", str(receipt), "--drill")
    assert drilled.returncode == 0, drilled.stdout
    assert "1 tables were written to while the snapshot was taken" in drilled.stdout


def test_tablespaces_are_copied_and_come_back(guard: Guarded, own: Cluster) -> None:
    guard.cluster = own
    place = own.directory("fast disk")
    own.run("shop", f"CREATE TABLESPACE fast LOCATION '{place}'",
            "CREATE TABLE orders TABLESPACE fast AS SELECT generate_series(1, 700) AS id")
    receipt = guard.take("pg_basebackup")
    drilled = guard("verify", str(receipt), "--drill")
    assert drilled.returncode == 0, drilled.stdout
    own.run("shop", "DROP TABLE orders")
    failed = guard("run", *guard.db, "-q", "--", "false")
    assert failed.returncode == 1
    # An upgrade may leave the server down.
    own.stop()
    subprocess.run(["sh", "-e"], input=steps(failed.stderr), text=True, check=True, timeout=120)
    assert own.run("shop", "SELECT count(*) FROM orders") == [(700,)]
    link = next((own.data / "pg_tblspc").iterdir())
    assert link.resolve() == place


@REAL
def test_a_drill_tells_of_unlogged_tables(guard: Guarded, own: Cluster, provider: str) -> None:
    """Recovery empties them, which is no fault of a copy but has to be known; a dump has them."""
    guard.cluster = own
    own.run("shop", "CREATE UNLOGGED TABLE cache AS SELECT generate_series(1, 30) AS id",
            'CREATE UNLOGGED TABLE "no cache" (id int)')
    drilled = guard("verify", str(guard.take(provider)), "--drill")
    assert drilled.returncode == 0, drilled.stdout
    emptied = ["shop: public.cache"] * (provider == "pg_basebackup") + ["shop: public.no cache"]
    assert f"checked: unlogged tables come back empty: {', '.join(emptied)}\n" in drilled.stdout
    rows = 5000 if provider == "pg_basebackup" else 5030
    assert f"4 tables, {rows:,} rows, each read; every other table has" in drilled.stdout


def test_a_standby_has_no_rows_of_unlogged_tables(guard: Guarded, own: Cluster) -> None:
    """It cannot even read them; a snapshot can be taken of it nevertheless."""
    guard.cluster = own
    own.run("shop", "CREATE UNLOGGED TABLE cache AS SELECT generate_series(1, 30) AS id")
    own.stop()
    (own.data / "standby.signal").touch()
    own.start()
    drilled = guard("verify", str(guard.take("pg_dump")), "--drill")
    assert drilled.returncode == 0, drilled.stdout
    assert "checked: unlogged tables come back empty: shop: public.cache\n" in drilled.stdout


def steps(stderr: str) -> str:
    """Return the way back as it was printed."""
    return stderr.partition("The way back to")[2].partition("\n")[2]


@REAL
def test_the_way_back_is_printed_and_works(guard: Guarded, own: Cluster, provider: str) -> None:
    """`guard run -- sh -c 'exit 7'` ends with 7; the printed lines alone bring the rows back."""
    guard.cluster = own
    # No file holds this, but what the server was last started with.
    own.stop()
    own.program("pg_ctl", "--pgdata", str(own.data), "--log", str(own.root / "log"), "--wait",
                "--options", "-c 'work_mem=5555kB'", "start")
    guard.taken(provider)
    ruin = f"psql -Xq -d {shlex.quote(own.dsn('shop'))} -c 'DELETE FROM customers'; exit 7"
    env = guard.env | {"PATH": f"{own.bindir}:{guard.env['PATH']}"}
    failed = guard("run", *guard.db, "-q", "--", "sh", "-c", ruin, env=env)
    assert failed.returncode == 7
    assert own.run("shop", "SELECT count(*) FROM customers") == [(0,)]
    subprocess.run(["sh", "-e"], input=steps(failed.stderr), text=True, check=True, timeout=120)
    assert own.run("shop", "SELECT count(*), min(name) FROM customers") == [(5000, "customer 1")]
    assert own.run("shop", "SHOW work_mem") == [("5555kB",)]


@REAL
def test_scripts_can_require_it(guard: Guarded, provider: str) -> None:
    dsn = guard.cluster.dsn("shop")
    with pytest.raises(SnapshotRequired) as none:
        require_snapshot(dsn, receipts=guard.receipts)
    assert none.value.reasons == ()
    receipt = guard.take(provider)
    with pytest.raises(SnapshotRequired) as unproved:
        require_snapshot(dsn, receipts=guard.receipts)
    assert "never verified" in unproved.value.reasons[0]
    assert guard("verify", str(receipt)).returncode == 0
    assert require_snapshot(dsn, receipts=str(guard.receipts), max_age="1h").path == receipt
    time.sleep(1.1)
    with pytest.raises(SnapshotRequired) as old:
        require_snapshot(dsn, receipts=guard.receipts, max_age="1s")
    assert re.search(r"it is \d+ s old, and at most 1 s is asked for", old.value.reasons[0])


def test_keep_removes_older_ones_once_the_new_one_is_good(guard: Guarded) -> None:
    first = guard.taken("pg_basebackup")
    second = guard.take("pg_basebackup", "--keep", "2")
    assert first.exists()
    third = guard.take("pg_basebackup", "--keep", "1")
    assert [path for path in guard.receipts.iterdir() if ".receipt." in path.name] == [third]
    assert not first.exists()
    assert not second.exists()
    assert len(list(guard.to.iterdir())) == 1
    assert guard.required().returncode == 0


def test_the_last_good_one_is_never_removed(guard: Guarded) -> None:
    receipt = guard.taken("pg_basebackup")
    (snapshot,) = guard.to.iterdir()
    remove = ("remove", snapshot.name, "--provider", "pg_basebackup", "--to", str(guard.to),
              "--receipts", str(guard.receipts))
    refused = guard(*remove)
    assert refused.returncode == 4
    assert "it is the last good one" in refused.stderr or "last good one" in refused.stderr
    assert snapshot.exists()
    guard.taken("pg_basebackup")
    assert guard(*remove).returncode == 0
    assert not snapshot.exists()
    assert not receipt.exists()


@REAL
def test_no_secret_is_printed_or_kept(guard: Guarded, provider: str) -> None:
    """A password of the connection gets to the tools, and nowhere else."""
    secret = "correct-horse-battery"
    db = ["-d", guard.cluster.dsn("shop", password=secret), "--receipts", str(guard.receipts)]
    said = []
    receipt = ""
    seen: list[str] = []
    taking = guard.start("take", *db, "--provider", provider, "--to", str(guard.to))
    while taking.poll() is None:
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = line.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if Path(words[0]).name == provider:
                seen.append(" ".join(words))
        time.sleep(0.01)
    receipt, errors = (text.strip() for text in taking.communicate())
    assert taking.returncode == 0, errors
    said += [receipt, errors]
    for words in (("verify", receipt), ("verify", receipt, "--json"), ("require", *db),
                  ("run", *db, "--", "false"), ("status", *db[2:]), ("status", *db[2:], "--json")):
        done = guard(*words)
        said += [done.stdout, done.stderr]
    assert seen
    assert secret not in "".join([*said, *seen])
    kept = [path for place in (guard.receipts, guard.to) for path in place.rglob("*")
            if path.is_file()]
    assert [path for path in kept if secret.encode() in path.read_bytes()] == []


def test_sigint_reaches_the_child(guard: Guarded) -> None:
    """Sent to the command alone, it is passed on once; the code is the child's own."""
    guard.taken("pg_basebackup")
    trap = "trap 'echo got; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    running = guard.start("run", *guard.db, "-q", "--", "sh", "-c", trap)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=30)
    assert (out, running.returncode) == ("got\n", 9)
    assert "The way back to" in errors


def test_the_child_has_the_terminal(guard: Guarded) -> None:
    """Ctrl-C reaches it from the terminal, and not once more from the command."""
    guard.taken("pg_basebackup")
    script = ("n=0; trap 'n=$((n+1))' INT; test -t 0 && echo ready; i=0;"
              " while [ $i -lt 30 ]; do sleep 0.05; i=$((i+1)); done; echo interrupts $n; exit 5")
    ours, theirs = pty.openpty()

    def take_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    running = subprocess.Popen(
        guard.argv("run", *guard.db, "-q", "--", "sh", "-c", script), cwd=guard.where,
        env=guard.env, stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=take_the_terminal,  # noqa: PLW1509 -- no thread is running here
    )
    os.close(theirs)
    seen = b""
    try:
        while some := os.read(ours, 4096):
            if b"ready" not in seen and b"ready" in seen + some:
                os.write(ours, b"\x03")
            seen += some
    except OSError:
        # How Linux tells that the other side is closed.
        pass
    os.close(ours)
    assert running.wait(30) == 5
    assert b"interrupts 1\r\n" in seen


def test_a_signal_that_kills_the_child_is_its_code(guard: Guarded) -> None:
    guard.taken("pg_basebackup")
    done = guard("run", *guard.db, "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == 128 + signal.SIGTERM
    missing = guard("run", *guard.db, "--", "no-such-program")
    assert missing.returncode == 127
    assert "was not started" in missing.stderr
    assert "The way back" not in missing.stderr
    plain = guard.where / "plain"
    plain.write_text("no program")
    assert guard("run", *guard.db, "--", str(plain)).returncode == 126


def test_without_a_snapshot_the_child_never_starts(guard: Guarded) -> None:
    mark = guard.where / "started"
    done = guard("run", *guard.db, "--", "touch", str(mark))
    assert done.returncode == 4
    assert any(line.startswith("pgmend: refused: ") for line in done.stderr.splitlines())
    assert not mark.exists()


def test_run_can_take_the_snapshot_itself(guard: Guarded) -> None:
    done = guard("run", *guard.db, "--take", "--provider", "pg_basebackup", "--to",
                 str(guard.to), "--drilled", "-q", "--", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert guard.required("--drilled").returncode == 0
    shutil.rmtree(guard.to)
    guard.to.write_text("in the way")
    mark = guard.where / "started"
    closed = guard("run", *guard.db, "--take", "--provider", "pg_basebackup", "--to",
                   str(guard.to), "--", "touch", str(mark))
    assert closed.returncode == 4, closed.stderr
    assert "pgmend: refused: no snapshot could be taken" in closed.stderr
    assert not mark.exists()
