"""Counters made anew: numbers kept beside the rows that they count, after a merge.

Which of them are concerned is in the journal: whose rows were deleted, or point elsewhere
now. They are counted from the heap, or by indexes that a survey found good for them, and
changed a few at a time, journaled as a run of its own, so that they are taken back with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from .. import journal
from ..journal import (
    SCHEMA,
    add_shape,
    changed_entry,
    column_places,
    enter_batch,
    image,
    insert_entries,
    next_batch,
    standing,
)
from ..key import MatchKey
from ..policy import Keep, Loser, Policy, policies_to_json
from ..relation import Relation
from ..repair.lookups import Sought, goes_by, lookup, note_written
from ..repair.pointing import array, at, compared_as, kind_of
from ..repair.searching import BY_HASH, BY_HEAP, BY_ID, BY_PLACE, WHOLE
from ..repair.survey import Survey
from ..surroundings import Surroundings
from ..table import quoted
from ..writer import Writer
from .recipe import Counter

#: rows of a table that were looked up
_FOUND = "(SELECT place FROM pg_temp.pgmend_found WHERE relid = {})"
#: what is run for each journaled change of counters; no group of it is ever planned
_POLICY = Policy(keep=(Keep.parse("oldest"),), loser=Loser.parse("report"))
#: counters that are changed in one transaction
_BATCH = 2000
#: times that rows are counted which others change meanwhile
_TRIES = 3
_TEMPORARY = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_touched (n int4, id text)",
    (
        "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_count (relid oid, place tid, version text,"
        ' turn int8, "values" int8[])'
    ),
    "CREATE TEMPORARY TABLE IF NOT EXISTS pgmend_found (relid oid, place tid)",
    "CREATE INDEX IF NOT EXISTS pgmend_count_turn ON pg_temp.pgmend_count (turn)",
)


def unfit_counters(around: Surroundings, counters: Sequence[Counter]) -> tuple[str, ...]:
    """Say which counters cannot be made anew in this schema, a sentence each."""
    found: dict[str, None] = {}
    for counter in counters:
        table = around.relation(around.find(quoted(counter.table)))
        of = around.relation(around.find(quoted(counter.of)))
        kept = table.column(counter.column)
        if compared_as(kept.base, "bigint") is None:
            found[
                f"{counter.table}.{counter.column} is no counter: it is of type {kept.type}, not"
                " a whole number"
            ] = None
        key, by = table.column(counter.key), of.column(counter.by)
        alike = key.base == by.base or (key.text and by.text)
        if not alike and compared_as(key.base, by.base) is None:
            found[
                f"{counter.table}.{counter.column} cannot be counted: {counter.key} is of type"
                f" {key.type}, and {counter.of}.{counter.by} of type {by.type}"
            ] = None
    return tuple(found)


def recount(
    writer: Writer,
    around: Surroundings,
    counters: Sequence[Counter],
    runs: Sequence[str],
    run: str,
    reason: str | None,
    survey: Survey,
) -> tuple[int, int]:
    """Make counters of one table anew for whom ``runs`` touched.

    Returns rows changed, and rows left because others changed them each time that they were
    counted; these the next call counts again.

    ``counters`` are those of one table and key, ``run`` is the id that the changes are journaled
    under. Where that is finished in the journal, and nothing was repaired since, nothing is done.
    Reads the heap of the table, and of each table that is counted, once, or the rows that
    matter where ``survey`` knows indexes that find them; again, three times at most, where rows
    were changed meanwhile.
    Locks: the rows of a batch. Raises LockNotAvailable, QueryFailed, ServerUnavailable; what
    was counted before stays counted.
    """
    table = around.relation(around.find(quoted(counters[0].table)))
    known = journal.find_run(writer, run)
    if known is not None and not _outdated(writer, known, runs):
        return 0, 0
    writer.rows("; ".join(_TEMPORARY))
    with writer.writing(WHOLE):
        writer.rows("TRUNCATE pg_temp.pgmend_touched")
        touched = _touch(writer, around, counters, runs)
    if not touched and known is None:
        return 0, 0
    if known is None:
        with writer.writing():
            journal.begin(
                writer,
                run=run,
                table=table,
                key_name="counters",
                asked=MatchKey.from_columns(table.sql, counters[0].key),
                policies=policies_to_json([_POLICY]),
                fingerprint="",
                reason=reason,
            )
    done = 0
    for _ in range(_TRIES):
        _count(writer, around, table, counters, survey)
        changed, left = _change(writer, table, counters, run)
        done += changed
        if not left:
            with writer.writing():
                writer.rows(
                    f"UPDATE {SCHEMA}.run SET state = 'repaired', finished = pg_catalog.now()"
                    " WHERE id = $1::text",
                    [run],
                )
            break
    return done, left


def _count(
    writer: Writer,
    around: Surroundings,
    table: Relation,
    counters: Sequence[Counter],
    survey: Survey,
) -> None:
    """Count, and note which rows are to be changed to what."""
    with writer.writing({**BY_ID, "work_mem": "64MB"}):
        writer.rows("TRUNCATE pg_temp.pgmend_count, pg_temp.pgmend_found")
        writer.rows("ANALYZE pg_temp.pgmend_touched")
        found = _look_up(writer, around, table, counters, survey)
        # Without an open index everything is read once, by hash.
        writer.set_local(BY_PLACE if found else BY_HEAP)
        reads = _looked_up(around, counters) if found else _read(around, counters)
        rows = f"{table.source} t"
        if found:
            rows = f"{_FOUND.format(table.oid)} s JOIN {rows} ON t.ctid = s.place"
        writer.rows(_counted(around, table, counters, reads, rows))


def _outdated(writer: Writer, known: journal.KnownRun, runs: Sequence[str]) -> bool:
    """Tell whether the counters were not finished, or something was repaired since."""
    if known.state != "repaired":
        return known.state == "repairing"
    (since,) = writer.row(
        f"SELECT EXISTS (SELECT FROM {SCHEMA}.batch b JOIN {SCHEMA}.run r ON r.id = $2::text"
        " WHERE b.run = ANY ($1::text[]) AND b.at > r.finished)",
        [list(runs), known.id],
    )
    return bool(since)


def _touch(
    writer: Writer, around: Surroundings, counters: Sequence[Counter], runs: Sequence[str]
) -> int:
    """List for whom rows are counted that ``runs`` deleted or made point elsewhere."""
    query, params = column_places(
        [(around.relation(around.find(quoted(one.of))), one.by) for one in counters], runs
    )
    return writer.count(
        f"INSERT INTO pg_temp.pgmend_touched SELECT DISTINCT s.n, v.id FROM ({query}) s"
        f" JOIN {SCHEMA}.entry e ON e.run = s.run AND e.shape = s.shape AND {standing('e')}"
        " CROSS JOIN LATERAL (VALUES (e.before[s.at]), (e.after[s.at])) v (id)"
        " WHERE v.id IS NOT NULL",
        params,
    )


def _read(around: Surroundings, counters: Sequence[Counter]) -> dict[str, str]:
    """Write how each table that is counted is read, once for all counters."""
    tests: dict[str, list[str]] = {}
    for number, counter in enumerate(counters):
        of = around.relation(around.find(quoted(counter.of)))
        tests.setdefault(of.source, []).append(
            f"{of.column(counter.by).sql} IN (SELECT id FROM w{number})"
        )
    return {
        source: f"SELECT * FROM {source} WHERE {' OR '.join(some)}"
        for source, some in tests.items()
    }


def _looked_up(around: Surroundings, counters: Sequence[Counter]) -> dict[str, str]:
    """Write how the rows of each table that is counted are reached that were looked up."""
    reads = {}
    for counter in counters:
        of = around.relation(around.find(quoted(counter.of)))
        reads[of.source] = (
            f"SELECT r.* FROM {_FOUND.format(of.oid)} s JOIN {of.source} r ON r.ctid = s.place"
        )
    return reads


def _look_up(
    writer: Writer,
    around: Surroundings,
    table: Relation,
    counters: Sequence[Counter],
    survey: Survey,
) -> bool:
    """Look up the rows to count, and where numbers are kept, by indexes that a survey found good.

    Returns False where there is none for some of them; nothing of it counts then.
    """
    if not survey.columns:
        return False
    asked: dict[int, tuple[Relation, list[Sought]]] = {}
    for number, counter in enumerate(counters):
        ids = [
            id_
            for (id_,) in writer.rows(
                "SELECT DISTINCT id FROM pg_temp.pgmend_touched WHERE n = $1::int4", [number]
            )
        ]
        of = around.relation(around.find(quoted(counter.of)))
        for relation, column in (of, counter.by), (table, counter.key):
            kind = kind_of(relation, column)
            if kind is None:
                return False
            _, sought = asked.setdefault(relation.oid, (relation, []))
            sought.append(
                Sought(column=column, kind=kind, ids=ids, parameter=len(sought) + 1)
            )
    note_written(writer, survey)
    for relation, sought in asked.values():
        found = lookup(survey, relation, sought)
        params = [array(one.ids) for one in sought]
        if found is None or not goes_by(writer, found.query, params, found):
            return False
        writer.rows(f"INSERT INTO pg_temp.pgmend_found {found.query}", params)
    return True


def _counted(
    around: Surroundings,
    table: Relation,
    counters: Sequence[Counter],
    reads: Mapping[str, str],
    rows: str,
) -> str:
    """Write the statement that counts, and notes which rows are to be changed to what.

    ``reads`` are the queries for what is counted, by the table; ``rows`` gives the rows ``t``
    in which numbers are kept.
    """
    key = table.column(counters[0].key)
    id_type = key.base
    parts, counts, joins, values, differs = [], [], [], [], []
    names = {source: f"r{number}" for number, source in enumerate(reads)}
    for number, counter in enumerate(counters):
        of = around.relation(around.find(quoted(counter.of)))
        by = of.column(counter.by).sql
        where = f" AND ({counter.where}\n)" if counter.where else ""
        only = ""
        if counter.parent is not None:
            parent = around.relation(around.find(quoted(counter.parent)))
            only = (
                f" AND id IN (SELECT {parent.column('id').sql}::text FROM {parent.source}"
                f" WHERE ({counter.only or 'true'}\n))"
            )
        parts.append(
            f"w{number} AS MATERIALIZED (SELECT id::{id_type} AS id FROM pg_temp.pgmend_touched"
            f" WHERE n = {number}{only})"
        )
        counts.append(
            f"c{number} AS MATERIALIZED (SELECT {by} AS id, count(*) AS n"
            f" FROM {names[of.source]} WHERE {by} IN (SELECT id FROM w{number}){where}"
            f" GROUP BY {by})"
        )
        joins.append(
            f"LEFT JOIN w{number} ON w{number}.id = t.{key.sql}"
            f" LEFT JOIN c{number} ON c{number}.id = t.{key.sql}"
        )
        column = table.column(counter.column).sql
        value = (
            f"CASE WHEN w{number}.id IS NULL THEN t.{column} ELSE coalesce(c{number}.n, 0) END"
        )
        values.append(value)
        differs.append(f"t.{column} IS DISTINCT FROM {value}")
    parts += [f"{names[source]} AS MATERIALIZED ({read})" for source, read in reads.items()]
    touched = " UNION ".join(f"SELECT id FROM w{number}" for number in range(len(counters)))
    return (
        f"WITH {', '.join([*parts, *counts])} INSERT INTO pg_temp.pgmend_count"
        " SELECT t.tableoid, t.ctid, t.xmin::text, row_number() OVER (ORDER BY t.tableoid, t.ctid),"
        f" ARRAY[{', '.join(values)}]::int8[] FROM {rows} JOIN ({touched}) w"
        f" ON t.{key.sql} = w.id {' '.join(joins)} WHERE {' OR '.join(differs)}"
    )


def _change(
    writer: Writer, table: Relation, counters: Sequence[Counter], run: str
) -> tuple[int, int]:
    """Set the counters, a batch at a time; return rows changed, and left as others changed them."""
    columns = [table.column(counter.column) for counter in counters]
    kept = list(table.stored) if table.update_triggers else columns
    sets = ", ".join(f'{c.sql} = g."values"[{n}]' for n, c in enumerate(columns, 1))
    (last,) = writer.row("SELECT coalesce(max(turn), 0) FROM pg_temp.pgmend_count")
    changed = 0
    for first in range(0, last, _BATCH):
        started = time.monotonic()
        with writer.writing({**BY_HASH, "search_path": writer.own_search_path}):
            shape = add_shape(writer, run, table, kept)
            number = next_batch(writer, run)
            entries = [changed_entry(shape, "ARRAY[$2::int4]", "u")]
            (count,) = writer.row(
                f'WITH g AS MATERIALIZED (SELECT t.ctid AS place, w.relid, w.version, w."values",'
                f" {image(kept, 't')} AS before FROM pg_temp.pgmend_count w JOIN {table.source} t"
                f" ON {at('t', table, 'w.relid', 'w.place')} AND t.xmin::text = w.version"
                " WHERE w.turn > $3::int8 AND w.turn <= $4::int8 FOR UPDATE OF t),"
                f" u AS (UPDATE {table.source} t SET {sets} FROM g"
                f" WHERE {at('t', table, 'g.relid', 'g.place')} RETURNING g.relid AS old_relid,"
                f" g.place AS old_place, g.version, g.before, {image(kept, 't')} AS after,"
                " t.tableoid AS relid, t.ctid AS place),"
                f" j AS ({insert_entries(entries)})"
                " SELECT count(*) FROM u",
                [run, number, first, first + _BATCH],
            )
            enter_batch(
                writer,
                run=run,
                number=number,
                round_=1,
                groups=0,
                deleted=0,
                changed=count,
                seconds=time.monotonic() - started,
            )
        changed += count
    return changed, last - changed
