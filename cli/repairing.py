"""What the commands around a repair share: the run, its database, the gate, the work."""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from dedupe import Run
from dedupe.connect import Database
from dedupe.errors import NotARunDirectory, RepairStopped, UsageError

from .config import Config
from .exits import ExitCode
from .options import Connecting
from .output import FORMAT_VERSION, note, one_line, print_json
from .progress import Reporter, Show
from .runs import open_scans
from .stopping import Stopping, same_command

R = TypeVar("R")

#: cluster_name of a server that may be ruined
LAB = "pgmend-lab"
#: the last line of whatever only shows what it would do
NOTHING_WRITTEN = "Nothing was written. Add --execute to do it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """The run that a command line names, and its database."""

    #: as it was written: a run directory, or the id of a run
    text: str
    #: what the directory holds; None where an id was said
    run: Run | None
    database: Database

    @property
    def known(self) -> Run | str:
        """The run as the library takes it."""
        return self.text if self.run is None else self.run

    @property
    def id(self) -> str:
        """The id of the run."""
        return self.text if self.run is None else self.run.id

    def command(self, verb: str, *rest: str) -> str:
        """Write another command about the same run, ready to paste."""
        words = ["pgmend", verb, self.text, *rest]
        target = self.database.where.conninfo()
        if self.run is None or self.run.target.conninfo() != target:
            words += ["-d", target]
        schema = self.database.journal_schema
        known = None if self.run is None else self.run.journal_schema
        if schema not in {None, known}:
            words += ["--journal-schema", str(schema)]
        return shlex.join(words)

    def facts(self) -> dict[str, Any]:
        """Return the fields that every JSON object about a run begins with."""
        return {
            "format_version": FORMAT_VERSION,
            "run": None if self.run is None else str(self.run.path),
            "run_id": self.id,
        }


def run_in(path: Path) -> Run:
    """Open the one run that a directory holds.

    Raises NotARunDirectory, RunDirectoryDamaged, LocalStorageError, and UsageError where
    the scans of several tables are in it.
    """
    scans = open_scans(path)
    if scans.schemas is None:
        return scans.runs[0]
    found = [str(run.path) for run in scans.runs if any(key.groups for key in run.keys)]
    raise UsageError(
        f"{path} holds the scans of several tables; they are repaired one at a time",
        hint=f"Name one of: {', '.join(found)}." if found else "None of them found duplicates.",
        path=path,
    )


def opened(run: Run, text: str, where: Connecting) -> Meant:
    """Open the database of a run, or another one that was said.

    Raises what ``Connecting.open`` raises.
    """
    database = where.open(run.target.conninfo(), run.journal_schema)
    return Meant(text=text, run=run, database=database)


def meant_by(text: str, where: Connecting) -> Meant:
    """Find the run that is meant: a directory, or the id of a run in a database's journal.

    Raises what ``run_in`` and ``opened`` raise.
    """
    path = Path(text)
    if path.is_dir() or len(path.parts) != 1:
        return opened(run_in(path), text, where)
    if not where.named:
        raise NotARunDirectory(
            f"there is no run directory {text}, and no database was named to look for the id in",
            hint="Name the run's directory, or its id and the database: -d NAME|URL|CONNINFO.",
            path=path,
        )
    return Meant(text=text, run=None, database=where.open())


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the server behind a database says of itself."""

    #: user@host:port/database
    place: str
    #: such as 18.6
    version: str
    standby: bool
    #: whether it may be ruined
    lab: bool

    @classmethod
    def of(cls, database: Database) -> Server:
        """Ask the server. Raises ServerUnavailable."""
        where = database.where
        with database.open() as session:
            (name,) = session.row("SELECT pg_catalog.current_setting('cluster_name')")
            return cls(
                place=f"{where.user}@{where.host}:{where.port}/{where.dbname}",
                version=f"{session.version // 10000}.{session.version % 10000}",
                standby=session.standby,
                lab=name == LAB,
            )

    def announce(self, run_id: str, what: str) -> None:
        """Say on stderr, before anything is written, where and what will be; never quiet."""
        role = "standby" if self.standby else "primary"
        note(
            one_line(f"{self.place}, PostgreSQL {self.version}, {role}, run {run_id}: {what}")
        )


def watched(
    label: str,
    work: Callable[[threading.Event, Show], R],
    *,
    quiet: bool,
    verbose: bool,
) -> R | None:
    """Do the work under the eyes of a person; None if it was stopped, which is told.

    ``work`` takes the event that asks it to stop, and where its progress goes.
    """
    stop = threading.Event()
    with Stopping() as stopping, Reporter(label, quiet=quiet, verbose=verbose) as reporter:
        stopping.watch(stop.set)
        try:
            return work(stop, reporter.show)
        except RepairStopped as error:
            said = error.message
        except KeyboardInterrupt:
            said = "let go; what was not committed is rolled back"
    note(f"pgmend: {one_line(said)}")
    note(f"HINT: Go on with: {shlex.join(same_command(sys.argv[1:]))}")
    return None


def ended(
    result: R | None,
    meant: Meant,
    *,
    as_json: bool,
    facts: Callable[[R], dict[str, Any]],
    show: Callable[[R], None],
    found: Callable[[R], bool],
) -> ExitCode:
    """Print what work came to, as JSON or for people, and return the exit code.

    None is work that was stopped. ``found`` says whether something is left.
    """
    if result is None:
        if as_json:
            print_json({**meant.facts(), "status": "interrupted"})
        return ExitCode.STOPPED
    with suppress(BrokenPipeError):
        if as_json:
            print_json(facts(result))
        else:
            show(result)
    return ExitCode.FOUND if found(result) else ExitCode.OK


def triggers_setting(config: Config, given: str | None) -> Literal["fire", "off"]:
    """Return whether triggers fire. Raises UsageError for another word in the settings."""
    value = config.get("repair", "triggers", given, default="fire")
    if value == "fire":
        return "fire"
    if value == "off":
        return "off"
    raise UsageError(f"{config.path}: repair.triggers must be fire or off, not {value!r}")
