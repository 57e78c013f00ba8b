"""What the user names as a key: an index, or columns and expressions of a table.

A ``MatchKey`` knows no database; ``resolve`` gives it its meaning in one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import KeyDefinitionError
from .text import check_expression

if TYPE_CHECKING:
    from sqlalchemy import Index, UniqueConstraint


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPart:
    """One column or expression of a key, as the user gave it."""

    #: a column's name, or SQL of one expression
    text: str
    #: True: a column's name; False: an expression; None: a column where one has
    #: exactly this name, else an expression
    column: bool | None = None
    #: operator class by name, or None for the type's default
    operator_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchKey:
    """What makes two rows the same; made by one of the ``from_…`` methods.

    It holds names only and is checked against a database by ``resolve``.
    """

    #: name of an index (``name`` or ``schema.name`` by SQL's rules), or None
    index: str | None = None
    #: name of the table; of an index, the one that it must belong to, or None for any
    table: str | None = None
    #: the columns and expressions; empty for an index
    parts: tuple[KeyPart, ...] = ()
    #: SQL predicate that limits the key to some rows, or None
    where: str | None = None
    #: whether a row with a NULL in the key is never a duplicate
    nulls_distinct: bool = True
    #: name for people; None for one made of the parts
    label: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can be no key in any database."""
        if (self.index is not None and self.parts) or (self.index is None and self.table is None):
            raise KeyDefinitionError("a key is either an index or columns of a table")
        if self.index is None and not self.parts:
            raise KeyDefinitionError(
                f"the key over {self.table} has no columns", hint="Name at least one.", key=None
            )
        for part in self.parts:
            if part.column is False:
                check_expression(part.text, "key expression")
        if self.where is not None:
            check_expression(self.where, "predicate")

    @property
    def name(self) -> str:
        """Name for people: the given one, the index's, or the columns in their order."""
        if self.label is not None:
            return self.label
        return self.index or ", ".join(part.text for part in self.parts)

    def to_json(self) -> str:
        """Write the key as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> MatchKey:
        """Read what ``to_json`` wrote."""
        facts: dict[str, Any] = json.loads(text)
        return cls(**{**facts, "parts": tuple(KeyPart(**part) for part in facts["parts"])})

    @classmethod
    def from_index(cls, name: str, table: str | None = None) -> MatchKey:
        """Make the key of an index (``name`` or ``schema.name``), unique or not.

        With ``table``, the index is looked up among that table's.

        Columns, expressions, predicate, collations, operator classes and NULLS NOT
        DISTINCT come from the catalogs. The index itself is never searched through.
        An index of a partitioned table means all its leaves, one of a leaf that leaf.
        """
        return cls(index=name, table=table)

    @classmethod
    def from_columns(
        cls,
        table: str,
        *columns: str,
        where: str | None = None,
        nulls_distinct: bool = True,
    ) -> MatchKey:
        """Make a key of columns and SQL expressions of ``table``.

        A string that is a column's name, letter by letter, is that column; any other
        is one SQL expression over column names, read under the role's search path.
        ``where`` is a predicate in SQL. Raises KeyDefinitionError.
        """
        return cls(
            table=table,
            parts=tuple(KeyPart(text=column) for column in columns),
            where=where,
            nulls_distinct=nulls_distinct,
        )

    @classmethod
    def from_sqlalchemy(cls, source: Index | UniqueConstraint | Iterable[Any]) -> MatchKey:
        """Make the key that an ``Index``, a constraint or column expressions describe.

        The expressions are compiled for PostgreSQL with their values written in.
        ``postgresql_where``, ``postgresql_nulls_not_distinct`` and
        ``postgresql_ops`` count; INCLUDE columns, ASC and DESC do not.
        Raises KeyDefinitionError: no table, several tables, not a btree index.
        """
        from .alchemy import key_of  # noqa: PLC0415 - each of the two modules makes the other's

        return key_of(cls, source)
