"""What a repair writes into the journal, and how rows are written as images.

A row's image is one text a column, made by the type's output function under the settings
of ``session.PINNED`` and read back by its input function under the same.

Source: ``format('%s', …)``: https://www.postgresql.org/docs/current/functions-string.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..key import MatchKey
from ..relation import Column, Relation
from ..session import PINNED, Session
from ..writer import Writer
from .tables import SCHEMA

_NAMED_OBJECTS = {
    "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper",
    "regoperator", "regproc", "regprocedure", "regrole", "regtype",
}


def begin(
    writer: Writer,
    *,
    run: str,
    table: Relation,
    key_name: str,
    asked: MatchKey,
    policies: str,
    fingerprint: str,
    reason: str | None,
) -> None:
    """Enter a run that begins; only inside ``writing``."""
    writer.rows(
        f"INSERT INTO {SCHEMA}.run (id, started, state, relid, table_name, key_name,"
        " asked, policies, fingerprint, reason, settings, round, done)"
        " VALUES ($1, pg_catalog.now(), 'repairing', $2, $3, $4, $5, $6, $7, $8, $9, 0, 0)",
        [run, table.oid, table.label, key_name, asked.to_json(), policies,
         fingerprint, reason, json.dumps(image_settings())],
    )


def image_settings() -> dict[str, str]:
    """Return the settings that decide how a value is written as text."""
    names = (
        "extra_float_digits", "DateStyle", "IntervalStyle", "TimeZone", "bytea_output",
        "lc_monetary", "xmloption", "quote_all_identifiers", "array_nulls",
        "standard_conforming_strings",
    )
    return {name: PINNED[name] for name in names}


def add_shape(writer: Writer, run: str, relation: Relation, columns: Sequence[Column]) -> int:
    """Return the number of a shape (a table and some of its columns), entering it if new.

    Only inside ``writing``.
    """
    names = [column.name for column in columns]
    types = [column.type for column in columns]
    found = writer.rows(
        f"SELECT number FROM {SCHEMA}.shape WHERE run = $1 AND relid = $2::int8::oid"
        " AND columns = $3::text[] AND types = $4::text[]",
        [run, relation.oid, names, types],
    )
    if found:
        return int(found[0][0])
    (number,) = writer.row(
        f"INSERT INTO {SCHEMA}.shape (run, number, relid, schema_name, table_name, columns, types)"
        f" SELECT $1::text, coalesce(max(number), 0) + 1, $2::int8::oid, $3::text, $4::text,"
        f" $5::text[], $6::text[] FROM {SCHEMA}.shape WHERE run = $1 RETURNING number",
        [run, relation.oid, relation.schema, relation.name, names, types],
    )
    return int(number)


def image(columns: Sequence[Column], alias: str) -> str:
    """Write the image of a row: text[] with one element a column, NULL for a NULL.

    A cast to text would lose the trailing blanks of char(n), and ``IS NULL`` takes a
    composite of NULLs for a NULL.
    """
    texts = ", ".join(
        f"CASE WHEN pg_catalog.num_nulls({alias}.{column.sql}) OPERATOR(pg_catalog.=) 0"
        f" THEN pg_catalog.format('%s', {alias}.{column.sql}) END"
        for column in columns
    )
    return f"ARRAY[{texts}]::pg_catalog.text[]"


def value(text: str, column_type: str) -> str:
    """Write a value of its image's text."""
    if column_type == "character":
        # Without a length the cast keeps what the image says, to the blank.
        column_type = "bpchar"
    if column_type in _NAMED_OBJECTS:
        # Their output may be a number or "-", which the cast from text does not read.
        return f"pg_catalog.{column_type}in(({text})::cstring)"
    return f"CAST({text} AS {column_type})"


def tell(writer: Writer, run: str, kind: str, detail: str) -> None:
    """Enter an event; in or outside of a transaction."""
    writer.rows(
        f"INSERT INTO {SCHEMA}.event (run, at, kind, detail) VALUES"
        " ($1, pg_catalog.clock_timestamp(), $2, $3)",
        [run, kind, detail],
    )


def told(session: Session, run: str, kind: str) -> str | None:
    """Return the detail of the last event of a kind, or None."""
    rows = session.rows(
        f"SELECT detail FROM {SCHEMA}.event WHERE run = $1::text AND kind = $2::text"
        " ORDER BY id DESC LIMIT 1",
        [run, kind],
    )
    return rows[0][0] if rows else None


def insert_entries(entries: Sequence[str]) -> str:
    """Write the statement that enters what SELECTs give, as ``changed_entry`` writes them.

    Parameters: run, batch.
    """
    return (
        f"INSERT INTO {SCHEMA}.entry (run, batch, shape, action, groups, before, after,"
        " old_relid, old_place, old_version, relid, place, version)"
        f" SELECT $1::text, $2::int4, * FROM ({' UNION ALL '.join(entries)}) s (shape, action,"
        " groups, before, after, old_relid, old_place, old_version, relid, place, version)"
    )


def changed_entry(shape: int, groups: str, source: str) -> str:
    """Write the SELECT of the entries for the updated rows of a CTE.

    ``source`` has before, after, old_relid, old_place, version, relid and place.
    """
    return (
        f"SELECT {shape}, 'u', {groups}, before, after, old_relid, old_place, version, relid,"
        f" place, pg_catalog.pg_current_xact_id()::xid::text FROM {source}"
    )


def next_batch(session: Session, run: str) -> int:
    """Return the number of a run's next batch."""
    (number,) = session.row(
        f"SELECT coalesce(max(number), 0) + 1 FROM {SCHEMA}.batch WHERE run = $1::text", [run]
    )
    return int(number)


def enter_batch(
    writer: Writer,
    *,
    run: str,
    number: int,
    round_: int,
    groups: int,
    deleted: int,
    changed: int,
    seconds: float,
) -> None:
    """Enter a batch, and the file numbers of the heaps that its entries are about.

    Only inside ``writing``, in the transaction of its changes.
    """
    if writer.nested:
        # Between savepoints the rows have the number that their entries have themselves.
        writer.rows(
            f"UPDATE {SCHEMA}.entry SET version = xmin::text WHERE run = $1::text"
            " AND batch = $2::int4 AND version = pg_catalog.pg_current_xact_id()::xid::text",
            [run, number],
        )
    writer.rows(
        f"INSERT INTO {SCHEMA}.batch (run, number, round, groups, deleted, changed, at, seconds,"
        " heaps) VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.now(), $7,"
        " (SELECT coalesce(pg_catalog.jsonb_object_agg(h.relid,"
        " pg_catalog.pg_relation_filenode(h.relid)), '{}')::text"
        " FROM (SELECT DISTINCT coalesce(e.relid, e.old_relid) AS relid"
        f" FROM {SCHEMA}.entry e WHERE e.run = $1 AND e.batch = $2) h))",
        [run, number, round_, groups, deleted, changed, seconds],
    )
