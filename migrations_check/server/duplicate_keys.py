"""Every unique index will rebuild: the rows are read, and no index is asked.

Source: https://www.postgresql.org/docs/current/pgupgrade.html (indexes are copied as they are,
and rebuilt by a dump and restore)
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator

from dedupe.connect import connect
from dedupe.table import quoted

from .keyscan import scan_keys
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Scan all unique keys of a database, one pass a table; duplicates are blockers."""
    invalid = {
        (schema, name)
        for schema, name in at.catalog.rows(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_index i"
            " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE i.indisunique AND NOT i.indisvalid AND c.relkind = 'i'"
        )
    }
    for table in scan_keys(connect(at.catalog.conninfo), at.asked.run, at.asked):
        if table.refused is not None:
            what = table.table if table.key is None else f"{table.table}, key {table.key}"
            hint = f". {table.refused.hint}" if table.refused.hint else ""
            yield at.unseen(f"{at.catalog.database}/{what}", f"{table.refused.message}{hint}")
        if table.run is None:
            continue
        run = shlex.quote(str(table.run.path))
        for key in table.run.keys:
            if not key.groups:
                continue
            built = (key.schema, key.name) not in invalid
            message = (
                f"{key.rows_in_groups:,} rows of {key.schema}.{key.table} share {key.groups:,}"
                f" {'key' if key.groups == 1 else 'keys'} of this unique index:"
                " building it again, as a restore does, fails"
            ) if built else (
                f"{key.rows_in_groups:,} rows of {key.schema}.{key.table} share {key.groups:,}"
                " keys of this unique index, which was never built"
            )
            remedy = (
                f"pgmend plan {run} --key {shlex.quote(key.name)} --keep oldest,"
                f" and then: pgmend repair {run} --execute"
            )
            said = at.blocker if built else at.warning
            yield said(at.named(key.schema, key.name), message, remedy)
        by_table = defaultdict(list)
        for row in table.run.unreadable:
            by_table[row.schema, row.table].append(row)
        for (schema, name), broken in by_table.items():
            what = f"{len(broken):,} of its rows or blocks" if broken[1:] else "a row or block"
            yield at.blocker(
                at.named(schema, name),
                f"{what} cannot be read, and a dump fails there, first in block"
                f" {broken[0].block}: {broken[0].message}",
                "Bring the table back from a snapshot; all of them are listed by: pgmend scan"
                f" {shlex.quote(f'{quoted(schema)}.{quoted(name)}')} --all-unique",
            )


RULE = Rule(name="duplicate-keys", scope="rows", look=look)
