"""What tests of indexes ask of the catalogs."""

from __future__ import annotations

from .scanning import Connection

#: all that there is to know of a schema's indexes and constraints, but for oids
STATE = """
SELECT coalesce(array_agg(line ORDER BY line), '{}') FROM (
    SELECT concat_ws(' | ', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisclustered,
                     i.indisreplident, obj_description(i.indexrelid, 'pg_class'), s.spcname,
                     (SELECT array_agg(attstattarget) FROM pg_attribute
                      WHERE attrelid = i.indexrelid AND attstattarget >= 0))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
    UNION ALL
    SELECT concat_ws(' | ', k.conrelid::regclass, conname, pg_get_constraintdef(k.oid),
                     obj_description(k.oid, 'pg_constraint'))
    FROM pg_constraint k WHERE conrelid >= 16384 AND contype IN ('p', 'u', 'f') AND conparentid = 0
    UNION ALL
    SELECT concat(relname, ' ', relreplident) FROM pg_class WHERE relkind IN ('r', 'p')
    AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
) lines (line)
"""


def silent(_: str) -> None:
    return


def oid_of(db: Connection, name: str) -> int:
    row = db.execute("SELECT to_regclass(%s)::oid::int8", [name]).fetchone()
    assert row is not None
    return int(row[0])


def state(db: Connection) -> list[str]:
    row = db.execute(STATE).fetchone()
    assert row is not None
    return sorted(row[0])


def definition(db: Connection, name: str) -> str:
    row = db.execute("SELECT pg_get_indexdef(to_regclass(%s))", [name]).fetchone()
    assert row is not None
    return str(row[0])
