"""Undo: every deleted row and every changed column comes back, from the journal alone.

The batches of a repair are undone the last one first, each in one transaction and in one
statement, at whose end the foreign keys are checked: updates first, then inserts. A row
that was changed by others since is left and listed. Progress is committed with the rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .. import journal
from ..errors import (
    LockNotAvailable,
    QueryFailed,
    UndoRefused,
)
from ..journal import SCHEMA, KnownRun, image, standing, value
from ..session import Session
from ..writer import Writer
from .endgame import key_index
from .helpers import drop_helpers
from .plainindex import check_drops, make_plain, restoring
from .pointing import at
from .result import UndoResult
from .searching import BY_HASH
from .shape import Shape, column_names, column_values, fill_side_tables, load_shapes
from .taking import rewritten_heaps
from .telling import Telling

_TEMPORARY = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_back (id int8) ON COMMIT DELETE ROWS",
    "CREATE INDEX IF NOT EXISTS pgmend_back_id ON pg_temp.pgmend_back (id)",
    (
        "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_moved (id int8, relid oid, place tid)"
        " ON COMMIT DELETE ROWS"
    ),
)
_WANTED = (
    f"FROM {SCHEMA}.entry e WHERE e.run = $1::text AND e.batch = $2::int4"
    f" AND {standing('e')} AND ($3::int4[] IS NULL OR e.groups && $3::int4[])"
)


class Undoer:
    """One call's work on an undo."""

    def __init__(
        self, writer: Writer, known: KnownRun, telling: Telling, groups: tuple[int, ...]
    ) -> None:
        self._writer = writer
        self._known = known
        self._run = known.id
        self._telling = telling
        self._groups = self._together(groups)
        self._shapes = load_shapes(writer, self._run)
        self._refused: list[str] = []
        self._restored: dict[str, int] = {}
        self._put_back: dict[str, int] = {}

    def go(self, drop: Sequence[str]) -> UndoResult:
        """Undo batch by batch."""
        writer = self._writer
        statements = self._make_room(drop)
        with writer.writing():
            writer.rows(
                f"UPDATE {SCHEMA}.run SET state = 'undoing' WHERE id = $1::text", [self._run]
            )
        writer.rows("; ".join(_TEMPORARY))
        # What was written a moment ago has no statistics yet.
        writer.rows(f"ANALYZE {SCHEMA}.entry")
        linked = self._linked()
        if linked:
            writer.rows(
                f"CREATE INDEX IF NOT EXISTS entry_by_place ON {SCHEMA}.entry (relid, place)"
            )
        batches = writer.rows(
            f"SELECT e.batch, count(*) FROM {SCHEMA}.entry e WHERE e.run = $1::text"
            f" AND {standing('e')}"
            " GROUP BY 1 ORDER BY 1 DESC",
            [self._run],
        )
        self._telling.phase("undoing", sum(count for _, count in batches))
        for number, count in batches:
            self._telling.check_stop()
            self._attempt(number, list(self._groups) or None, linked)
            self._telling.did(count)
        drop_helpers(writer, self._run)
        (left,) = writer.row(
            f"SELECT count(*) FROM {SCHEMA}.entry e WHERE e.run = $1::text AND {standing('e')}",
            [self._run],
        )
        with writer.writing():
            writer.rows(
                f"UPDATE {SCHEMA}.run SET state = $2::text, finished = pg_catalog.now()"
                " WHERE id = $1::text",
                [self._run, "left" if left else "undone"],
            )
        return self._result(statements, done=not left)

    def aside(self) -> UndoResult:
        """Put the deleted rows into side tables; nothing else is touched."""
        self._restored = fill_side_tables(
            self._writer, self._run, self._shapes.values(), self._groups
        )
        return self._result((), done=True)

    def _result(self, statements: tuple[str, ...], *, done: bool) -> UndoResult:
        complete = done or (bool(self._groups) and not self._refused)
        return UndoResult(
            status="undone" if complete else "partly",
            run_id=self._run,
            restored=self._restored,
            put_back=self._put_back,
            refused=tuple(self._refused),
            statements=statements,
            seconds=self._telling.seconds,
        )

    def _together(self, groups: tuple[int, ...]) -> tuple[int, ...]:
        """Raise UndoRefused unless the groups share no changed row with others."""
        if not groups:
            return ()
        rows = self._writer.rows(
            f"SELECT DISTINCT u FROM {SCHEMA}.entry e, pg_catalog.unnest(e.groups) u"
            f" WHERE e.run = $1::text AND {standing('e')} AND e.groups && $2::int4[]",
            [self._run, list(groups)],
        )
        others = sorted({n for (n,) in rows} - set(groups))
        if others:
            words = " ".join(f"--group {n}" for n in sorted({*groups, *others}))
            raise UndoRefused(
                f"groups {', '.join(map(str, others))} changed some of the same rows; they can"
                " only be taken back together",
                hint=f"Say all of them: {words}.",
                reasons=tuple(f"group {n}" for n in others),
            )
        return groups

    def _make_room(self, drop: Sequence[str]) -> tuple[str, ...]:
        """Make the unique index a plain one, so that duplicates can come back."""
        writer = self._writer
        begun = journal.told(writer, self._run, journal.MAKE_PLAIN)
        was: dict[str, Any] = {"oid": None, "restore": ()} if begun is None else json.loads(begun)
        if was["oid"] is not None:
            make_plain(writer, was["oid"], drop, self._telling.say)
        # It may have been made unique again between two undos, or built anew, since.
        index = key_index(writer, self._known)
        if index is None or not writer.rows(
            f"SELECT 1 FROM {SCHEMA}.entry e WHERE e.run = $1::text AND {standing('e')} LIMIT 1",
            [self._run],
        ):
            # Or nothing comes back: the index may stay what it is.
            return tuple(was["restore"])
        statements = restoring(writer, index)
        # Nothing is entered as begun that is refused.
        check_drops(writer, index, drop)
        facts = {"oid": index, "restore": statements}
        journal.tell(writer, self._run, journal.MAKE_PLAIN, json.dumps(facts))
        make_plain(writer, index, drop, self._telling.say)
        return statements

    def _linked(self) -> set[int]:
        """Return the entries about rows that an earlier batch, of any run, changed as well."""
        rows = self._writer.rows(
            f"SELECT e.id FROM {SCHEMA}.entry e WHERE e.run = $1::text AND {standing('e')}"
            f" AND EXISTS (SELECT FROM {SCHEMA}.entry p WHERE p.id < e.id"
            f" AND {standing('p')} AND p.relid = e.old_relid AND p.place = e.old_place"
            " AND p.version = e.old_version)",
            [self._run],
        )
        return {number for (number,) in rows}

    def _attempt(self, batch: int, groups: list[int] | None, linked: set[int]) -> None:
        """Undo some groups of a batch; what fails is halved until the failing ones are alone."""
        try:
            self._batch(batch, groups, linked)
        except QueryFailed as error:
            if str(error.facts.get("sqlstate"))[:2] not in {"23", "22", "P0"}:
                raise
            parts = _components(self._writer, [self._run, batch, groups])
            if len(parts) < 2:
                shown = ", ".join(map(str, parts[0] if parts else groups or []))
                self._refused.append(f"group {shown}: {error.message}{_remedy(error)}")
                return
            middle = len(parts) // 2
            for half in (parts[:middle], parts[middle:]):
                self._attempt(batch, [number for part in half for number in part], linked)

    def _batch(self, batch: int, groups: list[int] | None, linked: set[int]) -> None:
        """Undo a batch, or some groups of it, in one transaction."""
        writer = self._writer
        mine = [self._run, batch, groups]
        # Triggers of users are written for the role's own search path.
        with writer.writing({**BY_HASH, "search_path": writer.own_search_path}):
            actions = writer.rows(
                f"SELECT e.shape, e.action::text, count(*) {_WANTED} GROUP BY 1, 2 ORDER BY 1, 2",
                mine,
            )
            rewritten = rewritten_heaps(writer, self._run, batch)
            for number, action, _ in actions:
                if action == "u":
                    writer.rows(self._lock(self._shapes[number]), [*mine, rewritten])
            if rewritten != rewritten_heaps(writer, self._run, batch):
                # Between the look and the lock; nobody rewrites a table whose rows are locked.
                raise LockNotAvailable("a table was rewritten as its rows were to be locked")
            refused = writer.rows(
                f"SELECT e.id, e.shape, e.groups, e.place::text {_WANTED} AND e.action = 'u'"
                " AND NOT EXISTS (SELECT FROM pg_temp.pgmend_back b WHERE b.id = e.id)"
                " ORDER BY e.id",
                mine,
            )
            chained = sorted(
                number for (number,) in writer.rows(
                    f"SELECT e.id {_WANTED} AND e.action = 'd' AND e.id = ANY ($4::int8[])",
                    [*mine, sorted(linked)],
                )
            ) if linked else []
            if actions:
                counts = writer.row(self._statement(actions, chained), [*mine, chained])
                self._check(actions, counts, len(refused))
                if linked:
                    self._relink()
                if groups is None and not refused:
                    # One row in place of all its entries, which hold whole images.
                    writer.rows(
                        f"UPDATE {SCHEMA}.batch SET undone = true WHERE run = $1::text"
                        " AND number = $2::int4",
                        [self._run, batch],
                    )
                    return self._count(actions, refused)
                writer.rows(
                    f"UPDATE {SCHEMA}.entry u SET undone = true WHERE u.id IN (SELECT e.id"
                    f" {_WANTED} AND (e.action = 'd' OR e.id IN"
                    " (SELECT id FROM pg_temp.pgmend_back)))",
                    mine,
                )
        return self._count(actions, refused)

    def _count(
        self,
        actions: Sequence[tuple[int, str, int]],
        refused: Sequence[tuple[int, int, list[int], str]],
    ) -> None:
        """Count what a batch put back, and list what it had to leave."""
        for _, shape, numbers, place in refused:
            relation = self._shapes[shape].relation
            shown = ", ".join(map(str, numbers))
            self._refused.append(
                f"group {shown}: the row of {relation.label} at {place} was changed since"
            )
        for number, action, count in actions:
            label = self._shapes[number].relation.label
            into = self._restored if action == "d" else self._put_back
            left = sum(1 for one in refused if one[1] == number) if action == "u" else 0
            into[label] = into.get(label, 0) + count - left

    def _check(
        self, actions: Sequence[tuple[int, str, int]], counts: Sequence[object], refused: int
    ) -> None:
        """Raise UndoRefused if a trigger kept the server from restoring what was there."""
        wanted = sum(count for _, _, count in actions) - refused
        done, other = int(str(counts[0])), int(str(counts[1]))
        if done != wanted or other:
            touched = [self._shapes[number].relation for number, *_ in actions]
            having = [one for one in touched if one.update_triggers or one.insert_triggers]
            tables = {one.label: one.sql for one in having or touched}
            switches = " ".join(f"ALTER TABLE {n} DISABLE TRIGGER USER;" for n in tables.values())
            raise UndoRefused(
                f"{wanted} rows were to come back and {done} did, {other} of them not as they"
                f" were: a trigger of {', '.join(tables)} changes them",
                hint="Switch triggers off for the time of the undo, and on again (ENABLE) behind"
                f" it: {switches}",
                reasons=("triggers",),
            )

    def _lock(self, shape: Shape) -> str:
        return (
            "WITH e AS MATERIALIZED (SELECT e.id, e.relid, e.place, e.version"
            f" {_WANTED} AND e.shape = {shape.number} AND e.action = 'u'"
            " AND e.relid <> ALL ($4::int8[]::oid[]) ORDER BY e.place),"
            " l AS MATERIALIZED (SELECT e.id, t.ctid AS found, e.place FROM e JOIN"
            f" {shape.relation.source} t ON {at('t', shape.relation, 'e.relid', 'e.place')}"
            " AND t.xmin::text = e.version FOR UPDATE OF t)"
            " INSERT INTO pg_temp.pgmend_back SELECT id FROM l WHERE found = place"
        )

    def _statement(
        self, actions: Sequence[tuple[int, str, int]], chained: Sequence[int]
    ) -> str:
        """Write the statement that puts everything back.

        Returns the rows that it changed, and how many of them are not as they were.
        Parameters: run, batch, groups, the deleted entries whose row has a history.
        """
        ctes, moved, names = [], [], []
        for number, action, _ in sorted(actions, key=lambda one: one[1], reverse=True):
            shape = self._shapes[number]
            relation, columns = shape.relation, shape.columns
            if action == "u":
                sets = ", ".join(
                    f"{column.sql} = {value(f'e.before[{n}]', column.type)}"
                    for n, column in enumerate(columns, 1)
                )
                same = "true"
                if relation.update_triggers:
                    same = f"{image(columns, 't')} IS NOT DISTINCT FROM e.before"
                ctes.append(
                    f"u{number} AS (UPDATE {relation.source} t SET {sets} FROM {SCHEMA}.entry e"
                    f" JOIN pg_temp.pgmend_back b ON b.id = e.id WHERE e.shape = {number}"
                    f" AND {at('t', relation, 'e.relid', 'e.place')}"
                    f" RETURNING e.id, t.tableoid AS relid, t.ctid AS place, {same} AS same)"
                )
                moved.append(f"SELECT id, relid, place FROM u{number}")
                names.append(f"u{number}")
                continue
            after = "".join(f" AND (SELECT count(*) FROM {name}) >= 0" for name in names)
            same = "true"
            if relation.insert_triggers:
                same = (
                    f"EXISTS (SELECT FROM {SCHEMA}.entry x WHERE x.run = $1 AND x.batch = $2"
                    f" AND x.shape = {number} AND x.before = {image(columns, 't')})"
                )
            insert = (
                f"INSERT INTO {relation.sql} AS t ({column_names(columns)}) OVERRIDING SYSTEM VALUE"
                f" SELECT {column_values(columns)}"
            )
            ctes.append(
                f"d{number} AS ({insert} {_WANTED} AND e.shape = {number} AND e.action = 'd'"
                f" AND e.id <> ALL ($4::int8[]){after} ORDER BY e.id RETURNING {same} AS same)"
            )
            names.append(f"d{number}")
            for one in chained:
                ctes.append(
                    f"c{one}_{number} AS ({insert} {_WANTED} AND e.shape = {number}"
                    f" AND e.id = {one}{after}"
                    f" RETURNING t.tableoid AS relid, t.ctid AS place, {same} AS same)"
                )
                moved.append(f"SELECT {one}, relid, place FROM c{one}_{number}")
                names.append(f"c{one}_{number}")
        if moved:
            ctes.append(f"m AS (INSERT INTO pg_temp.pgmend_moved {' UNION ALL '.join(moved)})")
        done = " + ".join(f"(SELECT count(*) FROM {name})" for name in names)
        other = " + ".join(
            f"(SELECT count(*) FROM {name} WHERE same IS NOT TRUE)" for name in names
        )
        # Which parameters the parts need differs from batch to batch; their types are said here.
        given = "$1::text, $2::int4, $3::int4[], $4::int8[]"
        return f"WITH {', '.join(ctes)} SELECT {done}, {other}, {given}"

    def _relink(self) -> None:
        """Tell earlier entries about the same rows where these stand now."""
        self._writer.rows(
            f"UPDATE {SCHEMA}.entry p SET relid = m.relid, place = m.place,"
            " version = pg_catalog.pg_current_xact_id()::xid::text"
            f" FROM pg_temp.pgmend_moved m JOIN {SCHEMA}.entry e ON e.id = m.id"
            " WHERE p.id < e.id AND NOT p.undone AND p.relid = e.old_relid"
            " AND p.place = e.old_place AND p.version = e.old_version"
        )


def _components(session: Session, wanted: list[object]) -> list[list[int]]:
    """Divide the groups of a batch into sets that share no row."""
    parts: dict[int, set[int]] = {}
    for (numbers,) in session.rows(f"SELECT DISTINCT e.groups {_WANTED}", wanted):
        joined = set(numbers).union(*(parts[n] for n in numbers if n in parts))
        for number in joined:
            parts[number] = joined
    return [sorted(part) for part in {id(part): part for part in parts.values()}.values()]


def _remedy(error: QueryFailed) -> str:
    """Say what to do about rows that a unique index refuses which had let them in."""
    if error.facts.get("sqlstate") != "23505":
        return ""
    return (
        "; if it was so before the repair, that index let them in by mistake: drop it, give the"
        " command again, and make it again once they are repaired"
    )
