"""Functions, operators and catalog columns that the target does not have, where they are used.

Views, rules, defaults, constraints, indexes, policies and triggers keep what they use as trees
of oids, so that functions and operators are found exactly; columns of catalogs, and what stands
in the bodies of functions, are found by their names. A body may also name what this server does
not have any more, for nobody looks at it before it is called.

Source: https://www.postgresql.org/docs/current/catalog-pg-rewrite.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .bodies import Body, bodies
from .catalog import Catalog
from .majors import Removed, removed
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Look into all that is kept as trees, and into the bodies of functions."""
    old, new = at.catalog.major, at.target
    functions = [(n, entry) for entry in removed("functions", old, new) for n in entry.names]
    operators = list(removed("operators", old, new))
    columns = list(removed("columns", old, new))
    if functions or operators:
        yield from _in_trees(at, functions, operators)
    if columns:
        yield from _in_views(at, columns)
    yield from _in_bodies(at)


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
    # Arguments' defaults, and from 14 on bodies that are no text.
    body = "proargdefaults::text"
    if at.catalog.major >= 14:
        body = "nullif(concat(proargdefaults::text, prosqlbody::text), '')"
    for schema, name, kind, found in at.catalog.rows(
        f"""
        SELECT n.nspname, t.name, t.kind, t.found FROM (
            SELECT c.relnamespace AS space, 'pg_catalog.pg_class'::regclass AS class, c.oid AS of,
                   c.relname AS name,
                   CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'rule' END AS kind,
                   r.ev_action::text || coalesce(r.ev_qual::text, '') AS tree
            FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
            UNION ALL
            SELECT c.relnamespace, c.tableoid, c.oid, c.relname || '.' || a.attname, 'default',
                   d.adbin::text
            FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum
            UNION ALL
            SELECT connamespace,
                   CASE WHEN conrelid <> 0 THEN 'pg_catalog.pg_class'::regclass
                        ELSE 'pg_catalog.pg_type'::regclass END,
                   greatest(conrelid, contypid), conname, 'constraint', conbin::text
            FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL
            UNION ALL
            SELECT typnamespace, tableoid, oid, typname, 'domain', typdefaultbin::text
            FROM pg_catalog.pg_type WHERE typdefaultbin IS NOT NULL
            UNION ALL
            SELECT c.relnamespace, c.tableoid, c.oid, c.relname, 'index',
                   coalesce(i.indexprs::text, '') || coalesce(i.indpred::text, '')
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
            UNION ALL
            SELECT c.relnamespace, c.tableoid, c.oid, c.relname || '.' || p.polname, 'policy',
                   coalesce(p.polqual::text, '') || coalesce(p.polwithcheck::text, '')
            FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
            UNION ALL
            SELECT c.relnamespace, c.tableoid, c.oid, c.relname || '.' || t.tgname, 'trigger',
                   t.tgqual::text
            FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
            WHERE t.tgqual IS NOT NULL
            UNION ALL
            SELECT c.relnamespace, c.tableoid, c.oid, c.relname, 'partition key', p.partexprs::text
            FROM pg_catalog.pg_partitioned_table p JOIN pg_catalog.pg_class c ON c.oid = p.partrelid
            WHERE p.partexprs IS NOT NULL
            UNION ALL
            SELECT pronamespace, tableoid, oid, proname || '()', 'function', {body}
            FROM pg_catalog.pg_proc WHERE oid >= 16384 AND {body} IS NOT NULL
        ) s
        JOIN pg_catalog.pg_namespace n ON n.oid = s.space
        CROSS JOIN LATERAL (
            SELECT DISTINCT s.name, s.kind, m[2]::int8 AS found
            FROM pg_catalog.regexp_matches(
                s.tree, ':(funcid|opno|aggfnoid|winfnoid) ([0-9]+)', 'g') m
        ) t
        WHERE t.found = ANY ($1::int8[]) AND s.of >= 16384
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = s.of
                          AND d.classid = s.class AND d.deptype = 'e')
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


def _in_bodies(at: Look) -> Iterator[Said]:
    functions = [(n, entry) for entry in removed("functions", 0, at.target) for n in entry.names]
    columns = list(removed("columns", 0, at.target))
    words = [name for name, _ in functions]
    words += sorted({name for entry in columns for name in entry.names})
    found = []
    for body in bodies(at.catalog, words):
        found += [
            (body, name, entry) for name, entry in functions
            # Another schema's is another function.
            if re.search(rf"(?<![\w.\"])(?:pg_catalog\.)?{name}\s*\(", body.code, re.IGNORECASE)
        ]
        found += [
            (body, name, entry) for entry in columns for name in entry.names
            if re.search(rf"\b{entry.facts['relation']}\b", body.code, re.IGNORECASE)
            and re.search(rf"\b{name}\b", body.code, re.IGNORECASE)
        ]
    here = _still_here(at.catalog, found) if found else set()
    for body, name, entry in found:
        relation = entry.facts.get("relation")
        already = entry.major <= at.catalog.major
        if already and (body.by_version or (relation, name) in here):
            continue
        fails = "fails already" if already else "will fail"
        yield at.warning(
            at.named(body.schema, f"{body.name}()"),
            f"the function's body uses {f'{relation}.{name}' if relation else f'{name}()'}, which"
            f" PostgreSQL {entry.major} does not have ({entry.note}): it {fails} when it is called",
            f"Write it with {entry.facts['instead']}",
        )


def _still_here(
    catalog: Catalog, found: Sequence[tuple[Body, str, Removed]]
) -> set[tuple[str | None, str]]:
    """Find the names that something of a user's has taken over: functions, and columns."""
    return {
        (relation, name)
        for relation, name in catalog.rows(
            "SELECT NULL, proname FROM pg_catalog.pg_proc WHERE proname = ANY ($1::text[])"
            " UNION SELECT c.relname, a.attname FROM pg_catalog.pg_attribute a"
            " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
            " WHERE a.attname = ANY ($1::text[]) AND c.relname = ANY ($2::text[])",
            [
                sorted({name for _, name, _ in found}),
                sorted({entry.facts.get("relation", "") for _, _, entry in found}),
            ],
        )
    }


def _named_columns(text: str, columns: Sequence[Removed]) -> Iterator[tuple[Removed, str]]:
    """Yield the columns that a view's text reads, in the way in which the server writes it."""
    for entry in columns:
        relation = entry.facts["relation"]
        aliases = {relation}
        for found in re.finditer(rf"\b{relation}\s+(?:AS\s+)?(\w+|\"[^\"]+\")", text):
            aliases.add(found[1])
        prefixes = "|".join(re.escape(alias) for alias in sorted(aliases))
        if re.search(rf"\b{relation}\b", text):
            for name in entry.names:
                # Without a prefix where only one relation is read; behind AS it is a new name.
                if re.search(rf"(?<![\w.\"])(?:{prefixes})\.{name}\b", text) or re.search(
                    rf"(?<![\w.\"])(?<!AS ){name}\b", text
                ):
                    yield entry, name


RULE = Rule(name="removed-objects", scope="database", look=look)
