"""Bad input and bad luck, through the command: one sentence, a remedy, and the right exit code."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli.exits import ExitCode
from dedupe import MatchKey, Run, RunStatus, scan
from dedupe.lab import Server, server
from dedupe.lab.damage import Damage, damage
from dedupe.scan.checkpoint import State

from ..faults import Breakable, fill, page_of, pooler, pretender, small_disk
from ..scanning import GROUPS, ROWS, Moments, act_on_scans, heap_groups, make_table, told_groups
from .conftest import Command, Connection

KEY = ["t", "--key", "k"]
T_K = MatchKey.from_columns("t", "k")


def against(pgmend: Command, dsn: str) -> Command:
    """Let the command connect elsewhere."""
    return replace(pgmend, env={**pgmend.env, "DATABASE_URL": dsn})


def said(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Return the error and the hint; there is one of each, and no trace."""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    (error,) = [line for line in lines if line.startswith("pgmend: error: ")]
    hints = [line for line in lines if line.startswith("HINT: ")]
    assert len(hints) <= 1
    return error.removeprefix("pgmend: error: "), "".join(hints).removeprefix("HINT: ")


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.fixture(scope="module")
def broken_often() -> Iterator[Server]:
    """Give a server for the tests that break one."""
    if os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server() as started:
        yield started


@pytest.fixture
def breakable(broken_often: Server) -> Iterator[Breakable]:
    """Give a server to stop, crash and damage, with a fresh database."""
    with Breakable.serve(broken_often) as fresh:
        yield fresh


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    return act_on_scans(monkeypatch)


@pytest.fixture
def begun(pgmend: Command, database: str, db: Connection, moments: Moments) -> Path:
    """Make a table and an unfinished run ``r`` over it, with a fifth of it read."""
    make_table(db)
    return begin(pgmend, database, moments)


def begin(pgmend: Command, dsn: str, moments: Moments, key: MatchKey = T_K) -> Path:
    place = pgmend.where / "r"
    moments.stop_at(RunStatus.SCANNING, 4)
    run = scan(dsn, key, place, jobs=1, on_progress=moments)
    assert run.status is RunStatus.INTERRUPTED
    return place


@dataclass
class Going:
    """A command at work, its output in files."""

    process: subprocess.Popen[bytes]
    pause: Path
    out: Path
    err: Path
    arguments: list[str] = field(default_factory=list)

    def go_on(self) -> subprocess.CompletedProcess[str]:
        """Remove the pause and wait for the end."""
        self.pause.unlink()
        code = self.process.wait(120)
        return subprocess.CompletedProcess(
            self.arguments, code, self.out.read_text(), self.err.read_text()
        )


@contextmanager
def paused(pgmend: Command, *arguments: str, **options: Any) -> Iterator[Going]:
    """Let ``pgmend scan`` go on with run ``r`` and hold it between two chunks."""
    place, out, err = (pgmend.where / name for name in ("r", "out", "err"))
    (place / "pause").touch()
    argv = pgmend.argv("scan", *KEY, "--run", "r", "--jobs", "1", *arguments)
    with (
        out.open("w") as output,
        err.open("w") as errors,
        subprocess.Popen(
            argv, cwd=pgmend.where, env=dict(pgmend.env), stdin=subprocess.DEVNULL,
            stdout=output, stderr=errors, **options,
        ) as process,
    ):
        try:
            for _ in range(600):
                if "waiting: paused" in err.read_text() or process.poll() is not None:
                    break
                time.sleep(0.05)
            assert f"remove {Path('r') / 'pause'} to go on" in err.read_text()
            yield Going(process, place / "pause", out, err, argv)
        finally:
            process.kill()


# Names, kinds, rights


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["peeple", "--key", "name"], "there is no table peeple in this database",
         "Did you mean public.people?"),
        (["shop.people", "--key", "name"], "there is no table shop.people",
         "Did you mean public.people?"),
        (["people", "--key", "nmae"], "nmae", "name"),
        (["--index", "people_kye"], "there is no index people_kye in this database",
         "Did you mean public.people_key or public.people_pkey?"),
        (["--all-unique", "-n", "shpo"], "there is no schema shpo", "without quotes"),
        (["view", "--key", "name"], "view is a view, not a table", "that holds the rows"),
        (["far", "--key", "a"], "far is a foreign table", "that holds the rows"),
        (["parts", "--key", "a"], "public.parts_far is a foreign table", "detach"),
        (["--index", "people"], "people is a table, not an index", "that holds the rows"),
        (["people_pkey", "--key", "id"], "people_pkey is an index, not a table", ""),
        (["--index", "people_hash"], "is a hash index", "columns"),
        (["people", "--key", "query"], "tsquery", ""),
        (["people", "--key", "count(*)"], "aggregate", ""),
        (["people", "--key", "name", "--where", "name"], "", ""),
        (["nothing", "--all-unique"], "nothing has no unique index", "--key"),
    ],
)
@pytest.mark.usefixtures("people")
def test_what_cannot_be_meant(
    pgmend: Command, db: Connection, arguments: list[str], error: str, hint: str
) -> None:
    db.execute(
        "CREATE SCHEMA shop; CREATE VIEW view AS SELECT * FROM people;"
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE far (a int) SERVER s;"
        "CREATE TABLE parts (a int) PARTITION BY RANGE (a);"
        "CREATE FOREIGN TABLE parts_far PARTITION OF parts FOR VALUES FROM (0) TO (9) SERVER s;"
        "CREATE INDEX people_hash ON people USING hash (name); CREATE TABLE nothing (a int);"
        "ALTER TABLE people ADD query tsquery"
    )
    done = pgmend("scan", *arguments)
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert done.stdout == ""
    told, advice = said(done)
    assert error in told
    assert hint in advice
    assert not (pgmend.where / "pgmend-runs").exists(), "nothing is begun that cannot be"


def test_a_server_that_is_too_old_is_refused(
    pgmend: Command, lab: Server, database: str
) -> None:
    with pretender(database, lab.version, "130023") as old:
        done = against(pgmend, old)("scan", *KEY)
    assert done.returncode == ExitCode.REFUSED
    error, hint = said(done)
    assert error == "the server runs PostgreSQL 13; pgmend needs 14 or later"
    assert "pg_upgrade" in hint


def test_a_transaction_pooler_is_refused_and_a_session_pooler_taken(
    pgmend: Command, database: str, db: Connection
) -> None:
    make_table(db)
    with pooler(database, "transaction") as pooled:
        done = against(pgmend, pooled)("scan", *KEY)
    assert done.returncode == ExitCode.REFUSED
    error, hint = said(done)
    assert "another server session for every transaction" in error
    assert "pool_mode = session" in hint
    with pooler(database, "session") as pooled:
        done = against(pgmend, pooled)("scan", *KEY, "--json")
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert facts(done)["keys"][0]["groups"] == GROUPS


def test_key_order_over_an_index_that_lies_is_refused(
    pgmend: Command, database: str, db: Connection
) -> None:
    make_table(db)
    damage(database, "t_pkey", Damage.LOST_ENTRIES, ["INSERT INTO t VALUES (-1, 'k500')"])
    done = pgmend("scan", *KEY, "--order", "key")
    assert done.returncode == ExitCode.REFUSED
    error, hint = said(done)
    assert "its primary key public.t_pkey could not be trusted" in error
    assert "--order physical --fresh" in hint
    remedy = pgmend("scan", *KEY, "--order", "physical", "--fresh", "--json")
    assert remedy.returncode == ExitCode.FOUND, remedy.stderr
    assert facts(remedy)["keys"][0]["groups"] == GROUPS + 1


# The run


@pytest.mark.parametrize(
    ("change", "said_of_it", "code"),
    [
        ("VACUUM FULL t", "public.t was rewritten since the run began", ExitCode.REFUSED),
        ("TRUNCATE t", "public.t was rewritten since the run began", ExitCode.REFUSED),
        ("CLUSTER t USING t_pkey", "public.t was rewritten", ExitCode.REFUSED),
        ("ALTER TABLE t ALTER k TYPE varchar(9)", "the run has another key", ExitCode.REFUSED),
        ("DROP TABLE t", "there is no table t in this database", ExitCode.USAGE),
        ("DROP TABLE t; CREATE TABLE t (k text)", "the run belongs to another table: public.t (oid",
         ExitCode.REFUSED),
    ],
)
def test_a_table_that_changed_since_the_checkpoint(
    pgmend: Command, db: Connection, begun: Path, change: str, said_of_it: str, code: ExitCode
) -> None:
    """Outcome: refused by name, the run left as it was; never silently begun anew."""
    db.execute(change)
    before = (begun / "state.sqlite").read_bytes()
    done = pgmend("scan", *KEY, "--run", "r")
    assert done.returncode == code, done.stderr
    assert said_of_it in said(done)[0]
    if code is ExitCode.REFUSED:
        assert "--fresh" in said(done)[1]
    assert (begun / "state.sqlite").read_bytes() == before


def test_an_index_that_is_another_one_now(
    pgmend: Command, database: str, db: Connection, moments: Moments
) -> None:
    make_table(db)
    db.execute("CREATE INDEX i ON t (k)")
    begin(pgmend, database, moments, MatchKey.from_index("i"))
    db.execute("DROP INDEX i; CREATE INDEX i ON t (lower(k))")
    done = pgmend("scan", "--index", "i", "--run", "r")
    assert done.returncode == ExitCode.REFUSED
    assert "the run has another key: 'column \"k\" text" in said(done)[0]
    fresh = pgmend("scan", "--index", "i", "--run", "r", "--fresh", "-q")
    assert fresh.returncode == ExitCode.FOUND


def test_a_partition_that_came_since_the_checkpoint(
    pgmend: Command, database: str, db: Connection, moments: Moments
) -> None:
    db.execute(
        "CREATE TABLE t (id int, k text) PARTITION BY RANGE (id);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (20000);"
        "INSERT INTO t SELECT n, n % 9000 FROM generate_series(1, 15000) n"
    )
    begin(pgmend, database, moments)
    db.execute("CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (20000) TO (30000)")
    done = pgmend("scan", *KEY, "--run", "r")
    assert done.returncode == ExitCode.REFUSED
    assert "the partitions of public.t changed since the run began: public.t_2" in said(done)[0]


@pytest.mark.usefixtures("begun")
def test_another_database_or_server(
    pgmend: Command, lab: Server, db: Connection, breakable: Breakable
) -> None:
    copy = lab.create_database(f"copy_{db.info.dbname}")
    try:
        with psycopg.connect(copy, autocommit=True) as other:
            make_table(other)
        done = against(pgmend, copy)("scan", *KEY, "--run", "r")
    finally:
        lab.drop_database(f"copy_{db.info.dbname}")
    assert done.returncode == ExitCode.REFUSED
    assert f"the run belongs to another database: {db.info.dbname}, not copy_" in said(done)[0]
    with psycopg.connect(breakable.dsn, autocommit=True) as other:
        make_table(other)
    done = against(pgmend, breakable.dsn)("scan", *KEY, "--run", "r")
    assert done.returncode == ExitCode.REFUSED
    assert "another database cluster (system identifier)" in said(done)[0]
    assert "Connect to the server that the run was made on" in said(done)[1]


def test_damaged_and_foreign_directories(pgmend: Command, begun: Path) -> None:
    """Scenario: a truncated spill, a corrupt state, another format; a foreign directory.
    Outcome: 5, 5, 2 and 2, each with the file's name; nothing foreign is touched.
    """
    spill, state = begun / "spill", begun / "state.sqlite"
    whole, saved = spill.read_bytes(), state.read_bytes()
    spill.write_bytes(whole[:-1])
    done = pgmend("scan", *KEY, "--run", "r")
    assert done.returncode == ExitCode.FAILURE
    assert said(done)[0].startswith(f"r/spill holds {len(whole) - 1} bytes")
    assert "--fresh" in said(done)[1]
    spill.write_bytes(whole)
    state.write_bytes(saved[:5000])
    for command in (["scan", *KEY, "--run", "r"], ["status", "r"]):
        done = pgmend(*command)
        assert done.returncode == ExitCode.FAILURE
        assert said(done)[0].startswith("r/state.sqlite is damaged: ")
    state.write_bytes(saved)
    with State.opened(begun) as opened, opened.commit():
        opened.save_facts(format_version=2)
    done = pgmend("scan", *KEY, "--run", "r")
    assert done.returncode == ExitCode.USAGE
    assert said(done)[0] == "r was written in format 2; this pgmend reads format 1"
    assert pgmend("scan", *KEY, "--run", "r", "--fresh", "-q").returncode == ExitCode.FOUND
    (begun / "groups.sqlite").write_bytes((begun / "groups.sqlite").read_bytes()[:4097])
    done = pgmend("groups", "r")
    assert done.returncode == ExitCode.FAILURE
    assert said(done)[0].startswith("r/groups.sqlite is damaged: ")
    foreign = pgmend.where / "letters"
    foreign.mkdir()
    (foreign / "spill").write_text("mine")
    for more in ([], ["--fresh"]):
        done = pgmend("scan", *KEY, "--run", "letters", *more)
        assert done.returncode == ExitCode.USAGE
        assert said(done)[0] == "letters is not a run directory of pgmend"
    assert (foreign / "spill").read_text() == "mine"


# In the middle of a scan


def test_a_server_that_restarts_is_waited_for(
    pgmend: Command, breakable: Breakable, moments: Moments
) -> None:
    """Scenario: the server crashes while the command reads, and is up again a second later.
    Outcome: told on stderr, and the result is the heap's.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)
        truth = heap_groups(db, "t", "k")
    begin(pgmend, dsn, moments)
    with paused(against(pgmend, dsn)) as going:
        breakable.server.stop("immediate")
        timer = threading.Timer(1.0, breakable.server.start)
        timer.start()
        done = going.go_on()
        timer.join()
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert "the server cannot be reached or went away" in done.stderr
    assert "trying again in" in done.stderr
    assert told_groups(Run.open(pgmend.where / "r")) == truth


def test_a_server_that_stays_away_is_a_failure_that_can_pass(
    pgmend: Command, breakable: Breakable, moments: Moments
) -> None:
    """Scenario: the server is stopped for longer than the command waits.
    Outcome: 5 with the word to go on; status and the same command afterwards do.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)
        truth = heap_groups(db, "t", "k")
    begin(pgmend, dsn, moments)
    command = against(pgmend, dsn)
    with paused(command) as going:
        breakable.server.stop()
        done = going.go_on()
    assert done.returncode == ExitCode.FAILURE, done.stderr
    assert done.stdout == ""
    error, hint = said(done)
    assert "cannot be reached or went away" in error
    assert "goes on where it stopped" in hint
    assert done.stderr.count("trying again in") == 6
    status = json.loads(command("status", "r", "--json").stdout)
    assert status["status"] == "interrupted"
    assert 0 < status["runs"][0]["fraction"] < 1
    breakable.server.start()
    done = command("scan", *KEY, "--run", "r", "--json")
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert facts(done)["keys"][0]["rows"] == ROWS
    assert told_groups(Run.open(pgmend.where / "r")) == truth


@pytest.mark.usefixtures("begun")
def test_a_backend_that_is_ended_is_replaced(pgmend: Command, db: Connection) -> None:
    with paused(pgmend) as going:
        ended = db.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name LIKE 'pgmend %' AND datname = current_database()"
        ).fetchone()
        assert ended is not None
        done = going.go_on()
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert told_groups(Run.open(pgmend.where / "r")) == heap_groups(db, "t", "k")


@pytest.mark.usefixtures("begun")
def test_a_lock_is_waited_for_and_a_cancel_ends_the_scan(
    pgmend: Command, database: str, db: Connection
) -> None:
    """Scenario: another session locks the table; an admin cancels the statement that waits;
    then the command is given again, and the lock goes away after a second.
    Outcome: 5 with the word to go on; then the result.
    """
    with psycopg.connect(database) as locking:
        with paused(pgmend) as going:
            locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            threading.Thread(target=cancel_waiting, args=(db,)).start()
            done = going.go_on()
        assert done.returncode == ExitCode.FAILURE
        error, hint = said(done)
        assert "canceling statement due to user request" in error
        assert "goes on where it stopped" in hint
        threading.Timer(1.5, locking.rollback).start()
        done = pgmend("scan", *KEY, "--run", "r", "--json")
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert facts(done)["keys"][0]["rows"] == ROWS


def cancel_waiting(db: Connection) -> None:
    for _ in range(200):
        (count,) = db.execute(
            "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name LIKE 'pgmend %' AND wait_event_type = 'Lock'"
            " AND datname = current_database()"
        ).fetchone() or (0,)
        if count:
            return
        time.sleep(0.05)


def test_a_right_that_is_lost(
    pgmend: Command, db: Connection, role: Any, moments: Moments
) -> None:
    make_table(db)
    db.execute("GRANT SELECT ON t TO PUBLIC")
    reader = role("reader")
    begin(pgmend, reader, moments)
    command = against(pgmend, reader)
    with paused(command) as going:
        db.execute("REVOKE SELECT ON t FROM PUBLIC")
        done = going.go_on()
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert "permission denied for table t" in said(done)[0]
    done = command("scan", *KEY, "--run", "r")
    assert done.returncode == ExitCode.USAGE
    assert said(done)[0] == "the role may not read public.t"
    db.execute("GRANT SELECT ON t TO PUBLIC; ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    done = command("scan", *KEY, "--run", "r")
    assert done.returncode == ExitCode.REFUSED
    assert "row-level security would hide rows of public.t" in said(done)[0]
    db.execute("ALTER TABLE t DISABLE ROW LEVEL SECURITY")
    assert command("scan", *KEY, "--run", "r", "-q").returncode == ExitCode.FOUND


@pytest.mark.usefixtures("begun")
def test_a_table_rewritten_while_it_is_read(pgmend: Command, db: Connection) -> None:
    with paused(pgmend) as going:
        db.execute("VACUUM FULL t")
        done = going.go_on()
    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert "public.t was rewritten since the run began" in said(done)[0]
    again = pgmend("scan", *KEY, "--run", "r", "--fresh", "--json")
    assert facts(again)["keys"][0]["groups"] == GROUPS


# Disks


def small_files() -> None:
    """Let no file of the child grow, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, resource.RLIM_INFINITY))


def test_files_that_cannot_grow(pgmend: Command, db: Connection, begun: Path) -> None:
    """Scenario: the disk takes no more in the middle of a scan.
    Outcome: 5 with the file's name and the remedy; with room the same command goes on.
    """
    with paused(pgmend, preexec_fn=small_files) as going:
        done = going.go_on()
    assert done.returncode == ExitCode.FAILURE, done.stderr
    error, hint = said(done)
    assert error.startswith("cannot write or read r/spill: ")
    assert "Make room" in hint
    done = pgmend("scan", *KEY, "--run", "r", "--json")
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert facts(done)["keys"][0]["rows"] == ROWS
    assert told_groups(Run.open(begun)) == heap_groups(db, "t", "k")


def test_a_small_disk(pgmend: Command, db: Connection, tmp_path: Path) -> None:
    """Scenario: a disk too small for the spill; one that fills up while the command reads.
    Outcome: 4 before a row is read; 5 that names the directory; then the truth.
    """
    make_table(db)
    db.execute("CREATE TABLE large AS SELECT n AS k FROM generate_series(1, 500000) n")
    with small_disk(tmp_path / "disk", 17 << 20) as disk:
        command = replace(pgmend, where=disk)
        done = command("scan", "large", "--key", "k", "--run", "large")
        assert done.returncode == ExitCode.REFUSED
        assert re.fullmatch(
            r"the scan needs about (9|10|11) MB in large, and [01] MB are free", said(done)[0]
        )
        assert "--run" in said(done)[1]
        slow = ["--nice", "20", "--memory", "8MiB", "--jobs", "1", "--run", "r"]
        with command.start("scan", *KEY, *slow) as process:
            while not (disk / "r" / "spill").exists():
                time.sleep(0.02)
            filler = fill(disk, 20_000)
            out, err = process.communicate(timeout=60)
        assert process.returncode == ExitCode.FAILURE, err
        assert out == ""
        assert "cannot write or read r/" in err
        filler.unlink()
        done = command("scan", *KEY, "--run", "r", "--json")
        assert done.returncode == ExitCode.FOUND, done.stderr
        assert told_groups(Run.open(disk / "r")) == heap_groups(db, "t", "k")


@pytest.mark.parametrize("order", ["physical", "key"])
def test_rows_that_cannot_be_read_are_findings(
    pgmend: Command, breakable: Breakable, order: str
) -> None:
    """Scenario: no duplicates, but a page of the TOAST table is lost.
    Outcome: 1; each row by its address, on stdout and in JSON; key order goes on, too.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(
            "CREATE TABLE t (id int PRIMARY KEY, k text);"
            "ALTER TABLE t ALTER k SET STORAGE EXTERNAL;"
            "INSERT INTO t SELECT n, repeat(md5(n::text), 100) FROM generate_series(1, 100) n"
        )
        toast = db.execute(
            "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 't'::regclass"
        ).fetchone()
        assert toast is not None
        file, size = page_of(db, toast[0])
    breakable.spoil(file, [3], size, b"\0" * size)
    command = against(pgmend, dsn)
    done = command("scan", *KEY, "--run", "r", "--order", order)
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert "unreadable: public.t row (0," in done.stdout
    assert "missing chunk number" in done.stdout
    assert "no duplicates in what could be read" in done.stdout
    told = facts(command("scan", "--run", "r", "--json"))
    assert told["unreadable_rows"] == len(told["unreadable"]) > 0
    assert {row["ctid"] for row in told["unreadable"]} == {
        line.split()[3].rstrip(":") for line in done.stdout.splitlines() if "unreadable" in line
    }
    assert told["keys"][0]["rows"] == 100 - len(told["unreadable"])


def test_a_page_that_cannot_be_read_is_a_finding(pgmend: Command, breakable: Breakable) -> None:
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)
        file, size = page_of(db, "t")
    breakable.spoil(file, [40], size, b"\xff" * 24)
    command = against(pgmend, dsn)
    done = command("scan", *KEY, "--json")
    assert done.returncode == ExitCode.FOUND, done.stderr
    (row,) = facts(done)["unreadable"]
    assert (row["schema"], row["table"], row["block"], row["ctid"]) == ("public", "t", 40, None)
    assert "invalid page" in row["message"]
    assert facts(done)["keys"][0]["groups"] == GROUPS
    done = command("scan", *KEY, "--order", "key")
    assert done.returncode == ExitCode.REFUSED
    assert "could not be trusted" in said(done)[0]


# Names


def test_names_of_no_encoding(pgmend: Command, lab: Server, tmp_path: Path) -> None:
    """Scenario: a database that checks no encoding; table, column, index and key are Latin-1,
    and so are the arguments.
    Outcome: found; people see escapes, programs the very bytes.
    """
    name = f"ascii_{tmp_path.parent.name.replace('-', '_')}"
    with psycopg.connect(lab.dsn(), autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
    try:
        dsn = lab.dsn(name)
        with psycopg.connect(dsn, autocommit=True, client_encoding="SQL_ASCII") as db:
            db.execute(b'CREATE TABLE "t\xff" ("i\xf6" int8 PRIMARY KEY, "c\xfe" text)')
            db.execute(b"INSERT INTO \"t\xff\" VALUES (1, 'x\xe9'), (2, 'x\xe9'), (3, 'y')")
            db.execute(b'CREATE UNIQUE INDEX "n\xfd" ON "t\xff" ("c\xfe", "i\xf6")')
        command = against(pgmend, dsn)
        table, column = os.fsdecode(b"t\xff"), os.fsdecode(b"c\xfe")
        done = command("scan", f'"{table}"', "--key", column, "--run", "r")
        assert done.returncode == ExitCode.FOUND, done.stderr
        assert "public.t\\udcff" in done.stdout
        rows = [
            json.loads(line)
            for line in command("groups", "r", "--format", "jsonl").stdout.splitlines()
        ]
        assert [(row["table"], row["key"], row["pk"]) for row in rows] == [
            ("t\udcff", ["x\udce9"], {"i\udcf6": "1"}), ("t\udcff", ["x\udce9"], {"i\udcf6": "2"}),
        ]
        done = command("scan", "--all-unique", "--json")
        assert done.returncode == ExitCode.OK, done.stderr
        assert [key["name"] for key in facts(done)["keys"]] == ["t\udcff_pkey", "n\udcfd"]
        done = command("scan", os.fsdecode(b"nowh\xe9re"), "--key", column)
        assert done.returncode == ExitCode.USAGE
        assert "there is no table nowh\\udce9re in this database" in said(done)[0]
    finally:
        lab.drop_database(name)
