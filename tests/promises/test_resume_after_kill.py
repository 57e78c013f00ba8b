"""A run survives whatever ends its client or its server, at any moment.

Nothing is lost, nothing is counted twice, and a kill costs seconds of work.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dedupe import MatchKey, Run, RunStatus, scan
from dedupe.lab import Server

from .heap import Connection, groups_found, groups_in_heap, observer

SLOW = os.environ.get("PGMEND_SLOW") == "1"
ROOT = Path(__file__).parents[2]
#: another one every time; a failure prints it
SEED = int(os.environ.get("PGMEND_SEED", "0")) or random.randrange(1, 1_000_000)
#: how many clients are killed in each phase, and while they still start
KILLS = (
    {"scanning": 25, "sweeping": 10, "confirming": 10, "starting": 5}
    if SLOW
    else {"scanning": 5, "sweeping": 2, "confirming": 2, "starting": 1}
)
#: seconds of work that a kill may cost
LOST_SECONDS = 5.0
ROWS = 120_000
COLUMNS = ("name", "code")
KEYS = [MatchKey.from_columns("crowd", column) for column in COLUMNS]
#: seconds of sleep for one of reading, so that a small table has a middle
NICE = {"scanning": 100.0, "sweeping": 30.0, "confirming": 8.0, "starting": 60.0}

CLIENT = """
import sys, dedupe
def show(event):
    print(event.phase.value, event.fraction, event.bytes_spilled, flush=True)
run = dedupe.scan(
    sys.argv[1],
    [dedupe.MatchKey.from_columns("crowd", column) for column in ("name", "code")],
    run=sys.argv[2], nice=float(sys.argv[3]), memory="8MiB", on_progress=show,
)
print(run.status.value, 1.0, run.spill_bytes, flush=True)
"""


@dataclass
class Seen:
    """What a client has shown."""

    phase: str = "starting"
    fraction: float = 0.0
    spilled: int = 0
    #: when its work on the pass began
    begun: float = 0.0
    #: when the spill grew, and to which length: what was read before then is in it
    grown: list[tuple[float, int]] = field(default_factory=list)

    def take(self, line: str) -> None:
        phase, fraction, spilled = line.split()
        if self.phase == "starting" and phase == "confirming":
            # Where the last client was; this one has to sweep first.
            return
        now = time.monotonic()
        if self.phase != phase != "confirming":
            self.begun = now
        if int(spilled) != self.spilled:
            self.grown.append((now, int(spilled)))
        self.phase, self.fraction, self.spilled = phase, float(fraction), int(spilled)

    def lost(self, now: float, kept: int) -> float:
        """Return the seconds of work that a kill costs where ``kept`` bytes of spill stay."""
        if self.phase != "scanning":
            # A sweep is begun anew.
            return now - self.begun
        return now - max([self.begun, *(at for at, length in self.grown if length <= kept)])


class Client:
    """A scan in a process of its own."""

    def __init__(self, dsn: str, run: Path, nice: float) -> None:
        self.seen = Seen()
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, dsn, str(run), str(nice)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith("\n"):
                # The kill met it in the middle of a line.
                break
            with self.changed:
                self.seen.take(line)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def reach(self, phase: str, share: float = 0.0) -> bool:
        """Wait for a phase and a share of the whole work; False when the client ended before."""
        order = ["starting", *(status.value for status in RunStatus)]

        def there() -> bool:
            if not self._reader.is_alive():
                return True
            now, wanted = order.index(self.seen.phase), order.index(phase)
            return now > wanted or (now == wanted and self.seen.fraction >= share)

        with self.changed:
            assert self.changed.wait_for(there, timeout=60), self.seen
        return self.process.poll() is None

    def end(self, *, kill: bool = False) -> str:
        """Wait for the end, or bring it about; returns what was written to stderr."""
        if kill:
            self.process.kill()
        self.process.wait(timeout=60)
        self._reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stdout, self.process.stderr:
            return self.process.stderr.read()


@contextmanager
def client(dsn: str, run: Path, nice: float) -> Iterator[Client]:
    started = Client(dsn, run, nice)
    try:
        yield started
    finally:
        if started.process.returncode is None:
            started.end(kill=True)


def crowd(connection: Connection) -> None:
    """Make a table with pairs of names and threes of some codes, far apart, and NULLs."""
    connection.execute(
        f"""
        CREATE TABLE crowd (id int8 PRIMARY KEY, name text, code int8, filler text);
        INSERT INTO crowd SELECT n, 'name ' || n % {ROWS * 2 // 3},
            CASE WHEN n % 7 > 0 THEN CASE WHEN n % 50 = 0 THEN n % 1000 ELSE n END END,
            repeat('x', 120) FROM generate_series(1, {ROWS}) n
        """
    )


def insert(values: str, first: int, last: int) -> str:
    return f"INSERT INTO crowd SELECT {ROWS} + n, {values} FROM generate_series({first}, {last}) n"


def write(connection: Connection) -> None:
    """Add, change, move and delete rows, and let new ones take the addresses of old ones."""
    for statement in (
        insert("'name ' || n, n, 'new'", 1, 500),
        insert("'new ' || n % 300, -n % 200, 'new'", 501, 1100),
        "UPDATE crowd SET name = 'name ' || id % 100, code = id % 100 WHERE id % 307 = 0",
        "UPDATE crowd SET filler = repeat('y', 400) WHERE id % 101 = 0",
        "DELETE FROM crowd WHERE id % 211 = 0",
        "VACUUM crowd",
        insert("'late ' || n % 200, n, repeat('z', 120)", 2001, 2600),
        "UPDATE crowd SET filler = repeat('w', 300) WHERE id % 103 = 0",
    ):
        connection.execute(statement)


def crash(server: Server) -> None:
    server.stop("immediate")
    time.sleep(0.2)
    server.start()


def moments(chance: random.Random) -> list[tuple[str, float, float]]:
    """Choose when clients are killed: a phase, the share of the work, seconds after that."""
    main = sorted(chance.uniform(0.0, 0.65) for _ in range(KILLS["scanning"]))
    found = [("scanning", share, chance.uniform(0.0, 2.2)) for share in main]
    late = [phase for phase in ("sweeping", "confirming") for _ in range(KILLS[phase])]
    chance.shuffle(late)
    found += [(phase, 0.0, chance.uniform(0.0, 0.7)) for phase in late]
    for _ in range(KILLS["starting"]):
        place = chance.randrange(len(found))
        found.insert(place, ("starting", 0.0, chance.uniform(0.1, 1.0)))
    return found


@pytest.mark.grows
def test_killed_again_and_again(own_server: Server, tmp_path: Path) -> None:
    """Scenario: SIGKILL at random moments of start, main pass, sweep and confirm; the server
    crashes in each pass, too, and rows are written between two clients.
    Outcome: the groups are those of an uninterrupted run and of the heap, and each kill costs at
    most five seconds of work.
    """
    print(f"PGMEND_SEED={SEED}")
    chance = random.Random(SEED)
    dsn = own_server.create_database("crowd")
    with observer(dsn) as connection:
        crowd(connection)
    run = tmp_path / "run"
    planned = moments(chance)
    crashes = {"scanning", "sweeping", "confirming"}
    lost: list[float] = []
    given_up = 0
    written = False
    while planned:
        phase, share, seconds = planned.pop(0)
        with client(dsn, run, NICE[phase]) as scanning:
            crashed = phase in crashes
            if crashed:
                assert scanning.reach(phase, share), scanning.end()
                crash(own_server)
            if not scanning.reach(phase, share):
                # A client that is still connecting gives up by name; crash the next one's server.
                assert crashed
                assert "dedupe.errors.ServerUnavailable" in scanning.end()
                given_up += 1
                assert given_up < 3
                planned.insert(0, (phase, share, seconds))
                continue
            crashes.discard(phase)
            time.sleep(seconds)
            now = time.monotonic()
            errors = scanning.end(kill=True)
        assert scanning.process.returncode == -9, errors
        assert errors == ""
        seen = scanning.seen
        if seen.phase != "starting":
            cost = seen.lost(now, Run.open(run).spill_bytes)
            print(f"killed in {phase} at {seen.fraction:.3f}: {cost:.2f} s {crashed}")
            lost += [] if crashed else [cost]
        if not written:
            with observer(dsn) as connection:
                write(connection)
            written = True
    assert not crashes
    assert max(lost) <= LOST_SECONDS, lost
    finished = scan(dsn, KEYS, run=run)

    assert finished.status is RunStatus.FINISHED
    whole = scan(dsn, KEYS, run=tmp_path / "whole")
    with observer(dsn) as connection:
        for key in COLUMNS:
            truth = groups_in_heap(connection, "crowd", key)
            assert len(truth) > 1000
            assert groups_found(finished, key) == truth
            assert groups_found(whole, key) == truth
