"""How child rows point at parent rows, and what they are going to say once they are moved.

Pieces of SQL for ``statements``: they stand in a query over moved rows ``g`` (relid,
place) joined to their table as ``t``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..relation import Column, Relation
from ..surroundings import Reference

#: temporary tables of a batch
LOSER = "pg_temp.pgmend_loser"
MOVE = "pg_temp.pgmend_move"
_INTEGERS = frozenset({"smallint", "integer", "bigint"})


def at(alias: str, relation: Relation, relid: str, place: str) -> str:
    """Write that a row of ``relation`` stands at an address."""
    leaf = f"{alias}.tableoid = {relid}" if relation.partitioned else f"{relid} = {relation.oid}"
    return f"{alias}.ctid = {place} AND {leaf}"


def matches(reference: Reference, parent: Relation, child: Relation, p: str, c: str) -> str:
    """Write whether child row ``c`` points at parent row ``p``, for an index on the child."""
    soft = reference.soft
    tests = []
    for name, parent_name, operator in zip(
        reference.columns, reference.parent_columns, reference.operators, strict=True
    ):
        column, target = child.column(name), parent.column(parent_name)
        value = f"{p}.{target.sql}"
        if soft is not None and soft.kind == "array":
            tests.append(
                f"{c}.{column.sql} OPERATOR(pg_catalog.@>) ARRAY[{value}::{column.element}]"
            )
            continue
        if soft is not None and soft.kind == "jsonb":
            tests.append(
                f"({c}.{column.sql} OPERATOR(pg_catalog.#>>) {text_array(soft.path)})"
                f" OPERATOR(pg_catalog.=) pg_catalog.format('%s', {value})"
            )
            continue
        if soft is not None and column.text and not target.text:
            value = f"pg_catalog.format('%s', {value})"
        if column.collation is not None:
            value = f"({value} COLLATE {column.collation})"
        tests.append(f"{value} {operator} {c}.{column.sql}")
    if soft is not None and soft.type_column is not None:
        kind = child.column(soft.type_column)
        tests.append(f"{c}.{kind.sql} OPERATOR(pg_catalog.=) {literal(soft.type_value or '')}")
    return " AND ".join(tests)


def elements_match(
    reference: Reference, parent: Relation, child: Relation, p: str, value: str
) -> str:
    """Write whether an element of the child's array is the id of parent row ``p``."""
    element = child.column(reference.columns[0]).element
    target = parent.column(reference.parent_columns[0])
    return f"{value} OPERATOR(pg_catalog.=) {p}.{target.sql}::{element}"


def held(reference: Reference, child: Relation, c: str) -> str:
    """Write the id that child row ``c`` holds; NULL where another column says that it is another's.

    Beside a condition of its own on that column the planner would expect too few rows.
    """
    value = f"{c}.{child.column(reference.columns[0]).sql}"
    if reference.soft is None or reference.soft.type_column is None:
        return value
    kind = child.column(reference.soft.type_column).sql
    named = literal(reference.soft.type_value or "")
    return f"CASE WHEN {c}.{kind} OPERATOR(pg_catalog.=) {named} THEN {value} END"


def id_type(reference: Reference, relations: Mapping[int, Relation]) -> str | None:
    """Return the type that an id is compared as; None if the reference is none of plain ids."""
    if len(reference.columns) != 1 or (
        reference.soft is not None and reference.soft.kind != "value"
    ):
        return None
    mine = relations[reference.child].column(reference.columns[0]).base
    return compared_as(mine, relations[reference.parent].column(reference.parent_columns[0]).base)


def compared_as(one: str, other: str) -> str | None:
    """Return the type that values of two types are compared as; None unless they are plain ids."""
    if one in _INTEGERS and other in _INTEGERS:
        # Of two types the server would compare each row with each id.
        return "pg_catalog.int8"
    return "pg_catalog.uuid" if one == other == "uuid" else None


def kind_of(relation: Relation, column: str) -> str | None:
    """Return the type that the ids in a column are compared as; None if they are no plain ids."""
    base = relation.column(column).base
    return compared_as(base, base)


def among(value: str, kind: str, parameter: int) -> str:
    """Write whether a value is one of the ids of a parameter, which the server hashes."""
    return f"({value})::{kind} OPERATOR(pg_catalog.=) ANY (${parameter}::{kind}[])"


def holding(relation: Relation, column: str, kind: str, parameter: int, alias: str) -> str:
    """Write the rows of a table that hold an id of a parameter, for an index on the column."""
    return (
        f"pg_catalog.unnest(${parameter}::{kind}[]) {alias}i (id) JOIN {relation.source} {alias}"
        f" ON {alias}.{relation.column(column).sql} OPERATOR(pg_catalog.=) {alias}i.id"
    )


def keepers(references: Sequence[Reference], relations: Mapping[int, Relation]) -> str:
    """Write the joins that bring in the new parent row of each reference, arrays left out."""
    joins = []
    for r in references:
        if r.soft is not None and r.soft.kind == "array":
            continue
        n = r.number
        joins.append(
            f"LEFT JOIN {MOVE} m{n} ON m{n}.ref = {n} AND m{n}.relid = g.relid"
            f" AND m{n}.place = g.place LEFT JOIN {LOSER} l{n} ON l{n}.relid = m{n}.parent_relid"
            f" AND l{n}.place = m{n}.parent LEFT JOIN {relations[r.parent].source} p{n} ON "
            + at(f"p{n}", relations[r.parent], f"l{n}.keeper_relid", f"l{n}.keeper")
        )
    return " ".join(joins)


def new_value(
    column: Column, references: Sequence[Reference], relations: Mapping[int, Relation]
) -> str:
    """Write the value that a column of a moved row ``t`` is going to have."""
    documents = [
        r for r in references
        if column.name in r.columns and r.soft is not None and r.soft.kind == "jsonb"
    ]
    if documents:
        return _new_document(column, documents, relations)
    cases = []
    for r in references:
        if column.name not in r.columns:
            continue
        parent = relations[r.parent]
        target = parent.column(r.parent_columns[r.columns.index(column.name)])
        value = f"p{r.number}.{target.sql}"
        if r.soft is not None and r.soft.kind == "array":
            cases.append(
                f"WHEN EXISTS (SELECT FROM {MOVE} m WHERE m.ref = {r.number} AND"
                f" m.relid = g.relid AND m.place = g.place) THEN {_new_array(column, r, parent)}"
            )
            continue
        if r.lose:
            value = "NULL"
        elif column.text and not target.text:
            value = f"pg_catalog.format('%s', {value})::{whole_type(column)}"
        else:
            value = f"{value}::{whole_type(column)}"
        cases.append(f"WHEN m{r.number}.place IS NOT NULL THEN {value}")
    if not cases:
        return f"t.{column.sql}"
    return f"CASE {' '.join(cases)} ELSE t.{column.sql} END"


def whole_type(column: Column) -> str:
    """Write a column's type without its length; of a domain, what it is over.

    A cast to a length, or to a domain over one, cuts what is too long; an assignment
    refuses it.
    """
    base, brackets = column.base.removesuffix("[]"), "[]" if column.base.endswith("[]") else ""
    # Without a length these words mean one of 1.
    internal = {"character": "pg_catalog.bpchar", "bit": 'pg_catalog."bit"'}
    return internal.get(base, base) + brackets


def _new_document(
    column: Column, references: Sequence[Reference], relations: Mapping[int, Relation]
) -> str:
    """Write a jsonb document with the ids at all of its paths moved."""
    document = f"t.{column.sql}"
    for r in references:
        target = relations[r.parent].column(r.parent_columns[0])
        path = text_array(r.soft.path if r.soft is not None else ())
        here = f"t.{column.sql} OPERATOR(pg_catalog.#>) {path}"
        value = f"p{r.number}.{target.sql}"
        # One whose row goes without a successor is null.
        lost = "true" if r.lose else f"{value} IS NULL"
        # An id that was written as a string stays one.
        document = (
            f"pg_catalog.jsonb_set({document}, {path}, CASE WHEN m{r.number}.place IS NULL"
            f" THEN coalesce({here}, 'null') WHEN {lost} THEN 'null'::pg_catalog.jsonb"
            f" WHEN pg_catalog.jsonb_typeof({here}) = 'string'"
            f" THEN pg_catalog.to_jsonb(pg_catalog.format('%s', {value}))"
            f" ELSE pg_catalog.to_jsonb({value}) END, false)"
        )
    moved = " OR ".join(f"m{r.number}.place IS NOT NULL" for r in references)
    return f"CASE WHEN {moved} THEN {document} ELSE t.{column.sql} END"


def _new_array(column: Column, r: Reference, parent: Relation) -> str:
    """Write an array of ids with losers replaced, and no survivor's id twice by that."""
    name = parent.column(r.parent_columns[0]).sql
    successor = "false" if r.lose else at("n", parent, "l.keeper_relid", "l.keeper")
    return (
        f"(WITH y AS (SELECT o.{name}::{column.element} AS old, n.{name}::{column.element} AS new"
        f" FROM {MOVE} m JOIN {LOSER} l ON l.relid = m.parent_relid AND l.place = m.parent"
        f" JOIN {parent.source} o ON {at('o', parent, 'l.relid', 'l.place')}"
        f" LEFT JOIN {parent.source} n ON {successor}"
        f" WHERE m.ref = {r.number} AND m.relid = g.relid AND m.place = g.place),"
        " z AS (SELECT u.n, coalesce(y.new, u.v) AS v,"
        " coalesce(y.new, u.v) IN (SELECT new FROM y WHERE new IS NOT NULL) AS hit"
        f" FROM pg_catalog.unnest(t.{column.sql}) WITH ORDINALITY u (v, n)"
        # One whose row goes without a successor leaves the array.
        " LEFT JOIN y ON y.old = u.v WHERE y.old IS NULL OR y.new IS NOT NULL)"
        " SELECT pg_catalog.array_agg(v ORDER BY n) FROM (SELECT v, n, hit,"
        " row_number() OVER (PARTITION BY v ORDER BY n) AS place FROM z) s"
        f" WHERE hit IS NOT TRUE OR place = 1)::{column.type}"
    )


def literal(text: str) -> str:
    """Write a text as an SQL literal (standard_conforming_strings is pinned)."""
    return "'" + text.replace("'", "''") + "'"


def array(ids: Iterable[str]) -> str:
    """Write the text of an array of ids: integers or uuids."""
    return f"{{{','.join(ids)}}}"


def ids_in(text: str) -> list[str]:
    """List the ids in such a text."""
    return text[1:-1].split(",") if len(text) > 2 else []


def text_array(texts: Sequence[str]) -> str:
    """Write an array of texts."""
    return f"ARRAY[{', '.join(literal(text) for text in texts)}]::pg_catalog.text[]"
