"""Verify: a second, independent look at a repaired table.

Nothing that the repair knew is taken for granted: the heap is scanned anew, references
are resolved by reading both heaps, and the journal is added up.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import journal
from ..connect import Connectable, Database
from ..errors import UnprovenIndex
from ..journal import SCHEMA, KnownRun
from ..key import ResolvedKey, resolve
from ..references import load_references
from ..scan.run import Run
from ..scan.scanner import scan
from ..session import Session
from ..surroundings import Surroundings
from .proof import prove
from .resolving import find_strays, resolve_references
from .telling import OnRepairProgress, Telling
from .undoing import found_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a verification looked at and found."""

    run_id: str
    #: groups that are there
    groups: int
    #: one sentence for each thing that was looked at and is right
    checks: tuple[str, ...]
    #: one sentence for each thing that is not
    findings: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify(
    run: Run | str | Path,
    *,
    db: Connectable | None = None,
    on_progress: OnRepairProgress | None = None,
    stop: threading.Event | None = None,
) -> Verification:
    """Read everything again: the key's rows, the references, the journal, the index.

    ``run`` is a run, its directory, or a run's id (then ``db`` is needed). Reads the heap
    of the table twice and those of referencing tables once for each reference, two at a time;
    writes nothing but to a temporary directory of its own. Locks: ACCESS SHARE. ``stop`` ends
    it between two of these, and the search for groups at once.
    Raises UnknownObject, UsageError, RepairStopped, FailureError.
    """
    telling = Telling(on_progress, stop)
    database, run_id = found_run(run, db)
    checks: list[str] = []
    findings: list[str] = []
    with database.open("pgmend verify") as session:
        known = journal.known_run(session, run_id)
        key = resolve(session, known.asked)
        around = Surroundings(session)
        pointing = [load_references(around, key, policy) for policy in known.policies]
    groups = _look_for_groups(database, known, telling, checks, findings)
    with database.reusing() as reused:
        another = partial(reused.open, "pgmend verify")
        telling.phase("following references")
        with another() as session:
            _add_up(session, known, checks, findings)
        resolve_references(another, pointing, checks, findings, telling)
        find_strays(another, run_id, pointing, checks, findings, telling)
        telling.check_stop()
    with database.open("pgmend verify") as session:
        telling.phase("proving the index")
        _check_index(session, key, checks, findings)
        if journal.undo_begun(session, known):
            findings.append("it was taken back in part, and the key's index may be a plain one")
    return Verification(
        run_id=run_id,
        groups=groups,
        checks=tuple(checks),
        findings=tuple(findings),
    )


def _look_for_groups(
    database: Database,
    known: KnownRun,
    telling: Telling,
    checks: list[str],
    findings: list[str],
) -> int:
    telling.phase("looking for groups")
    with tempfile.TemporaryDirectory(prefix="pgmend-verify-") as place:
        found = scan(database, known.asked, Path(place) / "run", on_progress=telling.follow)
        telling.check_stop()
        groups = found.keys[0].groups
        findings += [
            f"{row.schema}.{row.table}: block {row.block} cannot be read"
            for row in found.unreadable
        ]
    if groups:
        findings.append(f"{groups} groups of duplicates under {known.key_name}")
    else:
        checks.append(f"no two rows of {known.table} are equal under {known.key_name}")
    return groups


def _add_up(
    session: Session, known: KnownRun, checks: list[str], findings: list[str]
) -> None:
    agrees = True
    for number, deleted, changed, d, u in session.rows(
        f"SELECT b.number, b.deleted, b.changed, coalesce(d, 0), coalesce(u, 0) FROM {SCHEMA}.batch"
        " b LEFT JOIN (SELECT e.batch, count(*) FILTER (WHERE action = 'd') AS d,"
        f" count(*) FILTER (WHERE action = 'u') AS u FROM {SCHEMA}.entry e WHERE e.run = $1::text"
        " GROUP BY 1) e ON e.batch = b.number WHERE b.run = $1::text ORDER BY 1",
        [known.id],
    ):
        if (deleted, changed) != (d, u):
            agrees = False
            findings.append(
                f"batch {number} deleted {deleted} and changed {changed} rows; the journal has"
                f" {d} and {u}"
            )
    if agrees:
        checks.append("the journal has an entry for every row that was deleted or changed")


def _check_index(
    session: Session, key: ResolvedKey, checks: list[str], findings: list[str]
) -> None:
    if key.index_oid is None:
        return
    (valid,) = session.row(
        "SELECT indisvalid FROM pg_catalog.pg_index WHERE indexrelid = $1::oid",
        [key.index_oid],
    )
    if not valid:
        findings.append(f"the index {key.name} is not valid")
    try:
        prove(session, key.index_oid)
    except UnprovenIndex as error:
        findings.append(error.message)
    else:
        checks.append(f"the index {key.name} holds just the rows of the heap")
