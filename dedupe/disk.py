"""What a repair takes of the server's disk, by the planner's own estimates.

Source: https://www.postgresql.org/docs/current/catalog-pg-class.html (reltuples, relpages)
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .references import References
from .repair.helpers import finding_index
from .session import Session
from .surroundings import Surroundings

#: bytes of a journal entry beside the values
_ENTRY = 200
#: bytes of an entry of a btree over one or two integers
_INDEX_ENTRY = 20
#: bytes that a server is taken to have, where it cannot be known what it has
_UNASKED = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskNeed:
    """Bytes that a repair takes of the server's disk.

    Estimates, and no more than that: how many rows point at the losers is taken to be
    what it is on the average.
    """

    journal: float
    #: indexes that are dropped again
    helpers: float
    #: the new index beside the old one
    rebuild: float
    #: what is kept of the server's log of all that
    log: float

    @property
    def total(self) -> float:
        """All of it at the worst moment."""
        return self.journal + self.helpers + self.rebuild + self.log

    def __str__(self) -> str:
        return (
            f"the server needs about {_shown(self.journal)} for the journal,"
            f" {_shown(self.helpers)} for indexes that are dropped again,"
            f" {_shown(self.rebuild)} while the index is rebuilt, and {_shown(self.log)} for its"
            " log of all that"
        )


def disk_need(
    around: Surroundings, pointing: Sequence[References], losers: int, index: int | None
) -> DiskNeed:
    """Estimate how much room the journal, the helper indexes and the rebuild take.

    ``pointing``: the references of each policy. What several of them re-point is counted once.
    """
    session = around.session
    root = pointing[0].relations[pointing[0].root]
    families = {
        oid: relation.family for one in pointing for oid, relation in one.relations.items()
    }
    sizes = _sizes(session, families)
    rows, size = sizes[root.oid]
    width = size / rows if rows else 100.0
    journal = losers * (width + _ENTRY)
    helpers = 0.0
    seen: set[tuple[int, int, tuple[str, ...]]] = set()
    for references, r in ((one, r) for one in pointing for r in one.references):
        same = r.child, r.parent, r.columns
        if r.twin or same in seen:
            continue
        seen.add(same)
        child = references.relations[r.child]
        child_rows, _ = sizes[r.child]
        journal += losers * (child_rows / max(rows, 1.0)) * 2 * _ENTRY
        if finding_index(around, r, child) is None:
            helpers += child_rows * _INDEX_ENTRY
    rebuild = 0.0
    if index is not None:
        (rebuild,) = session.row(
            "SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0)::float8"
            " FROM pg_catalog.pg_partition_tree($1::oid::regclass) t",
            [index],
        )
    (most,) = session.row(
        "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))::float8"
    )
    # The journal is logged, and what it is about.
    log = min(most, 2 * journal + helpers + rebuild)
    return DiskNeed(journal=journal, helpers=helpers, rebuild=rebuild, log=log)


def disk_obstacle(session: Session, need: DiskNeed, *, assumed: bool) -> str | None:
    """Say that the server's disk is too small, or that nobody knows whether it is.

    ``assumed``: somebody has looked. A small need is taken to be there.
    """
    found = _free(session)
    if found is None:
        if assumed or need.total < _UNASKED:
            return None
        return (
            f"the repair needs about {_shown(need.total)} of the server's disk, and how much is"
            " free there cannot be known from here: look, then say --yes"
        )
    place, free = found
    if need.total <= free:
        return None
    return (
        f"the repair needs about {_shown(need.total)} of the server's disk, and {_shown(free)} are"
        f" free under {place}"
    )


def _free(session: Session) -> tuple[str, int] | None:
    """Return where the server's files are and what is free there, if it can be known.

    It can where the server is reached by a socket, so that its disk is this machine's, and
    the role may read where its files are; tablespaces are not looked at.
    """
    if not session.connection.info.host.startswith(("/", "@")):
        return None
    told = session.rows(
        "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'"
    )
    try:
        (place,) = told[0]
        return place, shutil.disk_usage(place).free
    except (IndexError, OSError):
        return None


def _sizes(
    session: Session, families: Mapping[int, Collection[int]]
) -> dict[int, tuple[float, float]]:
    """Return rows and bytes of tables with their partitions, as the planner believes them."""
    known = {
        oid: (rows, size)
        for oid, rows, size in session.rows(
            "SELECT c.oid::int8, greatest(c.reltuples, 0)::float8,"
            " pg_catalog.pg_relation_size(c.oid)::float8 FROM pg_catalog.pg_class c"
            " WHERE c.oid = ANY ($1::int8[]::oid[]) AND c.relkind = 'r'",
            [sorted({oid for family in families.values() for oid in family})],
        )
    }
    return {
        table: (
            sum(known[oid][0] for oid in family if oid in known),
            # One that was dropped meanwhile has no size.
            sum(known[oid][1] or 0.0 for oid in family if oid in known),
        )
        for table, family in families.items()
    }


def _shown(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else "less than 1 MB"
