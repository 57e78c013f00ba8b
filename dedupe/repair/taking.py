"""Which rows a batch takes: its temporary tables, the locks, the re-check, the losers."""

from __future__ import annotations

from ..journal import SCHEMA
from .pointing import LOSER

#: Made once a session; their rows last for one transaction.
TEMPORARY = tuple(
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({columns}) ON COMMIT DELETE ROWS"
    for name, columns in (
        ("pgmend_locked", "relid oid, place tid, version text"),
        (
            "pgmend_loser",
            "relid oid, place tid, keeper_relid oid, keeper tid, grp int4, level int4",
        ),
        ("pgmend_move", "ref int4, relid oid, place tid, parent_relid oid, parent tid, grp int4"),
    )
) + tuple(
    # Nobody analyzes them, so the planner takes them for small; by index it does no harm.
    f"CREATE INDEX IF NOT EXISTS {name}_{column} ON pg_temp.{name} ({column})"
    for name, column in (
        ("pgmend_locked", "place"),
        ("pgmend_loser", "place"),
        ("pgmend_loser", "keeper"),
        ("pgmend_move", "place"),
    )
)


def lock_rows(leaf_sql: str, leaf_oid: int) -> str:
    """Write the statement that locks the rows of a batch in one leaf.

    Parameters: run, round, the group before the first, the last group.
    """
    return (
        f"WITH w AS MATERIALIZED (SELECT place FROM {SCHEMA}.work WHERE run = $1::text"
        f" AND round = $2::int4 AND grp > $3::int4 AND grp <= $4::int4 AND relid = {leaf_oid}"
        " ORDER BY place), l AS MATERIALIZED (SELECT t.tableoid AS relid, t.ctid AS place,"
        f" t.xmin::text AS version FROM w JOIN ONLY {leaf_sql} t ON t.ctid = w.place"
        " FOR UPDATE OF t) INSERT INTO pg_temp.pgmend_locked SELECT * FROM l"
    )


#: Groups of which a row is not the one that was planned; parameters as for ``lock_rows``.
SKIP_CHANGED = (
    f"INSERT INTO {SCHEMA}.skipped SELECT DISTINCT w.run, w.round, w.grp,"
    f" 'a row was changed since the plan' FROM {SCHEMA}.work w"
    " LEFT JOIN pg_temp.pgmend_locked l"
    " ON l.relid = w.relid AND l.place = w.place AND l.version = w.version"
    " WHERE w.run = $1::text AND w.round = $2::int4 AND w.grp > $3::int4 AND w.grp <= $4::int4"
    " AND l.place IS NULL ON CONFLICT DO NOTHING"
)
#: The rows that the plan lets go; parameters as for ``lock_rows``.
ROOT_LOSERS = (
    f"INSERT INTO {LOSER} SELECT w.relid, w.place, s.relid, s.place, w.grp, 0"
    f" FROM {SCHEMA}.work w JOIN {SCHEMA}.work s"
    " ON s.run = w.run AND s.round = w.round AND s.grp = w.grp AND s.ordinal = 0"
    " WHERE w.run = $1::text AND w.round = $2::int4 AND w.grp > $3::int4 AND w.grp <= $4::int4"
    f" AND w.ordinal > 0 AND NOT EXISTS (SELECT FROM {SCHEMA}.skipped k"
    " WHERE k.run = w.run AND k.round = w.round AND k.grp = w.grp)"
)
#: Follow keepers that became losers themselves; repeat until nothing is changed.
RESOLVE_KEEPERS = (
    f"UPDATE {LOSER} l SET keeper_relid = k.keeper_relid, keeper = k.keeper"
    f" FROM {LOSER} k WHERE l.keeper_relid = k.relid AND l.keeper = k.place"
)
