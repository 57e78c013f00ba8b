"""What the journal knows of its runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..connect import Connectable, connect
from ..errors import RefusedError, UnknownObject
from ..key import MatchKey
from ..policy import Policy, policies_from_json
from ..relation import Relation
from ..session import Session
from ..table import quoted
from .tables import SCHEMA, exists, standing

#: the event that an undo is about to make the key's index a plain one
MAKE_PLAIN = "make plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """One repair that the journal knows, as one goes on with it."""

    id: str
    #: schema.table
    table: str
    key_name: str
    #: ``repairing``, ``repaired``, ``left`` (groups are left), ``undoing`` or ``undone``
    state: str
    started: datetime
    finished: datetime | None
    #: groups that were repaired in all rounds
    groups: int
    #: why there was no snapshot
    reason: str | None
    #: settings that the images were written under
    settings: Mapping[str, str]
    round: int
    #: groups of the round up to this turn are done
    done: int
    relid: int
    #: the policies of its plan, in their order
    policies: tuple[Policy, ...]
    fingerprint: str
    #: the key as it was named
    asked: MatchKey


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRun(KnownRun):
    """One repair that the journal knows, as it is listed."""

    #: entries that are not undone
    entries: int


#: what makes a ``KnownRun``, of a run ``r``
_FACTS = (
    "r.id, r.table_name, r.key_name, r.state, r.started, r.finished,"
    f" (SELECT coalesce(sum(b.groups), 0)::int8 FROM {SCHEMA}.batch b WHERE b.run = r.id),"
    " r.reason, r.settings, r.round, r.done, r.relid::int8, r.policies, r.fingerprint, r.asked"
)


def find_run(session: Session, run: str) -> KnownRun | None:
    """Return what the journal knows of a run, or None."""
    if not exists(session):
        return None
    rows = session.rows(f"SELECT {_FACTS} FROM {SCHEMA}.run r WHERE r.id = $1::text", [run])
    return KnownRun(**_facts(rows[0])) if rows else None


def changed_between(
    session: Session, runs: Sequence[str]
) -> dict[str, tuple[datetime, datetime]]:
    """Return when each run made its first and its last change; none of one that made none."""
    if not exists(session):
        return {}
    return {
        run: (first, last)
        for run, first, last in session.rows(
            f"SELECT b.run, min(b.at), max(b.at) FROM {SCHEMA}.batch b"
            " WHERE b.run = ANY ($1::text[]) GROUP BY b.run",
            [list(runs)],
        )
    }


def is_unfinished(known: KnownRun | None) -> bool:
    """Tell whether a repair has not begun, or not come to its end."""
    return known is None or known.state == "repairing"


def undo_begun(session: Session, known: KnownRun) -> bool:
    """Tell whether an undo of a repair has begun, in whole or in part."""
    if known.state in {"undoing", "undone"}:
        return True
    (found,) = session.row(
        f"SELECT EXISTS (SELECT FROM {SCHEMA}.event WHERE run = $1::text AND kind = $2::text)"
        f" OR EXISTS (SELECT FROM {SCHEMA}.entry WHERE run = $1::text AND undone)",
        [known.id, MAKE_PLAIN],
    )
    return bool(found)


def _facts(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "id": row[0], "table": row[1], "key_name": row[2], "state": row[3], "started": row[4],
        "finished": row[5], "groups": row[6], "reason": row[7], "settings": json.loads(row[8]),
        "round": row[9], "done": row[10], "relid": row[11],
        "policies": policies_from_json(row[12]), "fingerprint": row[13],
        "asked": MatchKey.from_json(row[14]),
    }


def last_entry(session: Session) -> int:
    """Return the number of the last entry that was committed, over all runs; 0: none."""
    return int(_last(session, f"SELECT coalesce(max(id), 0) FROM {SCHEMA}.entry"))


def last_deletion(session: Session) -> str:
    """Return the number of the last entry of a deleted row, over all runs, and its moment.

    A journal of a backup that was restored may give the number a second time.
    """
    found = _last(
        session,
        f"SELECT coalesce((SELECT e.id || ' ' || coalesce(b.at::text, '')"
        f" FROM {SCHEMA}.entry e LEFT JOIN {SCHEMA}.batch b ON b.run = e.run AND b.number = e.batch"
        " WHERE e.action = 'd' ORDER BY e.id DESC LIMIT 1), '0')",
    )
    return str(found)


def _last(session: Session, query: str) -> Any:
    """Return one value of the entries by their order; 0 without a journal."""
    if not exists(session):
        return 0
    with session.transaction(settings={"enable_indexscan": "on", "enable_indexonlyscan": "on"}):
        (last,) = session.row(query)
    return last


def column_places(
    columns: Sequence[tuple[Relation, str]], runs: Sequence[str]
) -> tuple[str, list[object]]:
    """Write where columns of tables stand in the images of runs' entries; parameters $1 to $4.

    Rows: the number of the column, from 0 (``n``), ``run`` and ``shape`` of the entries, and the
    place in an image (``at``).
    """
    named = [
        (number, oid, column)
        for number, (table, column) in enumerate(columns)
        for oid in sorted(table.family)
    ]
    query = (
        "SELECT k.n, s.run, s.number AS shape,"
        " pg_catalog.array_position(s.columns, k.name) AS at FROM ROWS FROM"
        " (pg_catalog.unnest($1::int4[]), pg_catalog.unnest($2::int8[]::oid[]),"
        " pg_catalog.unnest($3::text[])) k (n, relid, name)"
        f" JOIN {SCHEMA}.shape s ON s.relid = k.relid WHERE s.run = ANY ($4::text[])"
        " AND pg_catalog.array_position(s.columns, k.name) IS NOT NULL"
    )
    return query, [*([one[place] for one in named] for place in range(3)), list(runs)]


def journal_runs(db: Connectable) -> list[JournalRun]:
    """List the repairs that this database's journal knows, the oldest first.

    Raises NotReady (another version's journal).
    """
    with connect(db).open() as session:
        if not exists(session):
            return []
        rows = session.rows(
            f"SELECT {_FACTS}, (SELECT count(*) FROM {SCHEMA}.entry e WHERE e.run = r.id"
            f" AND {standing('e')}) FROM {SCHEMA}.run r ORDER BY r.started, r.id"
        )
    return [JournalRun(**_facts(row), entries=row[-1]) for row in rows]


def journal_export(db: Connectable, run: str) -> Iterator[dict[str, Any]]:
    """Stream the entries of a run, oldest first; memory: one thousand entries.

    Raises UnknownObject.
    """
    with connect(db).open() as session:
        known_run(session, run)
        last = 0
        while True:
            rows = session.rows(
                f"SELECT e.id, e.batch, e.action, e.groups, s.schema_name, s.table_name,"
                f" s.columns, e.before, e.after, NOT ({standing('e')}) FROM {SCHEMA}.entry e"
                f" JOIN {SCHEMA}.shape s ON s.run = e.run AND s.number = e.shape"
                " WHERE e.run = $1::text AND e.id > $2::int8 ORDER BY e.id LIMIT 1000",
                [run, last],
            )
            for row in rows:
                last = row[0]
                yield {
                    "batch": row[1],
                    "action": {"d": "delete", "u": "update"}[row[2]],
                    "groups": row[3],
                    "schema": row[4],
                    "table": row[5],
                    "columns": row[6],
                    "before": row[7],
                    "after": row[8],
                    "undone": row[9],
                }
            if len(rows) < 1000:
                return


def journal_drop(db: Connectable, run: str, *, force: bool = False) -> None:
    """Remove a run from the journal; it cannot be undone any more.

    Raises UnknownObject, RefusedError (unfinished, and not ``force``).
    """
    from .schema import metadata  # noqa: PLC0415 - only who empties the tables pays for SQLAlchemy

    database = connect(db)
    with database.open_writer("pgmend journal") as writer:
        known = known_run(writer, run)
        if known.state in {"repairing", "undoing"} and not force:
            raise RefusedError(
                f"the run {run} is {known.state}; without its journal it could neither go on"
                " nor be undone",
                hint="Finish it first, or say --force.",
            )
        with writer.writing():
            for table in reversed(metadata.sorted_tables):
                column = "id" if table.name == "run" else "run"
                if table.name != "header":
                    name = f"{SCHEMA}.{quoted(table.name)}"
                    writer.rows(f"DELETE FROM {name} WHERE {column} = $1::text", [run])


def known_run(session: Session, run: str) -> KnownRun:
    """Return what the journal knows of a run. Raises UnknownObject."""
    found = find_run(session, run)
    if found is None:
        raise UnknownObject(
            f"the journal of this database has no run {run}",
            hint="List them with: pgmend journal list -d DATABASE",
            kind="run",
            name=run,
        )
    return found
