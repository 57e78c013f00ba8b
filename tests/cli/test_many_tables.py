"""``--all-unique``: several tables and keys, some of which cannot be scanned, or not yet."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli.exits import ExitCode

from .conftest import Command, Connection

ALL = ["scan", "--all-unique", "--run", "d"]


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def rows_of(told: dict[str, Any]) -> dict[str, int]:
    return {key["name"]: key["rows"] for key in told["keys"]}


def hint(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("HINT: ")]
    return line.removeprefix("HINT: ")


@pytest.fixture
def three(db: Connection) -> None:
    """Make tables ``a``, ``b`` and ``c`` with three rows each."""
    for name in "abc":
        db.execute(
            f"CREATE TABLE {name} (id int8 PRIMARY KEY);"
            f"INSERT INTO {name} SELECT generate_series(1, 3)"
        )


def waiting(db: Connection) -> list[int]:
    """Return the backends of pgmend that wait for a lock."""
    return [
        pid
        for (pid,) in db.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgmend%'"
            " AND wait_event_type = 'Lock' AND datname = current_database()"
        )
    ]


@contextmanager
def locked(database: str, table: str) -> Iterator[None]:
    """Hold a table so that nobody can read it."""
    with psycopg.connect(database) as locking:
        locking.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        locking.rollback()


@contextmanager
def unreadable(database: str, db: Connection, table: str) -> Iterator[None]:
    """Hold a table, and cancel whoever waits for it."""
    over = threading.Event()

    def cancel() -> None:
        while not over.wait(0.05):
            for pid in waiting(db):
                db.execute("SELECT pg_cancel_backend(%s)", [pid])

    thread = threading.Thread(target=cancel)
    with locked(database, table):
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


# Unfinished lists


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(("table", "scanned"), [("a", 0), ("b", 1), ("c", 2)])
def test_a_list_that_ended_early_is_never_a_result(
    pgmend: Command, database: str, db: Connection, table: str, scanned: int
) -> None:
    """Scenario: the first, second or last of three tables cannot be read, and the scan fails.
    Outcome: no command takes what there is for the result, and each tells how to get it.
    """
    with unreadable(database, db, table):
        failed = pgmend(*ALL)
    assert failed.returncode == ExitCode.FAILURE, failed.stderr
    assert failed.stdout == ""
    counts = f"{scanned} of 3 tables scanned"
    for command in (["scan", "--run", "d"], ["scan", "--run", "d", "--json"], ["groups", "d"]):
        done = pgmend(*command)
        assert done.returncode == ExitCode.USAGE, done.stderr
        assert done.stdout == ""
        assert f"the scan in d is not finished (interrupted, {counts})" in done.stderr
        assert hint(done) == "Go on with: pgmend scan --all-unique --run d"
    status = pgmend("status", "d")
    assert status.returncode == ExitCode.OK
    assert f"interrupted, {counts}" in status.stdout
    told = facts(pgmend("status", "d", "--json"))
    assert (told["status"], told["as_of"]) == ("interrupted", None)
    assert (told["tables"], told["tables_scanned"]) == (3, scanned)
    remedy = pgmend(*shlex.split(hint(done))[4:])
    assert remedy.returncode == ExitCode.OK, remedy.stderr
    told = facts(pgmend("scan", "--run", "d", "--json"))
    assert rows_of(told) == {"a_pkey": 3, "b_pkey": 3, "c_pkey": 3}
    assert told["status"] == "finished"


def test_refusals_are_part_of_the_result(
    pgmend: Command, db: Connection, role: Callable[[str], str]
) -> None:
    """Scenario: one table may not be read, one hides rows; the result is printed again; then
    the rights are given and the same command goes on.
    Outcome: the refusals are printed each time, with the code of the worst; then all is well.
    """
    db.execute(
        "CREATE TABLE hidden (id int8 UNIQUE); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;"
        "CREATE TABLE open (id int8 UNIQUE); CREATE TABLE secret (id int8 UNIQUE);"
        "GRANT SELECT ON open, hidden TO PUBLIC"
    )
    reader = {"DATABASE_URL": role("reader")}
    first = pgmend(*ALL, "--json", "-q", env=reader)
    assert first.returncode == ExitCode.REFUSED
    refused = facts(first)["refused"]
    assert [(each["table"], each["key"]) for each in refused] == [
        ("public.hidden", None), ("public.secret", None),
    ]
    again = pgmend("scan", "--run", "d", "--json")
    assert again.returncode == ExitCode.REFUSED
    assert facts(again) == facts(first)
    assert again.stderr == first.stderr
    assert again.stderr.count("pgmend: error: ") == again.stderr.count("HINT: ") == 2
    text = pgmend("scan", "--run", "d")
    assert text.returncode == ExitCode.REFUSED
    assert "refused: public.secret: the role may not read public.secret" in text.stdout
    assert "no duplicates in what could be scanned" in text.stdout
    groups = pgmend("groups", "d")
    assert (groups.returncode, groups.stdout) == (ExitCode.OK, "")
    assert "not scanned: public.hidden: row-level security would" in groups.stderr
    status = pgmend("status", "d").stdout
    assert "finished, 1 of 3 tables scanned, 2 refused" in status
    assert "public.hidden: row-level security would hide rows" in status

    db.execute("GRANT SELECT ON secret TO PUBLIC")
    half = pgmend(*ALL, "--json", env=reader)
    assert half.returncode == ExitCode.REFUSED
    assert [each["table"] for each in facts(half)["refused"]] == ["public.hidden"]
    db.execute("ALTER TABLE hidden DISABLE ROW LEVEL SECURITY")
    whole = pgmend(*ALL, "--json", env=reader)
    assert whole.returncode == ExitCode.OK, whole.stderr
    assert len(facts(whole)["keys"]) == 3
    assert facts(whole)["refused"] == []
    assert "error" not in whole.stderr
    assert pgmend("scan", "--run", "d").returncode == ExitCode.OK


def test_a_setting_that_is_wrong_is_no_refusal_of_every_table(
    pgmend: Command, db: Connection
) -> None:
    db.execute("CREATE TABLE a (id int8 UNIQUE); CREATE TABLE b (id int8 UNIQUE)")
    done = pgmend(*ALL, "--memory", "64XB")
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.count("'64XB' is not a size") == 1
    assert pgmend("scan", "--run", "d").returncode == ExitCode.USAGE


def test_a_database_without_unique_indexes_is_no_clean_bill(pgmend: Command) -> None:
    done = pgmend("scan", "--all-unique", "--json")
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    assert "has a unique index" in done.stderr
    assert "Is it the database that is meant?" in hint(done)


@pytest.mark.usefixtures("three")
def test_tables_that_came_and_went_since_the_list_was_begun(
    pgmend: Command, database: str, db: Connection
) -> None:
    with unreadable(database, db, "b"):
        assert pgmend(*ALL).returncode == ExitCode.FAILURE
    db.execute("DROP TABLE a; DROP TABLE b; CREATE TABLE d (id int8 UNIQUE)")
    done = pgmend(*ALL, "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    # What was finished stays a result, of its own moment.
    assert rows_of(facts(done)) == {"c_pkey": 3, "d_id_key": 0, "a_pkey": 3}
    assert "left out: public.b" in done.stderr


# --fresh


@pytest.mark.usefixtures("three")
def test_a_fresh_look_never_shows_old_results(
    pgmend: Command, database: str, db: Connection
) -> None:
    """Scenario: a finished list; rows are added; ``--fresh`` fails at the second table; the
    command that its hint names goes on.
    Outcome: every table's rows as they are now, and nothing left of the old runs.
    """
    assert pgmend(*ALL, "-q").returncode == ExitCode.OK
    old = {path.name for path in (pgmend.where / "d").iterdir() if path.is_dir()}
    for name in "abc":
        db.execute(f"INSERT INTO {name} VALUES (4)")
    with unreadable(database, db, "b"):
        failed = pgmend(*ALL, "--fresh")
    assert failed.returncode == ExitCode.FAILURE
    assert "1 of 3 tables scanned" in pgmend("status", "d").stdout
    _, _, command = hint(failed).partition("Leave --fresh out: ")
    assert command == "pgmend scan --all-unique --run d"
    done = pgmend(*shlex.split(command)[1:], "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    assert rows_of(facts(done)) == {"a_pkey": 4, "b_pkey": 4, "c_pkey": 4}
    now = {path.name for path in (pgmend.where / "d").iterdir() if path.is_dir()}
    assert len(now) == 3
    assert not now & old


@pytest.mark.usefixtures("three")
def test_a_fresh_look_takes_a_damaged_list_and_one_of_other_schemas(pgmend: Command) -> None:
    assert pgmend(*ALL, "-q").returncode == ExitCode.OK
    other = pgmend(*ALL, "-n", "public")
    assert other.returncode == ExitCode.REFUSED
    assert "d belongs to all schemas, not to the schemas public" in other.stderr
    assert pgmend(*ALL, "-n", "public", "--fresh", "-q").returncode == ExitCode.OK
    (pgmend.where / "d" / "scans.json").write_text('{"format_version": 1, "target": ')
    for command in (ALL, ["scan", "--run", "d"], ["status", "d"], ["groups", "d"]):
        damaged = pgmend(*command)
        assert damaged.returncode == ExitCode.FAILURE
        assert "d/scans.json is damaged" in damaged.stderr
        assert "--fresh" in hint(damaged)
    assert pgmend(*ALL, "--fresh", "-q").returncode == ExitCode.OK


@pytest.mark.usefixtures("three")
def test_what_others_laid_into_an_old_run_stays(pgmend: Command) -> None:
    assert pgmend(*ALL, "-q").returncode == ExitCode.OK
    run = next(path for path in (pgmend.where / "d").iterdir() if path.name.startswith("public.a"))
    (run / "notes").write_text("mine")
    assert pgmend(*ALL, "--fresh", "-q").returncode == ExitCode.OK
    assert [file.name for file in run.iterdir()] == ["notes"]


# One process at a time, and stops


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"waited in vain: {process.communicate()}")


@pytest.mark.usefixtures("three")
def test_one_process_owns_all_tables(pgmend: Command, database: str, db: Connection) -> None:
    """Scenario: one process waits at the second table; another one is given the same list.
    Outcome: the second is refused and changes nothing; the first one's result is whole.
    """
    with pgmend.start(*ALL, "--json") as process:
        with locked(database, "b"):
            until(lambda: waiting(db), process)
            before = (pgmend.where / "d" / "scans.json").read_bytes()
            second = pgmend(*ALL)
            assert pgmend("status", "d").stdout.splitlines()[1] == (
                "status     scanning, 1 of 3 tables scanned"
            )
            assert (pgmend.where / "d" / "scans.json").read_bytes() == before
        out, err = process.communicate(timeout=60)
    assert second.returncode == ExitCode.REFUSED
    assert second.stdout == ""
    assert second.stderr.startswith("pgmend: error: another process works on d\n")
    assert process.returncode == ExitCode.OK, err
    assert rows_of(json.loads(out)) == {"a_pkey": 3, "b_pkey": 3, "c_pkey": 3}


@pytest.mark.usefixtures("three")
def test_a_run_that_another_process_works_on_is_no_refused_table(
    pgmend: Command, database: str, db: Connection
) -> None:
    """Scenario: a process that was given one table's own run directory works on it.
    Outcome: whoever wants all tables is refused as a whole; later it gets them all.
    """
    with unreadable(database, db, "b"):
        assert pgmend(*ALL).returncode == ExitCode.FAILURE
    tables = json.loads((pgmend.where / "d" / "scans.json").read_text())["tables"]
    one = Path("d") / tables[1]["run"]
    db.execute("INSERT INTO b SELECT generate_series(4, 100000)")
    slow = ["--nice", "500", "--jobs", "1", "--memory", "8MiB"]
    with pgmend.start("scan", "--index", "b_pkey", "--run", str(one), *slow) as process:
        until((pgmend.where / one / "spill").exists, process)
        second = pgmend(*ALL)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert second.returncode == ExitCode.REFUSED, second.stderr
    assert f"another process works on {one}" in second.stderr
    assert pgmend("scan", "--run", "d").returncode == ExitCode.USAGE
    done = pgmend(*ALL, "--json")
    assert rows_of(facts(done)) == {"a_pkey": 3, "b_pkey": 100_000, "c_pkey": 3}


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_between_two_tables_is_like_any_other(
    pgmend: Command, database: str, db: Connection, number: signal.Signals
) -> None:
    """Scenario: the signal comes when one table is scanned and the next one not yet begun.
    Outcome: 3 within a second, the object that was asked for, and a command that goes on.
    """
    with (
        locked(database, "b"),
        pgmend.start("scan", "--all-unique", "--fresh", "--json") as process,
    ):
        until(lambda: waiting(db), process)
        process.send_signal(number)
        asked = time.monotonic()
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - asked < 1.5
    assert process.returncode == ExitCode.STOPPED, err
    told = json.loads(out)
    assert told["status"] == "interrupted"
    assert (told["tables"], told["tables_scanned"]) == (3, 1)
    assert "pgmend: stopped at 1 of 3 tables scanned; nothing that was read is lost\n" in err
    go_on = f"pgmend scan --all-unique --json --run {told['run']}"
    assert f"HINT: Go on with: {go_on}\n" in err
    done = pgmend(*shlex.split(go_on)[1:])
    assert done.returncode == ExitCode.OK, done.stderr
    assert len(facts(done)["keys"]) == 3


@pytest.mark.usefixtures("crowd")
def test_a_stop_within_a_table_names_it(pgmend: Command) -> None:
    slow = ["--nice", "500", "--jobs", "1", "--memory", "8MiB"]
    with pgmend.start(*ALL, *slow) as process:
        until(lambda: list((pgmend.where / "d").glob("*/spill")), process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.STOPPED, err
    assert "% of public.crowd, 0 of 1 table scanned; nothing that was read is lost" in err


# Keys that cannot be scanned


@pytest.fixture
def queries(db: Connection) -> None:
    """Make a table with a unique index of a type that has no hash, and one without any other."""
    db.execute(
        "CREATE TABLE queries (id int8 PRIMARY KEY, q tsquery, other int8 UNIQUE);"
        "CREATE UNIQUE INDEX queries_q ON queries (q);"
        "INSERT INTO queries VALUES (1, 'a', 1), (2, 'b', NULL);"
        "CREATE TABLE lone (q tsquery UNIQUE); CREATE TABLE people (id int8 PRIMARY KEY)"
    )


@pytest.mark.usefixtures("queries")
def test_one_key_that_cannot_be_scanned_refuses_itself_alone(
    pgmend: Command, db: Connection
) -> None:
    """Scenario: of a table's three unique indexes one is of a type that no digest knows.
    Outcome: the others are scanned; the refusal is by key, and stays with the run.
    """
    one = ["scan", "queries", "--all-unique", "--run", "r"]
    done = pgmend(*one, "--json")
    assert done.returncode == ExitCode.USAGE, done.stderr
    told = facts(done)
    assert rows_of(told) == {"queries_pkey": 2, "queries_other_key": 1}
    ((refused),) = told["refused"]
    assert list(refused) == ["table", "key", "message"]
    assert (refused["table"], refused["key"]) == ("public.queries", "queries_q")
    assert "tsquery" in refused["message"]
    assert "pgmend: error: queries, key queries_q: " in done.stderr
    for command in (["scan", "--run", "r"], one):
        again = pgmend(*command, "--json")
        assert again.returncode == ExitCode.USAGE
        assert facts(again)["refused"] == [refused]
    assert "refused    public.queries, key queries_q: " in pgmend("status", "r").stdout
    db.execute("DROP INDEX queries_q")
    assert pgmend(*one, "--json").returncode == ExitCode.OK
    assert facts(pgmend("scan", "--run", "r", "--json"))["refused"] == []


@pytest.mark.usefixtures("queries")
def test_keys_are_refused_one_by_one_in_every_table(pgmend: Command) -> None:
    done = pgmend(*ALL, "--json")
    assert done.returncode == ExitCode.USAGE, done.stderr
    told = facts(done)
    assert sorted(rows_of(told)) == ["people_pkey", "queries_other_key", "queries_pkey"]
    assert [(each["table"], each["key"]) for each in told["refused"]] == [
        ("public.lone", "lone_q_key"), ("public.queries", "queries_q"),
    ]
    assert told["status"] == "finished"
    again = pgmend("scan", "--run", "d", "--json")
    assert again.returncode == ExitCode.USAGE
    assert facts(again)["refused"] == told["refused"]


@pytest.mark.usefixtures("queries")
def test_a_table_without_a_key_that_can_be_scanned(pgmend: Command) -> None:
    done = pgmend("scan", "lone", "--all-unique", "--json")
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    assert "pgmend: error: lone, key lone_q_key: column q: " in done.stderr
    assert not (pgmend.where / "pgmend-runs").exists()


# Places


@pytest.mark.usefixtures("three")
def test_places_that_are_none(pgmend: Command) -> None:
    """Scenario: --run names a file, a path below one, a foreign directory, one table's run.
    Outcome: 2, one sentence that names it, and nothing is touched.
    """
    (pgmend.where / "file").write_text("mine")
    (pgmend.where / "foreign").mkdir()
    (pgmend.where / "foreign" / "letters").write_text("mine")
    assert pgmend("scan", "--index", "a_pkey", "--run", "r", "-q").returncode == ExitCode.OK
    before = sorted(path.name for path in (pgmend.where / "r").iterdir())
    for place in ("/etc/passwd", "file", "file/below", "foreign", "r"):
        for fresh in ([], ["--fresh"]):
            done = pgmend("scan", "--all-unique", "--run", place, *fresh)
            assert done.returncode == ExitCode.USAGE, done.stderr
            assert f"error: {place} is not a directory of several tables' scans" in done.stderr
            assert hint(done).startswith("Name a path that does not exist yet")
    assert pgmend(*ALL, "-q").returncode == ExitCode.OK
    one = pgmend("scan", "--index", "a_pkey", "--run", "d", "--fresh")
    assert one.returncode == ExitCode.USAGE
    assert "error: d holds the scans of several tables" in one.stderr
    assert pgmend("scan", "--run", "d").returncode == ExitCode.OK
    assert [path.name for path in (pgmend.where / "foreign").iterdir()] == ["letters"]
    assert sorted(path.name for path in (pgmend.where / "r").iterdir()) == before


def test_tables_that_are_written_alike(pgmend: Command, db: Connection) -> None:
    db.execute(
        'CREATE SCHEMA "a.b"; CREATE SCHEMA a; CREATE TABLE "a.b".c (id int8 UNIQUE);'
        'CREATE TABLE a."b.c" (id int8 UNIQUE); INSERT INTO a."b.c" VALUES (1)'
    )
    for _ in range(2):
        done = pgmend(*ALL, "--json")
        assert done.returncode == ExitCode.OK, done.stderr
        assert rows_of(facts(done)) == {"b.c_id_key": 1, "c_id_key": 0}


@pytest.mark.usefixtures("three")
def test_a_list_is_gone_on_with_where_nothing_else_is_said(
    pgmend: Command, database: str, db: Connection
) -> None:
    with unreadable(database, db, "b"):
        failed = pgmend("scan", "--all-unique")
    directory = failed.stderr.splitlines()[0].removeprefix("run directory: ")
    done = pgmend("scan", "--all-unique", "--json")
    assert done.stderr.startswith(f"run directory: {directory} (goes on)\n")
    assert len(facts(done)["keys"]) == 3
    assert facts(pgmend("scan", "--all-unique", "--json"))["run"] != directory
