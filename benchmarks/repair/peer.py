"""The peer: what somebody who knows PostgreSQL well would write by hand, without a way back.

Every statement works on sets, and all but the build of the index is one transaction. No
plan is made row by row: a map of losers to survivors is joined by hash to each table.
For groups of two that is all it takes; nothing is journaled, and nobody else could use
the tables meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from ..failure import BenchmarkFailed
from ..measure import OWN_NAME
from .tables import INDEX

#: what the rows of a group are found by; the time of a search is compared with no repair's
FIND = "find"
_FIRST_CHANGE = "delete colliding favourites"

#: settings of its session: memory for its hashes, and no index that may lie
_SETTINGS = (
    "SET work_mem = '256MB'",
    "SET maintenance_work_mem = '1GB'",
    "SET enable_indexscan = off",
    "SET enable_indexonlyscan = off",
    "SET enable_bitmapscan = off",
)
#: the server takes the lying index at its word and stops at the first row with a uri;
#: of an expression over it, it knows nothing
_STEPS = {
    "lock": "LOCK TABLE statuses, favourites, media, reports IN SHARE ROW EXCLUSIVE MODE",
    FIND: """
        CREATE TEMP TABLE members ON COMMIT DROP AS
        WITH twice AS MATERIALIZED (
            SELECT uri, min(id) AS survivor FROM statuses GROUP BY uri HAVING count(*) > 1)
        SELECT s.id, t.survivor FROM twice t JOIN statuses s ON s.uri || '' = t.uri
        """,
    "map": """
        CREATE TEMP TABLE map ON COMMIT DROP AS
        SELECT id AS loser, survivor FROM members WHERE id <> survivor;
        ANALYZE map
        """,
    _FIRST_CHANGE: """
        DELETE FROM favourites f USING map m, favourites s
        WHERE f.status_id = m.loser AND s.status_id = m.survivor AND s.account_id = f.account_id
        """,
    "re-point favourites": """
        UPDATE favourites f SET status_id = m.survivor FROM map m WHERE f.status_id = m.loser
        """,
    "re-point media": """
        UPDATE media f SET status_id = m.survivor FROM map m WHERE f.status_id = m.loser
        """,
    "re-point reports": """
        UPDATE reports r SET target_id = m.survivor FROM map m
        WHERE r.target_type = 'Status' AND r.target_id = m.loser
        """,
    "delete losers": "DELETE FROM statuses s USING map m WHERE s.id = m.loser",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way to keep the foreign keys' checks from reading ``media`` once for every loser."""

    name: str
    #: what helps, within the transaction and before anything else
    help: str
    #: what takes the help away again at its end
    unhelp: str | None
    #: whether the help needs the indexes: the checks find their rows by them
    checks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOutcome:
    """One run of one of them."""

    name: str
    #: seconds of every step, in their order
    steps: Mapping[str, float]
    #: rows that each step changed
    rows: Mapping[str, int]

    @property
    def seconds(self) -> float:
        """Seconds of all steps but the search for the groups."""
        return sum(seconds for step, seconds in self.steps.items() if step != FIND)


#: an index for the time of the repair
BY_INDEX = Peer(
    name="SQL, an index on media",
    help="CREATE INDEX pgmend_benchmark_media ON media (status_id)",
    unhelp="DROP INDEX pgmend_benchmark_media",
    checks=True,
)
#: no checks at all: the statements before have seen to it that there is nothing to find
BY_ROLE = Peer(
    name="SQL, without checks",
    help="SET LOCAL session_replication_role = replica",
    unhelp=None,
    checks=False,
)
PEERS = (BY_INDEX, BY_ROLE)


def run(peer: Peer, dsn: str) -> PeerOutcome:
    """Repair the tables of a database. Raises BenchmarkFailed."""
    steps: dict[str, float] = {}
    rows: dict[str, int] = {}
    try:
        with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:

            def step(name: str, statement: str) -> None:
                started = time.monotonic()
                changed = connection.execute(sql.SQL(statement)).rowcount
                steps[name] = time.monotonic() - started
                if statement.lstrip().startswith(("DELETE", "UPDATE")):
                    rows[name] = changed

            for setting in _SETTINGS:
                connection.execute(sql.SQL(setting))
            step("begin", "BEGIN")
            step("help", peer.help)
            for name, statement in _STEPS.items():
                if peer.checks and name == _FIRST_CHANGE:
                    # From here on the checks' own statements are planned.
                    step("let checks use indexes", "RESET enable_indexscan")
                step(name, statement)
            if peer.unhelp:
                step("take the help away", peer.unhelp)
            step("commit", "COMMIT")
            step("build the index", f"REINDEX INDEX {INDEX}")
    except psycopg.Error as error:
        raise BenchmarkFailed(f"{peer.name} failed: {str(error).strip()}") from error
    return PeerOutcome(name=peer.name, steps=steps, rows=rows)
