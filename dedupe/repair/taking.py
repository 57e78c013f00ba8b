"""Which rows a batch takes: its temporary tables, the locks, the re-check, the losers."""

from __future__ import annotations

from ..errors import RunMismatch
from ..journal import SCHEMA
from ..relation import Relation
from ..session import Session
from ..surroundings import Reference
from ..writer import Writer
from .pointing import LOSER, at, matches

#: why a group is left for the next round
CHANGED = "a row was changed since the plan"
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
        ("pgmend_seen", "child int8, level int4, relid oid, place tid"),
        (
            "pgmend_known",
            ("target int4, level int4, relid oid, place tid, keeper tid, grp int4, int8 int8,"
            " uuid uuid"),
        ),
    )
) + tuple(
    # Nobody analyzes them, so the planner takes them for small; by index it does no harm.
    f"CREATE INDEX IF NOT EXISTS {name}_{column} ON pg_temp.{name} ({table}, {column})"
    for name, table, column in (
        ("pgmend_locked", "relid", "place"),
        ("pgmend_loser", "relid", "place"),
        ("pgmend_loser", "keeper_relid", "keeper"),
        ("pgmend_move", "relid", "place"),
    )
)


def lock_rows(leaf_sql: str, leaf_oid: int) -> str:
    """Write the statement that locks the rows of a batch in one leaf.

    Parameters: run, round, the turn before the first, the last turn.
    """
    return (
        f"WITH w AS MATERIALIZED (SELECT place FROM {SCHEMA}.work WHERE run = $1::text"
        f" AND round = $2::int4 AND turn > $3::int4 AND turn <= $4::int4 AND relid = {leaf_oid}"
        " ORDER BY place), l AS MATERIALIZED (SELECT t.tableoid AS relid, t.ctid AS place,"
        f" t.xmin::text AS version FROM w JOIN ONLY {leaf_sql} t ON t.ctid = w.place"
        " FOR UPDATE OF t) INSERT INTO pg_temp.pgmend_locked SELECT * FROM l"
    )


#: The survivor of a group of which a part has had its turn. Parameters: run, round, the last
#: turn before.
CONTINUED = (
    "SELECT s.grp, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),"
    f" s.place::text, s.version FROM {SCHEMA}.work w"
    f" JOIN {SCHEMA}.work s ON s.run = w.run AND s.round = w.round AND s.grp = w.grp"
    " AND s.ordinal = 0 JOIN pg_catalog.pg_class c ON c.oid = s.relid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE w.run = $1::text AND w.round = $2::int4 AND w.turn = $3::int4 + 1"
    " AND s.turn <= $3::int4 LIMIT 1"
)


def take_survivor(writer: Writer, run: str, round_: int, after: int) -> int | None:
    """Lock the row that stays of a group that goes on behind turn ``after``; return the group.

    If the row was changed since the plan, nothing more is done about the group in this round.
    """
    found = writer.rows(CONTINUED, [run, round_, after])
    if not found:
        return None
    group, leaf, place, version = found[0]
    locked = writer.rows(
        f"SELECT xmin::text FROM ONLY {leaf} WHERE ctid = $1::tid FOR UPDATE", [place]
    )
    if locked != [(version,)]:
        writer.rows(
            f"INSERT INTO {SCHEMA}.skipped VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            [run, round_, group, CHANGED],
        )
    return int(group)


def joining(root: Relation, reference: Reference) -> str:
    """Write the statement that gives groups a turn whose rows reference rows that go in it.

    ``reference`` is one of the table to itself. Parameters: run, round, turn.
    """
    mine = "{0}.run = $1::text AND {0}.round = $2::int4"
    return (
        f"UPDATE {SCHEMA}.work w SET turn = $3::int4 FROM (SELECT DISTINCT d.grp"
        f" FROM {SCHEMA}.work l JOIN {root.source} p ON {at('p', root, 'l.relid', 'l.place')}"
        f" JOIN {root.source} c ON {matches(reference, root, root, 'p', 'c')}"
        f" JOIN {SCHEMA}.work d ON d.relid = c.tableoid AND d.place = c.ctid"
        f" AND {mine.format('d')} AND d.turn > $3::int4"
        f" WHERE {mine.format('l')} AND l.turn = $3::int4 AND l.ordinal > 0) x"
        f" WHERE {mine.format('w')} AND w.turn > $3::int4 AND w.grp = x.grp"
    )


#: Groups of which a row is not the one that was planned; parameters as for ``lock_rows``.
SKIP_CHANGED = (
    f"INSERT INTO {SCHEMA}.skipped SELECT DISTINCT w.run, w.round, w.grp,"
    f" '{CHANGED}' FROM {SCHEMA}.work w"
    " LEFT JOIN pg_temp.pgmend_locked l"
    " ON l.relid = w.relid AND l.place = w.place AND l.version = w.version"
    " WHERE w.run = $1::text AND w.round = $2::int4 AND w.turn > $3::int4 AND w.turn <= $4::int4"
    " AND l.place IS NULL ON CONFLICT DO NOTHING"
)
#: The rows that the plan lets go; parameters as for ``lock_rows``.
ROOT_LOSERS = (
    f"INSERT INTO {LOSER} SELECT w.relid, w.place, s.relid, s.place, w.grp, 0"
    f" FROM {SCHEMA}.work w JOIN {SCHEMA}.work s"
    " ON s.run = w.run AND s.round = w.round AND s.grp = w.grp AND s.ordinal = 0"
    " WHERE w.run = $1::text AND w.round = $2::int4 AND w.turn > $3::int4 AND w.turn <= $4::int4"
    f" AND w.ordinal > 0 AND NOT EXISTS (SELECT FROM {SCHEMA}.skipped k"
    " WHERE k.run = w.run AND k.round = w.round AND k.grp = w.grp)"
)
#: Follow keepers that became losers themselves; repeat until nothing is changed.
RESOLVE_KEEPERS = (
    f"UPDATE {LOSER} l SET keeper_relid = k.keeper_relid, keeper = k.keeper"
    f" FROM {LOSER} k WHERE l.keeper_relid = k.relid AND l.keeper = k.place"
)


def count_skipped(session: Session, run: str, round_: int) -> int:
    """Return how many groups of a round were left as they are."""
    (count,) = session.row(
        f"SELECT count(*) FROM {SCHEMA}.skipped WHERE run = $1::text AND round = $2::int4",
        [run, round_],
    )
    return int(count)


def stuck(session: Session, run: str, round_: int) -> bool:
    """Tell whether just what could not be repaired in the round before could not in this."""
    (now, before) = session.row(
        "SELECT array_agg(reason ORDER BY reason) FILTER (WHERE round = $2::int4),"
        " array_agg(reason ORDER BY reason) FILTER (WHERE round = $2::int4 - 1)"
        f" FROM {SCHEMA}.skipped WHERE run = $1::text",
        [run, round_],
    )
    return now is not None and now == before and CHANGED not in now


def check_heaps(writer: Writer, run: str, round_: int) -> None:
    """Raise RunMismatch if a heap was rewritten since the scan of a round.

    To be asked under the locks that the rows are taken with: nobody rewrites then. Rows
    that one transaction wrote share their xmin, so address and version alone would take
    one of them for another.
    """
    found = writer.rows(
        "SELECT n.nspname || '.' || c.relname, h.filenode, pg_catalog.pg_relation_filenode(c.oid)"
        f" FROM {SCHEMA}.heap h JOIN pg_catalog.pg_class c ON c.oid = h.relid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE h.run = $1::text AND h.round = $2::int4"
        " AND pg_catalog.pg_relation_filenode(c.oid) <> h.filenode",
        [run, round_],
    )
    if found:
        name, expected, now = found[0]
        raise RunMismatch(
            f"{name} was rewritten since its scan (VACUUM FULL, CLUSTER, TRUNCATE or ALTER TABLE):"
            " its rows have new addresses",
            hint="What was repaired before stays and is journaled. Scan again into another run"
            " directory, then plan and repair.",
            field="relfilenode",
            expected=expected,
            found=now,
        )


def rewritten_heaps(writer: Writer, run: str, batch: int) -> list[int]:
    """List the heaps that were rewritten since a batch: addresses mean other rows there."""
    return [
        oid for (oid,) in writer.rows(
            "SELECT h.key::int8 FROM (SELECT heaps::jsonb AS heaps"
            f" FROM {SCHEMA}.batch WHERE run = $1::text AND number = $2::int4) b"
            " CROSS JOIN LATERAL pg_catalog.jsonb_each_text(b.heaps) h (key, value)"
            " WHERE pg_catalog.pg_relation_filenode(h.key::oid)"
            " IS DISTINCT FROM h.value::oid ORDER BY 1",
            [run, batch],
        )
    ]
