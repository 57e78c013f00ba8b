"""Operators, aggregates and conversions of users that the target defines in another way.

Source: https://www.postgresql.org/docs/release/14.0/ (Migration to Version 14)
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .majors import note_of
from .rule import Look, Rule, Said

#: functions whose arguments became anycompatible in 14
_POLYMORPHIC = ("array_append", "array_cat", "array_position", "array_positions", "array_prepend",
                "array_remove", "array_replace", "width_bucket")


def look(at: Look) -> Iterator[Said]:
    """Look for what pg_upgrade and a restore into 14 or later refuse."""
    if not at.crosses(14):
        return
    note = note_of(14)
    for schema, name, signature in at.catalog.rows(
        "SELECT n.nspname, o.oprname, o.oid::regoperator::text FROM pg_catalog.pg_operator o"
        " JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace"
        " WHERE o.oprkind = 'r' AND o.oid >= 16384 ORDER BY 1, 2"
    ):
        yield at.blocker(
            at.named(schema, name),
            f"it is a postfix operator, and PostgreSQL 14 has none ({note})",
            f"Use a prefix operator or a function in its place, and: DROP OPERATOR {signature}",
        )
    for kind, schema, name, signature in at.catalog.rows(
        """
        WITH changed AS (
            SELECT oid FROM pg_catalog.pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($1::text[])
        ), any_types (oid) AS (VALUES ('anyarray'::regtype::oid), ('anyelement'::regtype::oid))
        SELECT 'aggregate', n.nspname, p.proname || '('
               || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
               p.oid::regprocedure::text
        FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc p ON p.oid = a.aggfnoid
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid >= 16384 AND (
            a.aggtransfn::oid IN (SELECT oid FROM changed)
                AND a.aggtranstype IN (SELECT oid FROM any_types)
            OR a.aggfinalfn::oid IN (SELECT oid FROM changed)
                AND p.prorettype IN (SELECT oid FROM any_types))
        UNION ALL
        SELECT 'operator', n.nspname, o.oprname, o.oid::regoperator::text
        FROM pg_catalog.pg_operator o
        JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
        WHERE o.oid >= 16384 AND o.oprcode::oid IN (SELECT oid FROM changed)
          AND o.oprleft IN (SELECT oid FROM any_types)
        ORDER BY 2, 3
        """,
        [list(_POLYMORPHIC)],
    ):
        yield at.blocker(
            at.named(schema, name),
            f"this {kind} is built on an array function whose arguments became anycompatible in"
            f" PostgreSQL 14 ({note}), so that it cannot be made there",
            f"Before the upgrade: DROP {kind.upper()} {signature}; make it again with"
            " anycompatiblearray and anycompatible after it",
        )
    for schema, name in at.catalog.rows(
        "SELECT n.nspname, c.conname FROM pg_catalog.pg_conversion c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace WHERE c.oid >= 16384"
        " ORDER BY 1, 2"
    ):
        yield at.blocker(
            at.named(schema, name),
            "it is an encoding conversion of a user, whose functions take other arguments in"
            f" PostgreSQL 14 ({note})",
            f"Before the upgrade: DROP CONVERSION {quoted(schema)}.{quoted(name)}; make it again"
            " after it, with a new function if it is not one of the system's",
        )


RULE = Rule(name="changed-signatures", scope="database", look=look)
