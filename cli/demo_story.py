"""The story that ``pgmend demo`` tells: damage, denial, a killed scan, repair, and undo."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dedupe import DedupeError, Run, RunStatus
from dedupe.errors import FailureError
from dedupe.lab import Damage, Proof, build_favourites, build_statuses, prove, server

from .exits import ExitCode
from .output import aligned, counted, note, one_line

INDEX = "index_statuses_on_uri"
#: seconds that the scan is slowed down to, so that it has a middle to be killed in
_MIDDLE_SECONDS = 8.0
#: share of the scan at which it is killed
_HALFWAY = 0.35
_PATIENCE_SECONDS = 60.0


def tell(rows: int) -> bool:
    """Tell the story over ``rows`` rows; True if all of it went as it should.

    pgmend found just what was planted, the repair lost nothing, the index holds, and the
    undo put back every row.

    Starts a server of its own and leaves nothing behind. Raises LabError,
    FailureError.
    """
    with tempfile.TemporaryDirectory(prefix="pgmend-demo-") as place:
        _say("1. A PostgreSQL server of its own, and a table of Mastodon's shape")
        started = time.monotonic()
        with server() as lab:
            dsn = lab.create_database("demo")
            manifest = build_statuses(
                dsn, rows, duplicate_rate=0.002, kind=Damage.LOST_ENTRIES
            )
            planted = manifest.indexes[INDEX]
            favourites = build_favourites(dsn)
            print(
                f"   PostgreSQL {lab.version // 10000}.{lab.version % 10000}; statuses with"
                f" {rows:,} rows and {favourites:,} favourites of them, made in"
                f" {time.monotonic() - started:.0f} s.\n"
                f"   Its unique index {INDEX} lost entries; behind its back came rows with"
                f" the same uri."
            )
            _say("2. What ordinary queries say")
            proof = prove(dsn, "statuses", "uri", where="uri IS NOT NULL")
            _show(proof)
            scans = _Commands(url=lab.url("demo"), where=Path(place))
            _say("3. A scan, killed with SIGKILL halfway")
            scans.kill_halfway(rows)
            _say("4. The same command again: it goes on where it was")
            run = scans.finish()
            found = _compare(run, proof, [set(map(int, group)) for group in planted.groups])
            return found and _mend(scans, dsn, proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commands:
    """The commands of the story, each a ``pgmend`` process of its own."""

    #: the database
    url: str
    #: an empty directory to work in
    where: Path

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.where / "demo-run"

    def kill_halfway(self, rows: int) -> None:
        """Start a gentle scan and kill it. Raises FailureError when it cannot be caught."""
        work = 0.05 + rows * 0.8e-6
        nice = f"{max(0.0, _MIDDLE_SECONDS / work - 1):.1f}"
        process = self._scan("--nice", nice, "--jobs", "1")
        try:
            end = time.monotonic() + _PATIENCE_SECONDS
            while self._fraction() < _HALFWAY:
                if process.poll() is not None or time.monotonic() > end:
                    raise FailureError(
                        "the scan could not be killed halfway: it"
                        + (" did not get on" if process.poll() is None else " ended before"),
                        hint="Try pgmend demo with another number of --rows.",
                    )
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        # The bar stopped in the middle of its line.
        note("")
        print(f"   Killed. Its last checkpoint stands at {self._fraction():.0%}.", flush=True)

    def finish(self) -> Run:
        """Run the scan to its end. Raises FailureError."""
        code = self._scan().wait()
        if code not in (ExitCode.OK, ExitCode.FOUND):
            raise FailureError(f"the scan ended with exit code {code}")
        return Run.open(self.run)

    def run_one(self, *words: str) -> None:
        """Run one command to its end. Raises FailureError unless it ends with 0."""
        code = self._start(*words).wait()
        if code != ExitCode.OK:
            raise FailureError(f"pgmend {words[0]} ended with exit code {code}")

    def _fraction(self) -> float:
        try:
            return Run.open(self.run).fraction
        except DedupeError:
            return 0.0

    def _scan(self, *options: str) -> subprocess.Popen[bytes]:
        return self._start("scan", "--index", INDEX, "--run", self.run.name, *options)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        print(f"   $ {shlex.join(['pgmend', *words])}", flush=True)
        # What the surroundings say about databases and settings is not meant for the demo's.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PG") and name != "DATABASE_URL"
        }
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            cwd=self.where,
            env={**kept, "DATABASE_URL": self.url, "PYTHONPATH": os.pathsep.join(sys.path)},
        )


def _mend(commands: _Commands, dsn: str, proof: Proof) -> bool:
    """Plan, repair, verify and undo; True if the index held and every row came back."""
    run = commands.run.name
    before = _fingerprints(dsn)
    _say("6. A plan: which row of each group stays, and what points at the others")
    commands.run_one("plan", run, "--keep", "oldest", "--samples", "2")
    _say("7. The repair: favourites are re-pointed, duplicates go, the index is rebuilt")
    commands.run_one("repair", run, "--execute")
    _say("8. A second look, and the same questions as before")
    commands.run_one("verify", run)
    mended = prove(dsn, "statuses", "uri", where="uri IS NOT NULL")
    lines = [
        ("rows, whoever answers", proof.count_says, mended.count_says),
        ("rows in the heap", proof.heap_rows, mended.heap_rows),
        ("groups of duplicates in the heap", proof.heap_says, mended.heap_says),
    ]
    for line in aligned(("question", "before", "after"), lines):
        print(f"   {line}")
    _say("9. The way back")
    commands.run_one("undo", run, "--execute")
    healthy = mended.heap_says == 0 and mended.count_says == mended.heap_rows
    back = _fingerprints(dsn) == before
    if healthy and back:
        print("\nThe index told the truth again, and then every row came back, to the byte.")
    else:
        print(
            "\n"
            + ("" if healthy else "The key does not hold after the repair. ")
            + ("" if back else "Not every row came back. ")
            + "This is a bug; please report it."
        )
    return healthy and back


def _fingerprints(dsn: str) -> list[tuple[Any, ...]]:
    """Digest every row of both tables, through no index."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "SET enable_indexscan = off; SET enable_indexonlyscan = off;"
            " SET enable_bitmapscan = off"
        )
        return connection.execute(
            "SELECT count(*), sum(hashtextextended(s::text, 0)) FROM statuses s UNION ALL"
            " SELECT count(*), sum(hashtextextended(f::text, 0)) FROM favourites f"
        ).fetchall()


def _say(title: str) -> None:
    print(f"\n{title}", flush=True)


def _show(proof: Proof) -> None:
    """Print the three answers beside each other."""
    key = one_line(proof.key[0])
    shown = key if len(key) <= 40 else f"{key[:37]}..."
    rows = [
        (f"SELECT … WHERE uri = '{shown}'", "the index", _count(proof.index_says, "row")),
        (
            "SELECT uri … GROUP BY uri HAVING count(*) > 1",
            proof.group_by_reads,
            _count(proof.group_by_says, "group"),
        ),
        (
            "SELECT count(*) FROM statuses WHERE uri IS NOT NULL",
            "the planner's choice",
            _count(proof.count_says, "row"),
        ),
        ("the first of them, indexes switched off", "the heap", _count(proof.key_rows, "row")),
        ("the second", "the heap", _count(proof.heap_says, "group")),
        ("the third", "the heap", _count(proof.heap_rows, "row")),
    ]
    for line in aligned(("question", "who answers", "answer"), rows):
        print(f"   {line}")


def _compare(run: Run, proof: Proof, planted: list[set[int]]) -> bool:
    """Compare what was found with what was planted, and print it."""
    _say("5. What was planted, what ordinary queries admit, what pgmend found")
    found = [
        {int(str((member.pk or {})["id"])) for member in group.members} for group in run.groups()
    ]
    same = sorted(map(sorted, found)) == sorted(map(sorted, planted))
    one = _count(proof.index_says, "row")
    for line in aligned(
        ("index says", "GROUP BY says", "heap says", "pgmend found", "planted"),
        [
            (
                f"{one} for a key of {proof.key_rows}",
                _count(proof.group_by_says, "group"),
                _count(proof.heap_says, "group"),
                _count(len(found), "group"),
                _count(len(planted), "group"),
            )
        ],
    ):
        print(f"   {line}")
    key = run.keys[0]
    if same and run.status is RunStatus.FINISHED:
        print(
            f"\nEvery planted group was found, row for row, and nothing else:"
            f" {key.rows_in_groups:,} rows, {key.surplus_rows:,} more than unique,"
            f" in {run.seconds:.1f} s of work over a SIGKILL."
        )
        if proof.count_says < proof.heap_rows:
            print("Even count(*) asked the index, and missed the rows that it lost.")
    else:
        print("\nWhat was found is not what was planted: this is a bug; please report it.")
    return same


def _count(number: int | None, what: str) -> str:
    return f"no {what}" if number is None else counted(number, what)
