"""Shapes: which table and columns some entries of the journal are about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from .. import journal
from ..errors import RefusedError
from ..journal import SCHEMA, standing, value
from ..relation import Column, Relation, load_relation
from ..session import Session
from ..table import NAME_BYTES, quoted
from ..writer import Writer

#: the journal's event that a side table was made
_SIDE_TABLE = "side table"


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


def _side_table(table: str, taken: Collection[str]) -> str:
    """Return a name for a table's side table that is not taken and not too long."""
    for number in count(1):
        end = "" if number == 1 else f"_{number}"
        name = f"restored_{table}".encode("utf-8", "surrogateescape")
        side = name[: NAME_BYTES - len(end)].decode("utf-8", "ignore") + end
        if side not in taken:
            return side
    raise AssertionError("numbers do not end")


def _make_way(writer: Writer, side: str) -> None:
    """Drop a side table that an earlier undo made. Raises RefusedError where it is not one."""
    there = writer.rows(
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = $2::text",
        [writer.journal, side],
    )
    if not there:
        return
    if not writer.rows(
        f"SELECT 1 FROM {SCHEMA}.event WHERE kind = $1::text AND detail = $2::text",
        [_SIDE_TABLE, side],
    ):
        raise RefusedError(
            f"there is a {writer.journal}.{side} that no undo made",
            hint="Rename it, then give the same command again.",
        )
    writer.rows(f"DROP TABLE {SCHEMA}.{quoted(side)}")


def fill_side_tables(
    writer: Writer, run: str, shapes: Iterable[Shape], groups: Sequence[int]
) -> dict[str, int]:
    """Copy the deleted rows of a run into ``restored_<table>`` beside the journal, made anew.

    Returns side table to rows. ACCESS EXCLUSIVE on the side tables alone.
    """
    found: dict[str, int] = {}
    taken: set[str] = set()
    wanted = (
        f"FROM {SCHEMA}.entry e WHERE e.run = $1::text AND e.shape = $2::int4"
        f" AND e.action = 'd' AND {standing('e')}"
        " AND ($3::int4[] IS NULL OR e.groups && $3::int4[])"
    )
    with writer.writing():
        for shape in shapes:
            side = _side_table(shape.relation.name, taken)
            name = f"{SCHEMA}.{quoted(side)}"
            params = [run, shape.number, list(groups) or None]
            (rows,) = writer.row(f"SELECT count(*) {wanted}", params)
            if not rows:
                continue
            taken.add(side)
            _make_way(writer, side)
            writer.rows(f"CREATE TABLE {name} (LIKE {shape.relation.sql})")
            journal.tell(writer, run, _SIDE_TABLE, side)
            writer.rows(
                f"INSERT INTO {name} ({column_names(shape.columns)})"
                f" SELECT {column_values(shape.columns)} {wanted} ORDER BY e.id",
                params,
            )
            found[f"{writer.journal}.{side}"] = rows
    return found
