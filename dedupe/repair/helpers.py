"""Helper indexes: what finds child rows where no index of the table's own can.

A foreign key's check reads the whole child for every deleted row where the child has no
index on it, so one is built for the time of the repair, without blocking writers, and
dropped at its end. Its name is made of the run's id, so that a repair that goes on after
a kill knows it again.

Source: https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from ..relation import Relation
from ..session import Session
from ..surroundings import Reference, Surroundings
from ..table import quoted
from ..writer import Writer
from .pointing import text_array


def finding_index(around: Surroundings, reference: Reference, child: Relation) -> str | None:
    """Return the qualified name of a valid index that finds the child rows, or None.

    Its leading columns are those of the reference, and it covers all rows. Several may
    do; the planner chooses among them, so all of them have to be proved.
    """
    asked = child.oid, reference.columns, reference.soft
    if asked not in around.finding:
        found = finding_indexes(around.session, reference, child)
        around.finding[asked] = found[0][1] if found else None
    return around.finding[asked]


def finding_indexes(
    session: Session, reference: Reference, child: Relation
) -> list[tuple[int, str, bool]]:
    """List (oid, qualified name, unique) of the indexes that may find the child rows."""
    soft = reference.soft
    if soft is not None and soft.kind == "jsonb":
        return []
    columns = list(reference.columns)
    if soft is not None and soft.type_column is not None:
        columns.append(soft.type_column)
    method = "gin" if soft is not None and soft.kind == "array" else "btree"
    rows = session.rows(
        """
        SELECT x.oid::int8, n.nspname, x.relname, i.indisunique
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
        JOIN pg_catalog.pg_am m ON m.oid = x.relam
        WHERE i.indrelid = $1::oid AND i.indisvalid
          -- Looked for by equality, a row has a value in the column.
          AND (i.indpred IS NULL OR pg_catalog.pg_get_expr(i.indpred, i.indrelid)
               = ANY (SELECT pg_catalog.format('(%I IS NOT NULL)', c.name)
                      FROM pg_catalog.unnest($3::text[]) c (name)))
          AND m.amname = $2::text AND i.indnkeyatts >= $4::int4
          AND x.relname::text !~ '^pgmend_[0-9a-f]{16}_'
          AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C")
               FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, n)
               JOIN pg_catalog.pg_attribute a
               ON a.attrelid = i.indrelid AND a.attnum = p.attnum
               WHERE p.n <= $4::int4) = $3::text[]
        ORDER BY i.indisunique DESC, x.relname
        """,
        [child.oid, method, sorted(columns), len(columns)],
    )
    return [
        (oid, f"{quoted(schema)}.{quoted(name)}", unique) for oid, schema, name, unique in rows
    ]


def usable_indexes(
    session: Session, reference: Reference, child: Relation
) -> list[tuple[int, str]]:
    """List (oid, access method) of all indexes that the planner may use to find child rows.

    Partial ones and those with the column further behind are among them: the server's own
    checks of foreign keys may take any of them.
    """
    rows = session.rows(
        """
        SELECT DISTINCT i.indexrelid::int8, m.amname::text
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_am m ON m.oid = x.relam
        JOIN pg_catalog.pg_attribute a
        ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
        WHERE i.indrelid = ANY (SELECT $1::oid UNION SELECT t.relid::oid
                                FROM pg_catalog.pg_partition_tree($1::oid::regclass) t)
          AND i.indisvalid AND x.relkind = 'i' AND a.attname::text = ANY ($2::text[])
          AND x.relname::text !~ '^pgmend_[0-9a-f]{16}_'
        ORDER BY 1
        """,
        [child.oid, list(reference.columns)],
    )
    return [(oid, method) for oid, method in rows]


def index_columns(session: Session, index_oid: int) -> frozenset[str]:
    """Return the columns that stand in an index by themselves."""
    return frozenset(
        name
        for (name,) in session.rows(
            "SELECT a.attname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a"
            " ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])"
            " WHERE i.indexrelid = $1::oid",
            [index_oid],
        )
    )


def helper_name(run: str, reference: Reference) -> str:
    """Name the helper index of a reference: the same one for every policy that has it."""
    soft = reference.soft
    parts = [*reference.columns]
    if soft is not None:
        parts += [soft.kind, soft.type_column or "", *soft.path]
    told = zlib.crc32("\0".join(parts).encode("utf-8", "surrogateescape"))
    return f"{helper_prefix(run)}{reference.child}_{told:08x}"


def helper_prefix(run: str) -> str:
    """Return what the names of a run's helper indexes begin with."""
    return f"pgmend_{run}_"


def build_helper(
    writer: Writer,
    run: str,
    reference: Reference,
    child: Relation,
    tell: Callable[[str], None],
    *,
    alone: bool,
) -> None:
    """Build the helper index of a reference, or take the one of an earlier session.

    SHARE UPDATE EXCLUSIVE on the child while it is built; on a partitioned table, or where
    nobody else is connected (``alone``), SHARE, which takes half the time.
    Raises FailureError.
    """
    name = helper_name(run, reference)
    found = writer.rows(
        "SELECT i.indisvalid FROM pg_catalog.pg_class x"
        " JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
        " WHERE x.relname = $1::text AND n.nspname = $2::text",
        [name, child.schema],
    )
    if found:
        if found[0][0]:
            return
        drop_helper(writer, run, reference, child)
    tell(f"building an index on {child.label} ({', '.join(reference.columns)})")
    concurrently = "" if child.partitioned or alone else "CONCURRENTLY "
    only = "" if child.partitioned else "ONLY "
    writer.alone(
        f"CREATE INDEX {concurrently}{quoted(name)} ON {only}{child.sql}"
        f" {_definition(reference, child)}"
    )


def drop_helper(writer: Writer, run: str, reference: Reference, child: Relation) -> None:
    """Drop the helper index of a reference, if it is there."""
    concurrently = "" if child.partitioned else "CONCURRENTLY "
    name = f"{quoted(child.schema)}.{quoted(helper_name(run, reference))}"
    writer.alone(f"DROP INDEX {concurrently}IF EXISTS {name}")


def drop_helpers(writer: Writer, run: str) -> None:
    """Drop every helper index of a run, also what a call that was killed left behind."""
    for schema, name, partitioned in writer.rows(
        "SELECT n.nspname, c.relname, c.relkind = 'I' FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind::text = ANY ('{i,I}')"
        " AND c.relname ~ ('^' || $1::text || '[0-9]+_[0-9a-f]{8}$')",
        [helper_prefix(run)],
    ):
        concurrently = "" if partitioned else "CONCURRENTLY "
        writer.alone(f"DROP INDEX {concurrently}IF EXISTS {quoted(schema)}.{quoted(name)}")


def _definition(reference: Reference, child: Relation) -> str:
    soft = reference.soft
    names = [child.column(name).sql for name in reference.columns]
    if soft is not None and soft.kind == "array":
        return f"USING gin ({names[0]})"
    if soft is not None and soft.kind == "jsonb":
        return f"(({names[0]} OPERATOR(pg_catalog.#>>) {text_array(soft.path)}))"
    if soft is not None and soft.type_column is not None:
        names.append(child.column(soft.type_column).sql)
    return f"({', '.join(names)})"
