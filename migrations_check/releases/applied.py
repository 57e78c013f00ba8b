"""Which migrations ran, as the application's own table in the database says."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from dedupe.errors import PermissionDenied, UnknownObject, UsageError

from ..server.catalog import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The rows of a table of migrations."""

    schema: str
    table: str
    versions: frozenset[str]

    @property
    def label(self) -> str:
        """The table's name for people."""
        return f"{self.schema}.{self.table}"


def read_applied(
    catalog: Catalog, table: str, column: str, *, schema: str | None, whose: str
) -> Applied:
    """Read the one column of a table of migrations, whole.

    Without ``schema`` the table is looked for on the role's search path, else wherever the
    only one of that name is. ``whose`` names the application in messages.
    Raises UnknownObject, PermissionDenied, UsageError (there are several).
    """
    found = _place(catalog, table, column, schema, whose)
    query = sql.SQL("SELECT {column}::text FROM {table}").format(
        column=sql.Identifier(column), table=sql.Identifier(found, table)
    )
    rows = catalog.rows(query.as_string())
    return Applied(
        schema=found, table=table,
        versions=frozenset(version for (version,) in rows if version is not None),
    )


def _place(
    catalog: Catalog, table: str, column: str, schema: str | None, whose: str
) -> str:
    """Find the schema of the table that may be read."""
    places = {
        name: (bool(has), bool(readable))
        for name, has, readable in catalog.rows(
            "SELECT n.nspname, EXISTS (SELECT FROM pg_catalog.pg_attribute a"
            " WHERE a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped),"
            " pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
            " AND pg_catalog.has_table_privilege(c.oid, 'SELECT')"
            " FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = $1::text AND c.relkind IN ('r', 'p', 'v')"
            " AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'"
            " AND ($3::text IS NULL OR n.nspname = $3::text) ORDER BY n.nspname",
            [table, column, schema],
        )
    }
    where = f"schema {schema}" if schema is not None else f"database {catalog.database}"
    if not places:
        raise UnknownObject(
            f"there is no table {table} in {where}: it is not that of {whose}",
            hint="Name the application's database with -d, and its schema with --schema.",
            kind="table", name=table,
        )
    name = next((one for one in _search_path(catalog) if one in places), None)
    if name is None:
        if len(places) > 1:
            raise UsageError(
                f"several schemas have a table {table}: {', '.join(places)}",
                hint="Say which one is meant: --schema NAME.",
            )
        (name,) = places
    has, readable = places[name]
    if not has:
        raise UnknownObject(
            f"the table {name}.{table} has no column {column}: it is not that of {whose}",
            hint="Name the application's database with -d, and its schema with --schema.",
            kind="column", name=column,
        )
    if not readable:
        words = sql.SQL(
            "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {table} TO {role}"
        ).format(
            schema=sql.Identifier(name), table=sql.Identifier(name, table),
            role=sql.Identifier(catalog.value("SELECT current_user::text")),
        )
        raise PermissionDenied(
            f"this role may not read {name}.{table}",
            hint=f"As its owner: {words.as_string()}", object=f"{name}.{table}",
        )
    return name


def _search_path(catalog: Catalog) -> list[str]:
    """Return the schemas of the role's own search path; the session's is empty."""
    setting = "SELECT pg_catalog.set_config('search_path', $1::text, false)"
    own = catalog.value(
        "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'search_path'"
    )
    catalog.value(setting, [own])
    try:
        return list(catalog.value("SELECT pg_catalog.current_schemas(false)::text[]"))
    finally:
        catalog.value(setting, [""])
