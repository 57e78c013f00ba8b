"""Read keys out of SQLAlchemy's tables, indexes, constraints and expressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Index, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import ColumnCollectionConstraint
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import ClauseElement, TextClause, UnaryExpression

from ..errors import KeyDefinitionError
from .spec import KeyPart, MatchKey

# Another parameter style than the dialect's own would double every percent sign.
_DIALECT: Dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_ORDER = {operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op}


def key_of(made: type[MatchKey], source: object) -> MatchKey:
    """Make the key; see ``MatchKey.from_sqlalchemy``."""
    options: Mapping[str, Any] = {}
    label: str | None = None
    if isinstance(source, Index):
        options = source.dialect_options["postgresql"]
        label = source.name
        given: list[object] = list(source.expressions)
        if str(options.get("using") or "btree").lower() != "btree":
            raise KeyDefinitionError(
                f"index {label} is {options['using']}, not btree; only btree can be unique",
                hint="Give its columns instead.",
                key=label,
            )
    elif isinstance(source, ColumnCollectionConstraint):
        options = source.dialect_options["postgresql"]
        label = str(source.name) if source.name else None
        given = list(source.columns)
    elif isinstance(source, ClauseElement) or not isinstance(source, Iterable):
        given = [source]
    else:
        given = list(source)
    elements = [_element(element) for element in given]
    table = source.table if isinstance(source, Index) and source.table is not None else None
    if table is None:
        table = _table_of(elements, label)
    classes = dict(options.get("ops") or {})
    where = options.get("where")
    return made(
        table=_DIALECT.identifier_preparer.format_table(table),
        parts=tuple(_part(element, classes) for element in elements),
        where=None if where is None else _compiled(where),
        nulls_distinct=not options.get("nulls_not_distinct"),
        label=str(label) if label is not None else None,
    )


def _element(given: object) -> ClauseElement:
    """Return the expression itself: mapped attributes unwrapped, ordering dropped."""
    unwrap = getattr(given, "__clause_element__", None)
    element = unwrap() if unwrap is not None else given
    while isinstance(element, UnaryExpression) and element.modifier in _ORDER:
        element = element.element
    if not isinstance(element, ColumnElement | TextClause):
        raise KeyDefinitionError(
            f"a key is not made of a {type(element).__name__}",
            hint="Give an Index, a UniqueConstraint or column expressions.",
        )
    return element


def _table_of(elements: Iterable[ClauseElement], label: str | None) -> Table:
    """Return the one table whose columns the expressions read."""
    found = {
        part.table
        for element in elements
        for part in visitors.iterate(element)
        if isinstance(part, Column) and isinstance(part.table, Table)
    }
    if len(found) != 1:
        names = ", ".join(sorted(table.fullname for table in found)) or "no table"
        raise KeyDefinitionError(
            f"the key's expressions are over {names}; a key belongs to one table",
            hint="Use columns of one Table.",
            key=label,
        )
    return found.pop()


def _part(element: ClauseElement, classes: Mapping[str, str]) -> KeyPart:
    label = getattr(element, "key", None) or getattr(element, "name", None)
    operator_class = classes.get(label) if label is not None else None
    if isinstance(element, Column):
        return KeyPart(text=element.name, column=True, operator_class=operator_class)
    return KeyPart(text=_compiled(element), column=False, operator_class=operator_class)


def _compiled(element: object) -> str:
    """Compile for PostgreSQL: literal values, column names without their table."""
    clause = text(element) if isinstance(element, str) else _element(element)
    try:
        compiler = _DIALECT.statement_compiler(_DIALECT, None)
        return str(compiler.process(clause, include_table=False, literal_binds=True))
    except (CompileError, NotImplementedError) as error:
        raise KeyDefinitionError(
            f"SQLAlchemy cannot write the expression for PostgreSQL: {error}",
            hint="Write it with sqlalchemy.text(), or give SQL to MatchKey.from_columns.",
        ) from error
