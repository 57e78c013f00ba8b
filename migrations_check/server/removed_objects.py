"""Functions, operators and catalog columns that the target does not have, where they are used.

Views, rules, defaults, constraints and indexes keep what they use as trees of oids, so that
functions and operators are found exactly; columns of catalogs, and what stands in the bodies
of functions, are found by their names.

Source: https://www.postgresql.org/docs/current/catalog-pg-rewrite.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .majors import Removed, removed
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Look into views, rules, defaults, constraints, indexes and the bodies of functions."""
    old, new = at.catalog.major, at.target
    functions = [(n, entry) for entry in removed("functions", old, new) for n in entry.names]
    operators = list(removed("operators", old, new))
    columns = list(removed("columns", old, new))
    if functions or operators:
        yield from _in_trees(at, functions, operators)
    if columns:
        yield from _in_views(at, columns)
    if functions or columns:
        yield from _in_bodies(at, functions, columns)


def _in_trees(
    at: Look, functions: Sequence[tuple[str, Removed]], operators: Sequence[Removed]
) -> Iterator[Said]:
    entries = dict(functions)
    oids = {
        oid: (f"the function {name}()", entries[name])
        for oid, name in at.catalog.rows(
            "SELECT oid::int8, proname FROM pg_catalog.pg_proc"
            " WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($1::text[])",
            [list(entries)],
        )
    }
    used = {
        (name, left, right): oid
        for oid, name, left, right in at.catalog.rows(
            "SELECT o.oid::int8, o.oprname, l.typname, r.typname FROM pg_catalog.pg_operator o"
            " LEFT JOIN pg_catalog.pg_type l ON l.oid = o.oprleft"
            " LEFT JOIN pg_catalog.pg_type r ON r.oid = o.oprright"
            " WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprname = ANY ($1::text[])",
            [[entry.facts["name"] for entry in operators]],
        )
    }
    for entry in operators:
        for left in entry.facts["left"] or [None]:
            for right in entry.facts["right"] or [None]:
                oid = used.get((entry.facts["name"], left, right))
                if oid is not None:
                    oids[oid] = (f"the operator {entry.facts['name']}", entry)
    if not oids:
        return
    for schema, name, kind, found in at.catalog.rows(
        """
        SELECT n.nspname, t.name, t.kind, t.found FROM (
            SELECT c.relnamespace AS space, c.oid AS of, c.relname AS name,
                   CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'rule' END AS kind,
                   r.ev_action::text || coalesce(r.ev_qual::text, '') AS tree
            FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
            UNION ALL
            SELECT c.relnamespace, c.oid, c.relname || '.' || a.attname, 'default', d.adbin::text
            FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum
            UNION ALL
            SELECT connamespace, conrelid, conname, 'constraint', conbin::text
            FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL
            UNION ALL
            SELECT c.relnamespace, c.oid, c.relname, 'index',
                   coalesce(i.indexprs::text, '') || coalesce(i.indpred::text, '')
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
        ) s
        JOIN pg_catalog.pg_namespace n ON n.oid = s.space
        CROSS JOIN LATERAL (
            SELECT DISTINCT s.name, s.kind, m[2]::int8 AS found
            FROM pg_catalog.regexp_matches(
                s.tree, ':(funcid|opno|aggfnoid|winfnoid) ([0-9]+)', 'g') m
        ) t
        WHERE t.found = ANY ($1::int8[]) AND s.of >= 16384
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = s.of
                          AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e')
        ORDER BY 1, 2
        """,
        [list(oids)],
    ):
        what, entry = oids[found]
        yield at.blocker(
            at.named(schema, name),
            f"this {kind} uses {what}, which PostgreSQL {entry.major} does not have"
            f" ({entry.note}), so that it cannot be made there",
            f"Write it with {entry.facts['instead']}, or drop it before the upgrade",
        )


def _in_views(at: Look, columns: Sequence[Removed]) -> Iterator[Said]:
    relations = sorted({entry.facts["relation"] for entry in columns})
    # Writing a view's text takes long, so only those are written that read such a relation.
    for schema, view, text in at.catalog.rows(
        """
        SELECT n.nspname, c.relname, pg_catalog.pg_get_viewdef(c.oid) FROM (
            SELECT r.ev_class FROM pg_catalog.pg_rewrite r CROSS JOIN (
                SELECT ':relid (' || pg_catalog.string_agg(oid::text, '|') || ') ' AS read
                FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::regnamespace
                AND relname = ANY ($1::text[])) w
            WHERE r.ev_class >= 16384 AND r.ev_action::text ~ w.read OFFSET 0
        ) v
        JOIN pg_catalog.pg_class c ON c.oid = v.ev_class AND c.relkind IN ('v', 'm')
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid
                          AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e')
        ORDER BY 1, 2
        """,
        [relations],
    ):
        for entry, name in _named_columns(text, columns):
            yield at.blocker(
                at.named(schema, view),
                f"this view uses {entry.facts['relation']}.{name}, which PostgreSQL {entry.major}"
                f" does not have ({entry.note}), so that it cannot be made there",
                f"Write it with {entry.facts['instead']}, or drop it before the upgrade",
            )


def _in_bodies(
    at: Look, functions: Sequence[tuple[str, Removed]], columns: Sequence[Removed]
) -> Iterator[Said]:
    words = [name for name, _ in functions]
    words += sorted({name for entry in columns for name in entry.names})
    for schema, name, body in at.catalog.rows(
        "SELECT n.nspname, p.proname, p.prosrc FROM pg_catalog.pg_proc p"
        " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " JOIN pg_catalog.pg_language l ON l.oid = p.prolang"
        " WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')"
        " AND p.prosrc ~* ('\\m(' || pg_catalog.array_to_string($1::text[], '|') || ')\\M')"
        " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid"
        " AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e')"
        " ORDER BY 1, 2",
        [words],
    ):
        found = [
            (f"{one}()", entry) for one, entry in functions
            if re.search(rf"\b{one}\s*\(", body, re.IGNORECASE)
        ]
        found += [
            (f"{entry.facts['relation']}.{column}", entry)
            for entry, column in _named_columns(body, columns)
        ]
        for what, entry in found:
            yield at.warning(
                at.named(schema, f"{name}()"),
                f"the function's body uses {what}, which PostgreSQL {entry.major} does not have"
                f" ({entry.note}): it will fail when it is called",
                f"Write it with {entry.facts['instead']}",
            )


def _named_columns(text: str, columns: Sequence[Removed]) -> Iterator[tuple[Removed, str]]:
    """Yield the columns that a text names together with their relation."""
    for entry in columns:
        if re.search(rf"\b{entry.facts['relation']}\b", text, re.IGNORECASE):
            for name in entry.names:
                if re.search(rf"\b{name}\b", text, re.IGNORECASE):
                    yield entry, name


RULE = Rule(name="removed-objects", scope="database", look=look)
