"""Whether every reference resolves: read from the heaps, through no index."""

from __future__ import annotations

from ..journal import SCHEMA, standing
from ..references import References
from ..session import Session
from ..table import quoted
from .pointing import literal, matches, text_array
from .searching import BY_HEAP


def resolve_references(
    session: Session, references: References, checks: list[str], findings: list[str]
) -> None:
    """Find rows whose foreign key points at nothing, by reading both heaps.

    One sentence for each reference goes to ``checks`` or to ``findings``. What the catalog
    does not hold to is left out: it may have pointed at nothing before. ACCESS SHARE.
    """
    for r in references.references:
        if r.soft is not None:
            continue
        child, parent = references.relations[r.child], references.relations[r.parent]
        there = " AND ".join(f"c.{child.column(name).sql} IS NOT NULL" for name in r.columns)
        with session.transaction(settings=BY_HEAP):
            (dangling,) = session.row(
                f"SELECT count(*) FROM {child.source} c WHERE {there} AND NOT EXISTS"
                f" (SELECT FROM {parent.source} p WHERE {matches(r, parent, child, 'p', 'c')})"
            )
        what = f"{child.label} ({', '.join(r.columns)})"
        if dangling:
            findings.append(f"{dangling} rows of {what} point at no row of {parent.label}")
        else:
            checks.append(f"every row of {what} points at a row of {parent.label}")


def find_strays(
    session: Session, run: str, references: References, checks: list[str], findings: list[str]
) -> None:
    """Find rows that point, by a soft reference, at a row that the run deleted.

    Nothing but the application keeps such rows from arriving while a repair runs. The
    journal says which rows were deleted. ACCESS SHARE; reads each child's heap once.
    """
    for r in references.references:
        if r.soft is None:
            continue
        child, parent = references.relations[r.child], references.relations[r.parent]
        column = f"c.{child.column(r.columns[0]).sql}"
        if r.soft.kind == "array":
            ids = f"pg_catalog.unnest({column})"
        elif r.soft.kind == "jsonb":
            ids = f"{column} OPERATOR(pg_catalog.#>>) {text_array(r.soft.path)}"
        else:
            ids = column
        kind = ""
        if r.soft.type_column is not None:
            name = child.column(r.soft.type_column).sql
            kind = f" WHERE c.{name} = {literal(r.soft.type_value or '')}"
        with session.transaction(settings=BY_HEAP):
            (strays,) = session.row(
                "WITH d AS (SELECT DISTINCT e.before[pg_catalog.array_position(s.columns,"
                f" $2::text)] AS id FROM {SCHEMA}.entry e JOIN {SCHEMA}.shape s"
                " ON s.run = e.run AND s.number = e.shape WHERE e.run = $1::text"
                f" AND e.action = 'd' AND s.relid = {parent.oid} AND {standing('e')}),"
                f" c AS (SELECT pg_catalog.format('%s', {ids}) AS id FROM {child.source} c{kind}),"
                f" p AS (SELECT pg_catalog.format('%s', {quoted(r.parent_columns[0])}) AS id"
                f" FROM {parent.source})"
                " SELECT count(*) FROM c JOIN d ON d.id = c.id"
                " WHERE NOT EXISTS (SELECT FROM p WHERE p.id = c.id)",
                [run, r.parent_columns[0]],
            )
        what = f"{child.label} ({', '.join(r.columns)})"
        if strays:
            findings.append(
                f"{strays} rows of {what} point at rows of {parent.label} that the repair deleted;"
                " they were written while it ran"
            )
        else:
            checks.append(f"no row of {what} points at a row that the repair deleted")
