"""Rows whose key is too wide for a btree: they came in past the index, and it cannot be built.

An entry may have a third of a page. A value that long lies outside of the row, so a table
without TOAST data is not read, unless expressions or storage settings say otherwise.

Sources: https://www.postgresql.org/docs/current/btree.html,
https://www.postgresql.org/docs/current/storage-toast.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.connect import connect
from dedupe.errors import DedupeError, KeyDefinitionError, UnknownObject
from dedupe.key import ResolvedKey, keys_of_table, resolve
from dedupe.recipes.entries import Entry, read_entry
from dedupe.recipes.longkeys import Looking
from dedupe.session import Session

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Read the tables whose unique keys may be too wide, once each."""
    with connect(at.catalog.conninfo).open("pgmend check") as session:
        for oid, schema, table, no_toast in session.rows(_TABLES):
            try:
                entries = _open_ones(session, oid, skip_plain=no_toast)
                if not entries:
                    continue
                at.asked.told(f"wide keys of {at.catalog.database}: {schema}.{table}")
                found, unreadable = Looking(session, oid, entries, lambda: False).read()
            except DedupeError as error:
                yield at.unseen(at.named(schema, table), error.message)
                continue
            for (name, entry), one in zip(entries, found, strict=True):
                rows = f"{one.count:,} {'row' if one.count == 1 else 'rows'}"
                if one.count:
                    yield at.blocker(
                        at.named(schema, name),
                        f"{rows} of {schema}.{table} {'is' if one.count == 1 else 'are'} too wide"
                        f" for this index, which holds entries of {entry.limit} bytes, so that it"
                        " cannot be built again:"
                        f" {', '.join(one.rows)}",
                        "Shorten what is in the key's columns, or delete the rows",
                    )
                if one.unsure:
                    yield at.unseen(
                        at.named(schema, name),
                        f"some rows of {schema}.{table} ({one.unsure:,}) are perhaps too wide for"
                        " it: how far their values are compressed is not known before it is built",
                    )
            if unreadable:
                yield at.unseen(
                    at.named(schema, table),
                    "damaged rows kept others from being read, in so many parts of 64 MB:"
                    f" {unreadable}",
                )


#: tables with unique indexes, and whether no value of theirs lies outside of its row
_TABLES = """
    WITH leaves AS (
        SELECT c.oid AS root, coalesce(t.relid::oid, c.oid) AS leaf
        FROM pg_catalog.pg_class c
        LEFT JOIN LATERAL pg_catalog.pg_partition_tree(c.oid) t ON c.relkind = 'p'
        WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND c.relpersistence <> 't'
          AND c.oid >= 16384
          AND EXISTS (SELECT FROM pg_catalog.pg_index i
                      WHERE i.indrelid = c.oid AND i.indisunique AND i.indislive)
    )
    SELECT r.oid::int8, n.nspname, r.relname, bool_and(
        (l.reltoastrelid = 0 OR pg_catalog.pg_relation_size(l.reltoastrelid) = 0)
        AND NOT coalesce(l.reloptions::text ~ 'toast_tuple_target', false)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                        WHERE a.attrelid = l.oid AND a.attnum > 0 AND a.attlen = -1
                          AND a.attstorage IN ('p', 'm') AND a.atttypid NOT IN (650, 869, 1700)))
    FROM leaves JOIN pg_catalog.pg_class r ON r.oid = leaves.root
    JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
    JOIN pg_catalog.pg_class l ON l.oid = leaves.leaf
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    GROUP BY 1, 2, 3 ORDER BY 2, 3
"""


def _open_ones(session: Session, oid: int, *, skip_plain: bool) -> list[tuple[str, Entry]]:
    """Return the keys of a table whose entries may be too long, with their names."""
    found = []
    for key in keys_of_table(session, oid):
        try:
            resolved = resolve(session, key)
        except (KeyDefinitionError, UnknownObject):
            # The rule about duplicates says which keys cannot be evaluated.
            continue
        if skip_plain and _plain(session, resolved):
            continue
        entry = read_entry(session, resolved)
        if entry is not None:
            found.append((resolved.name, entry))
    return found


def _plain(session: Session, key: ResolvedKey) -> bool:
    """Whether an index holds columns alone, as they lie in the row."""
    ((plain,),) = session.rows(
        "SELECT indexprs IS NULL FROM pg_catalog.pg_index WHERE indexrelid = $1::oid",
        [key.index_oid or 0],
    )
    return bool(plain)


RULE = Rule(name="wide-keys", scope="rows", look=look)
