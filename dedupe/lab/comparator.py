"""An operator class whose compare function can be replaced: damage without a byte touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from ..errors import LabError
from ..table import quoted

STRAIGHT, REVERSED = "($1, $2)", "($2, $1)"


def comparator_class(dsn: str, type_name: str, name: str = "lab_ops") -> str:
    """Make a btree operator class that orders a type by its default; return its quoted name.

    Its operators are the type's own and its compare function is one in SQL,
    ``<name>_cmp``. Raises LabError where the type has no default class.
    """
    try:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                """
                SELECT t.typ::text, p.amproc::regproc::text,
                       ARRAY(SELECT format('OPERATOR %%s %%I.%%s', o.amopstrategy, s.nspname,
                                           r.oprname)
                             FROM pg_amop o JOIN pg_operator r ON r.oid = o.amopopr
                                  JOIN pg_namespace s ON s.oid = r.oprnamespace
                             WHERE o.amopfamily = c.opcfamily AND o.amoplefttype = t.typ
                               AND o.amoprighttype = t.typ ORDER BY o.amopstrategy)
                FROM (SELECT %s::regtype) t (typ)
                     JOIN pg_opclass c ON c.opcdefault AND c.opcintype = t.typ
                     JOIN pg_am a ON a.oid = c.opcmethod AND a.amname = 'btree'
                     JOIN pg_amproc p ON p.amprocfamily = c.opcfamily AND p.amprocnum = 1
                         AND p.amproclefttype = t.typ AND p.amprocrighttype = t.typ
                """,
                [type_name],
            ).fetchone()
            if row is None:
                raise LabError(
                    f"the type {type_name} has no default order of its own",
                    hint="Make the class for text and use it with varchar, too.",
                )
            of_type, compare, operators = row
            function = quoted(f"{name}_cmp")
            connection.execute(
                sql.SQL(
                    f"CREATE FUNCTION {function} ({of_type}, {of_type}) RETURNS int"
                    f" LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE"
                    f" AS 'SELECT {compare}{STRAIGHT}';"
                    f" CREATE OPERATOR CLASS {quoted(name)} FOR TYPE {of_type} USING btree AS"
                    f" {', '.join(operators)}, FUNCTION 1 {function} ({of_type}, {of_type})"
                )
            )
    except psycopg.Error as error:
        raise LabError(f"no operator class for {type_name}: {str(error).strip()}") from error
    return quoted(name)


@contextmanager
def reversed_comparators(dsn: str, index_oid: int, index: str) -> Iterator[None]:
    """Let the compare functions of an index give the opposite, and put them back.

    Raises LabError when the index has none that ``comparator_class`` made.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        functions = connection.execute(
            """
            SELECT DISTINCT pg_get_functiondef(p.amproc)
            FROM pg_index i CROSS JOIN LATERAL unnest(i.indclass::oid[]) u (class)
                 JOIN pg_opclass c ON c.oid = u.class
                 JOIN pg_amproc p ON p.amprocfamily = c.opcfamily AND p.amprocnum = 1
                     AND p.amproclefttype = c.opcintype AND p.amprocrighttype = c.opcintype
                 JOIN pg_proc f ON f.oid = p.amproc JOIN pg_language l ON l.oid = f.prolang
            WHERE i.indexrelid = %s::oid AND l.lanname = 'sql' AND f.prosrc LIKE %s
            """,
            [index_oid, f"SELECT %{STRAIGHT}"],
        ).fetchall()
        if not functions:
            raise LabError(
                f"no compare function of {index} can be replaced",
                hint="Make the index with the operator class of comparator_class().",
                index=index,
            )
        try:
            for (definition,) in functions:
                connection.execute(sql.SQL(definition.replace(STRAIGHT, REVERSED)))
            yield
        finally:
            for (definition,) in functions:
                connection.execute(sql.SQL(definition))
