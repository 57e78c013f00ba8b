"""What a recipe does when its keys are repaired: counters, other indexes, derived tables."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from .. import journal
from ..connect import Database
from ..repair.rebuild import rebuild
from ..repair.survey import Survey
from ..session import Session
from ..surroundings import Surroundings
from ..table import quoted
from ..writer import Writer
from .begun import COUNTERS_FILE, VIEWS_FILE, damaged, read_counters
from .counting import recount
from .files import read_file, write_file
from .fitting import Fit
from .labels import is_built, label_of, storage
from .recipe import Counter

#: the other indexes that were built anew already, and which files they are in
_BUILT = "built.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What came of the counters."""

    #: rows whose counters were counted again
    counted: int = 0
    #: rows that others changed each time that they were counted
    uncounted: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Say for people what is left."""
        if not self.uncounted:
            return ()
        told = f"{self.uncounted:,} rows of counters were changed by others each time that they"
        return (f"{told} were counted; given again, the command counts them",)


def end(
    database: Database,
    fit: Fit,
    path: Path,
    runs: Sequence[str],
    reason: str | None,
    *,
    alone: bool,
    survey: Survey,
) -> Ending:
    """Do what is left to do after the repair of all keys.

    Counters of the rows that ``runs`` touched are counted again, by indexes that ``survey`` found
    good, or from the heap; indexes that are not unique and suffer from the same cause are built
    anew, without blocking anybody unless ``alone``, once for the directory; materialized views are
    refreshed.
    """
    recipe = fit.recipe
    with database.open_writer("pgmend recipe") as writer:
        counted = _recount(writer, fit, path, runs, reason, survey)
        built = _read_built(path)
        for name in recipe.rebuild:
            oid = _found(writer, name, "i")
            if oid is None:
                continue
            label = label_of(writer, oid)
            if is_built(writer, label, built.get(name)):
                continue
            rebuild(writer, oid, lambda _: None, alone=alone)
            built[name] = storage(writer, label) or 0
            write_file(path / _BUILT, built)
        views = [
            after.refresh
            for after in recipe.afterwards
            if after.refresh is not None and after.counts_at(fit.versions)
        ]
        write_file(path / VIEWS_FILE, views)
        refresh(writer, views)
    return counted


def _read_built(path: Path) -> dict[str, int]:
    """Read in which files the other indexes were built anew. Raises RunDirectoryDamaged."""
    found = read_file(path / _BUILT) if (path / _BUILT).exists() else {}
    if not isinstance(found, dict):
        raise damaged(path / _BUILT)
    return found


def refresh(writer: Writer, views: Sequence[str]) -> None:
    """Refresh materialized views, those that are there."""
    for name in views:
        if _found(writer, name, "m") is not None:
            with writer.own_path():
                writer.alone(f"REFRESH MATERIALIZED VIEW {quoted(name)}")


def counters_of(fit: Fit) -> list[Counter]:
    """List the counters that this database has."""
    return [
        counter
        for counter in fit.recipe.counters
        if fit.counts(counter, counter.table)
        and all(
            map(
                fit.has,
                (
                    f"{counter.table}.{counter.column}",
                    f"{counter.table}.{counter.key}",
                    f"{counter.of}.{counter.by}",
                    *([counter.parent] if counter.parent is not None else []),
                ),
            )
        )
    ]


def _recount(
    writer: Writer, fit: Fit, path: Path, runs: Sequence[str], reason: str | None, survey: Survey
) -> Ending:
    counting = counters_of(fit)
    by_table = attrgetter("table", "key")
    tables = [list(some) for _, some in groupby(sorted(counting, key=by_table), by_table)]
    names = read_counters(path)
    kept = {f"{some[0].table}.{some[0].key}": some for some in tables}
    for name in kept:
        mine = names.setdefault(name, [])
        known = journal.find_run(writer, mine[-1]) if mine else None
        # What was taken back stays so in the journal: it is counted again under another name.
        if not mine or (known is not None and known.state not in {"repairing", "repaired"}):
            mine.append(secrets.token_hex(8))
    write_file(path / COUNTERS_FILE, names)
    around = Surroundings(writer)
    done = [
        recount(writer, around, some, runs, names[name][-1], reason, survey)
        for name, some in kept.items()
    ]
    return Ending(
        counted=sum(changed for changed, _ in done), uncounted=sum(left for _, left in done)
    )


def _found(session: Session, name: str, kind: str) -> int | None:
    """Return the oid of an index or a materialized view on the role's own search path."""
    with session.transaction(settings={"search_path": session.own_search_path}):
        rows = session.rows(
            "SELECT c.oid::int8 FROM pg_catalog.pg_class c WHERE c.relname = $1::text"
            " AND c.relkind::text = $2::text AND pg_catalog.pg_table_is_visible(c.oid)",
            [name, kind],
        )
    return rows[0][0] if rows else None
