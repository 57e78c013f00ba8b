"""Unique keys that a reference has and a database does not: what a restore silently dropped.

The reference is another database, or a file of SQL that is loaded into an empty server of its
own, with the programs of the server's or of the target's version.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dedupe.connect import conninfo_of
from dedupe.errors import ConnectionSettingsError, ProgramMissing, UsageError
from dedupe.table import quoted

from ..snapshots.programs import bindir_of, run
from ..snapshots.scratch import scratch
from .catalog import Catalog
from .rule import Look, Rule, Said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """What rows are unique by; two of them are the same whatever their indexes are called."""

    schema: str
    table: str
    columns: tuple[str, ...]
    predicate: str
    nulls_not_distinct: bool


def look(at: Look) -> Iterator[Said]:
    """Compare each database that has tables of the reference with it."""
    if at.asked.expected is None:
        return
    lost: list[str] = []
    with _reference(at, at.asked.expected, lost) as reference:
        expected = _keys(reference)
    for line in lost:
        yield at.unseen(
            at.asked.expected, f"a statement of the reference failed, so keys may lack: {line}"
        )
    tables = {(key.schema, key.table) for key in expected}
    met = False
    for name in at.databases:
        with Catalog(at.catalog.conninfo, name) as catalog:
            found = set(_keys(catalog))
            here = {
                (schema, table)
                for schema, table in catalog.rows(
                    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
                    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                    " WHERE c.relkind IN ('r', 'p', 'm')"
                )
            }
        met = met or bool(here & tables)
        for key, index in expected.items():
            if (key.schema, key.table) not in here or key in found:
                continue
            columns = ", ".join(key.columns)
            where = f" WHERE {key.predicate}" if key.predicate else ""
            nulls = " NULLS NOT DISTINCT" if key.nulls_not_distinct else ""
            table = f"{quoted(key.schema)}.{quoted(key.table)}"
            yield at.warning(
                f"{name}/{key.schema}.{index}",
                f"the reference has this unique index on {key.schema}.{key.table} ({columns})"
                f"{where}, and here nothing keeps that key",
                f"{_scan(key)}, repair what it finds, and then: CREATE UNIQUE INDEX CONCURRENTLY"
                f" {quoted(index)} ON {table} ({columns}){nulls}{where}",
            )
    if expected and not met:
        yield at.unseen(at.asked.expected, "no database that was looked at has a table of it")


def _scan(key: _Key) -> str:
    """Write the command that looks for duplicates of a key."""
    words = ["pgmend", "scan", f"{quoted(key.schema)}.{quoted(key.table)}"]
    for column in key.columns:
        words += ["--key", column]
    words += ["--where", key.predicate] if key.predicate else []
    return shlex.join(words + ["--nulls-not-distinct"] * key.nulls_not_distinct)


def _keys(catalog: Catalog) -> dict[_Key, str]:
    """Read the unique keys that are kept, each with the name of an index."""
    nulls = "i.indnullsnotdistinct" if catalog.major >= 15 else "false"
    attributes = "i.indnkeyatts" if catalog.major >= 11 else "i.indnatts"
    return {
        _Key(schema=schema, table=table, columns=tuple(columns), predicate=predicate,
             nulls_not_distinct=distinct): name
        for schema, table, name, columns, predicate, distinct in catalog.rows(
            f"""
            SELECT n.nspname, t.relname, c.relname,
                   ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, false)
                         FROM pg_catalog.generate_series(1, {attributes}) k ORDER BY k),
                   coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), ''), {nulls}
            FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
            WHERE i.indisunique AND i.indisvalid AND t.relkind IN ('r', 'p', 'm')
              AND t.relpersistence <> 't' AND NOT t.relispartition
              AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
            ORDER BY 1, 2, 3
            """
        )
    }


@contextmanager
def _reference(at: Look, expected: str, lost: list[str]) -> Iterator[Catalog]:
    file = Path(expected)
    if not file.is_file():
        try:
            conninfo = conninfo_of(expected) if "=" in expected or "://" in expected else None
        except ConnectionSettingsError:
            conninfo = None
        if conninfo is None:
            raise UsageError(
                f"{expected} is neither a file nor a connection string",
                hint="Name a file of SQL, such as pg_dump --schema-only writes, or a database.",
            )
        with Catalog(conninfo) as catalog:
            yield catalog
        return
    with scratch(_programs(at), None, "postgres") as place:
        place.initialize()
        place.start()

        def said(line: str) -> None:
            if "ERROR:" in line:
                lost.append(line.partition("ERROR:")[2].strip())

        run(
            [place.bindir / "psql", "-X", "-q", "-d", place.dsn(), "-f", file.absolute()],
            provider="psql", said=said,
        )
        with Catalog(place.dsn()) as catalog:
            yield catalog


def _programs(at: Look) -> Path:
    wanted = ("postgres", "initdb", "psql")
    try:
        return bindir_of(at.catalog.major, *wanted, named=at.asked.old_bindir)
    except ProgramMissing:
        return bindir_of(at.target, *wanted, named=at.asked.new_bindir)


RULE = Rule(name="missing-keys", scope="cluster", look=look)
