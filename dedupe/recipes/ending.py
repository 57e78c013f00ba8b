"""What a recipe does when its keys are repaired: counters, other indexes, derived tables."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
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
from .begun import COUNTERS_FILE, VIEWS_FILE, read_counters
from .counting import recount
from .files import read_file, write_file
from .fitting import Fit
from .recipe import Counter

#: the other indexes that were built anew already
_BUILT = "built.json"


def end(
    database: Database,
    fit: Fit,
    path: Path,
    runs: Sequence[str],
    reason: str | None,
    *,
    alone: bool,
    survey: Survey,
) -> int:
    """Do what is left to do after the repair of all keys; returns counters made anew.

    Counters of the rows that ``runs`` touched are counted again, by indexes that ``survey`` found
    good, or from the heap; indexes that are not unique and suffer from the same cause are built
    anew, without blocking anybody unless ``alone``, once for the directory; materialized views are
    refreshed.
    """
    recipe = fit.recipe
    with database.open_writer("pgmend recipe") as writer:
        counted = _recount(writer, fit, path, runs, reason, survey)
        built = read_file(path / _BUILT) if (path / _BUILT).exists() else []
        for name in recipe.rebuild:
            oid = _found(writer, name, "i")
            if oid is not None and name not in built:
                rebuild(writer, oid, lambda _: None, alone=alone)
                built.append(name)
                write_file(path / _BUILT, built)
        views = [
            after.refresh
            for after in recipe.afterwards
            if after.refresh is not None and after.counts_at(fit.versions)
        ]
        write_file(path / VIEWS_FILE, views)
        refresh(writer, views)
    return counted


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
) -> int:
    counting = counters_of(fit)
    if not counting:
        return 0
    by_table = attrgetter("table", "key")
    tables = [list(some) for _, some in groupby(sorted(counting, key=by_table), by_table)]
    names = read_counters(path)
    for table in dict.fromkeys(some[0].table for some in tables):
        mine = names.setdefault(table, [])
        known = journal.find_run(writer, mine[-1]) if mine else None
        # What was taken back stays so in the journal: it is counted again under another name.
        if not mine or (known is not None and known.state not in {"repairing", "repaired"}):
            mine.append(secrets.token_hex(8))
    write_file(path / COUNTERS_FILE, names)
    around = Surroundings(writer)
    return sum(
        recount(writer, around, some, runs, names[some[0].table][-1], reason, survey)
        for some in tables
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
