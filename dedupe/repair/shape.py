"""Shapes: which table and columns some entries of the journal are about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..journal import SCHEMA, standing, value
from ..relation import Column, Relation, load_relation
from ..session import Session
from ..table import quoted
from ..writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A table and the columns that some entries are about."""

    number: int
    relation: Relation
    columns: tuple[Column, ...]


def load_shapes(session: Session, run: str) -> dict[int, Shape]:
    """Read the shapes of a run, with their tables as these are now.

    Raises UnknownObject where a table or a column is gone.
    """
    return {
        number: Shape(
            number=number,
            relation=(relation := load_relation(session, relid)),
            columns=tuple(relation.column(name) for name in names),
        )
        for number, relid, names in session.rows(
            f"SELECT number, relid::int8, columns FROM {SCHEMA}.shape WHERE run = $1::text", [run]
        )
    }


def column_names(columns: Iterable[Column]) -> str:
    """Write the columns of an INSERT."""
    return ", ".join(column.sql for column in columns)


def column_values(columns: Iterable[Column]) -> str:
    """Write the values that an entry ``e`` had before."""
    return ", ".join(
        value(f"e.before[{n}]", column.type) for n, column in enumerate(columns, 1)
    )


def fill_side_tables(
    writer: Writer, run: str, shapes: Iterable[Shape], groups: Sequence[int]
) -> dict[str, int]:
    """Copy the deleted rows of a run into ``restored_<table>`` beside the journal, made anew.

    Returns side table to rows. ACCESS EXCLUSIVE on the side tables alone.
    """
    found: dict[str, int] = {}
    wanted = (
        f"FROM {SCHEMA}.entry e WHERE e.run = $1::text AND e.shape = $2::int4"
        f" AND e.action = 'd' AND {standing('e')}"
        " AND ($3::int4[] IS NULL OR e.groups && $3::int4[])"
    )
    with writer.writing():
        for shape in shapes:
            side = f"restored_{shape.relation.name}"
            name = f"{SCHEMA}.{quoted(side)}"
            params = [run, shape.number, list(groups) or None]
            (rows,) = writer.row(f"SELECT count(*) {wanted}", params)
            if not rows:
                continue
            writer.rows(f"DROP TABLE IF EXISTS {name}")
            writer.rows(f"CREATE TABLE {name} (LIKE {shape.relation.sql})")
            writer.rows(
                f"INSERT INTO {name} ({column_names(shape.columns)})"
                f" SELECT {column_values(shape.columns)} {wanted} ORDER BY e.id",
                params,
            )
            found[f"{writer.journal}.{side}"] = rows
    return found
