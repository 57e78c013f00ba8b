"""The library is a guest in its caller's process and on the server: it leaves both as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from dedupe import DedupeError, MatchKey, Progress, Run, RunStatus, scan
from dedupe.errors import UsageError
from dedupe.scan import telling

from .heap import Connection, groups_found, guests_in_heap, sessions

ROOT = Path(__file__).parents[2]
KEY = MatchKey.from_columns("guests", "name")
#: seconds in which a stop has taken effect; "about one", and a busy machine
STOP_SECONDS = 2.0

CALLER = """
import json, logging, os, signal, sys, threading
# What these do to logging as they are imported is their own affair.
import numpy, psycopg, sqlalchemy

def facts():
    quiet = [name for name, logger in logging.root.manager.loggerDict.items()
             if isinstance(logger, logging.Logger)
             and (logger.handlers or logger.level or not logger.propagate)]
    return {
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "wakeup": signal.set_wakeup_fd(-1),
        "logging": [repr(logging.root.handlers), logging.root.level, logging.root.manager.disable,
                    logging.getLoggerClass().__name__, logging.raiseExceptions, sorted(quiet)],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "hooks": [sys.excepthook is sys.__excepthook__, threading.excepthook.__name__],
        "directory": os.getcwd(), "umask": os.umask(0o22), "environment": dict(os.environ),
        "limits": sys.getrecursionlimit(),
    }

before = facts()
import dedupe
imported = facts()
key = dedupe.MatchKey.from_columns("guests", "name")
run = dedupe.scan(sys.argv[1], key, run=sys.argv[2])
list(run.groups())
called = facts()
with open(sys.argv[3], "w") as out:
    json.dump([before, imported, called], out)
"""


def open_files() -> dict[str, str]:
    found = {}
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            found[entry.name] = str(entry.readlink())
        except OSError:
            # It was the listing itself.
            continue
    return found


@contextmanager
def nothing_left(connection: Connection, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Check that the block leaves no thread, file, session or word behind."""
    files, threads = open_files(), set(threading.enumerate())
    capfd.readouterr()
    yield
    assert capfd.readouterr() == ("", "")
    assert set(threading.enumerate()) == threads
    assert open_files() == files
    assert sessions(connection) == []


@pytest.mark.usefixtures("guests")
def test_a_process_stays_as_it_was(database: str, tmp_path: Path) -> None:
    """Scenario: a fresh interpreter imports the library and scans.
    Outcome: its signal handlers, logging, hooks, threads, directory and environment are the
    same before, after the import and after the scan; nothing is printed.
    """
    facts = tmp_path / "facts.json"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CALLER, database, str(tmp_path / "run"), str(facts)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    before, imported, called = json.loads(facts.read_text())
    assert imported == before
    assert called == before


def test_a_scan_leaves_nothing_behind(
    database: str, guests: Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with nothing_left(guests, capfd):
        run = scan(database, KEY, tmp_path / "run", jobs=4)
        assert groups_found(run) == guests_in_heap(guests)
        # Groups that are not read to their end are let go of, too.
        groups = run.groups()
        assert next(groups).members[0].key
        groups.close()
        del groups


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scan show its progress at every turn, so that a short phase is seen."""
    monkeypatch.setattr(telling, "_EVERY", 0.0)


class Bell(Exception):
    """What the caller's own function raises."""


@pytest.mark.usefixtures("talkative")
@pytest.mark.parametrize("phase", list(RunStatus)[:4])
def test_an_error_of_the_caller_leaves_nothing_behind(
    database: str, guests: Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    phase: RunStatus,
) -> None:  # fmt: skip
    """Scenario: on_progress raises in each phase, with workers in the middle of their work.
    Outcome: the caller gets that very error, nothing is left, and the run goes on.
    """

    def ring(event: Progress) -> None:
        if event.phase is RunStatus.SCANNING and event.rows:
            with psycopg.connect(database) as connection:
                connection.execute("UPDATE guests SET filler = 'y' WHERE id = 1")
        if event.phase is phase and (event.rows or phase is RunStatus.SCANNING):
            raise Bell

    with nothing_left(guests, capfd):
        with pytest.raises(Bell) as caught:
            scan(database, KEY, tmp_path / "run", jobs=3, nice=20, on_progress=ring)
        # The traceback's frames hold on to what they worked with.
        del caught
        assert groups_found(scan(database, KEY, tmp_path / "run")) == guests_in_heap(guests)


@pytest.mark.usefixtures("talkative")
def test_a_failure_leaves_nothing_behind(
    database: str, guests: Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Scenario: the table is dropped under the scan, or a key expression fails on a row."""
    guests.execute("INSERT INTO guests VALUES (5000, '0', '')")
    failing = MatchKey.from_columns("guests", "1 / (id - 5000)")

    def drop(event: Progress) -> None:
        if event.rows:
            guests.execute("DROP TABLE IF EXISTS guests")

    with nothing_left(guests, capfd):
        with pytest.raises(DedupeError, match="division by zero"):
            scan(database, failing, tmp_path / "failing", jobs=3)
        with pytest.raises(DedupeError):
            scan(database, KEY, tmp_path / "dropped", jobs=3, nice=100, on_progress=drop)


@pytest.mark.usefixtures("talkative")
@pytest.mark.parametrize("phase", list(RunStatus)[:3])
def test_stop_from_another_thread(
    database: str, guests: Connection, tmp_path: Path, phase: RunStatus
) -> None:
    """Scenario: another thread calls Run.stop in each phase.
    Outcome: scan returns the unfinished run within about a second; the same call goes on.
    """
    asked: list[float] = []
    threads: list[threading.Thread] = []

    def stop(run: Run) -> None:
        time.sleep(0.05)
        asked.append(time.monotonic())
        run.stop()

    def look(event: Progress) -> None:
        if event.phase is RunStatus.SCANNING and event.rows:
            with psycopg.connect(database) as connection:
                connection.execute("UPDATE guests SET filler = 'y' WHERE id = 1")
        if event.phase is phase and not threads and (event.rows or phase is RunStatus.SCANNING):
            threads.append(threading.Thread(target=stop, args=(event.run,)))
            threads[0].start()
            if phase is RunStatus.CONFIRMING:
                # So few candidates are confirmed before the other thread wakes up.
                threads[0].join()

    # Only a pass that is stopped in its middle needs to be slow.
    nice = 10 if phase is RunStatus.CONFIRMING else 100
    run = scan(database, KEY, tmp_path / "run", jobs=2, nice=nice, on_progress=look)
    took = time.monotonic() - asked[0]
    threads[0].join()
    assert took < STOP_SECONDS
    assert run.status is RunStatus.INTERRUPTED
    with pytest.raises(UsageError):
        run.groups()
    finished = scan(database, KEY, tmp_path / "run")
    assert finished.status is RunStatus.FINISHED
    assert groups_found(finished) == guests_in_heap(guests)


def test_a_statement_that_takes_long_is_stopped(
    database: str, guests: Connection, tmp_path: Path
) -> None:
    """Scenario: a single chunk takes a minute, and a stop is asked for in its middle."""
    guests.execute(
        "CREATE FUNCTION slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN IF $1 = 'name 5' THEN PERFORM pg_sleep(60); END IF; RETURN $1; END $$"
    )
    asked: list[float] = []

    def look(event: Progress) -> None:
        if not asked and event.seconds > 1:
            asked.append(time.monotonic())
            event.run.stop()

    run = scan(
        database, MatchKey.from_columns("guests", "slow(name)"), tmp_path / "run", on_progress=look
    )
    assert time.monotonic() - asked[0] < STOP_SECONDS
    assert run.status is RunStatus.INTERRUPTED
    assert sessions(guests) == []


def test_a_stop_while_waiting_for_an_earlier_client(
    database: str, guests: Connection, tmp_path: Path
) -> None:
    """Scenario: a killed client's session is still on the server, and the stop comes at once."""
    unfinished = scan(database, KEY, tmp_path / "run", on_progress=lambda event: event.run.stop())
    asked: list[float] = []

    def look(event: Progress) -> None:
        if event.message and "earlier client" in event.message:
            asked.append(time.monotonic())
            event.run.stop()

    with psycopg.connect(database, application_name=f"pgmend {unfinished.id}"):
        run = scan(database, KEY, tmp_path / "run", on_progress=look)
        assert time.monotonic() - asked[0] < STOP_SECONDS
        assert run.status is RunStatus.INTERRUPTED
    assert groups_found(scan(database, KEY, tmp_path / "run")) == guests_in_heap(guests)
