"""The journal's tables as SQLAlchemy metadata: imported only where they are made or emptied."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.schema import CreateIndex, CreateTable

from .tables import SCHEMA


class _Tid(sa.types.UserDefinedType[str]):
    """A row's physical address."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type."""
        return "tid"


metadata = sa.MetaData(schema=sa.quoted_name(SCHEMA, quote=False))

header = sa.Table("header", metadata, sa.Column("version", sa.Integer, nullable=False))

runs = sa.Table(
    "run",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("started", sa.DateTime(timezone=True), nullable=False),
    sa.Column("finished", sa.DateTime(timezone=True)),
    # planned → repairing → repaired | left → undoing → undone
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("relid", pg.OID, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("key_name", sa.Text, nullable=False),
    # the key as it was named, as JSON
    sa.Column("asked", sa.Text, nullable=False),
    # in their order, as JSON
    sa.Column("policies", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    # groups of the round up to this turn are done
    sa.Column("done", sa.Integer, nullable=False),
)

work = sa.Table(
    "work",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("grp", sa.Integer, primary_key=True),
    # 0: the survivor
    sa.Column("ordinal", sa.Integer, primary_key=True),
    # the groups are worked on in the order of these
    sa.Column("turn", sa.Integer, nullable=False),
    # number of the policy that the group was decided by
    sa.Column("policy", sa.Integer, nullable=False),
    sa.Column("relid", pg.OID, nullable=False),
    sa.Column("place", _Tid, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Index("work_by_turn", "run", "round", "turn"),
)

merged = sa.Table(
    "merged",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("grp", sa.Integer, primary_key=True),
    # of the column that a callable merged
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text),
)

heaps = sa.Table(
    "heap",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("relid", pg.OID, primary_key=True),
    # another one means that the table was rewritten: its addresses mean other rows
    sa.Column("filenode", sa.BigInteger, nullable=False),
)

skipped = sa.Table(
    "skipped",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("grp", sa.Integer, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
)

shapes = sa.Table(
    "shape",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("relid", pg.OID, nullable=False),
    sa.Column("schema_name", sa.Text, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("columns", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("types", pg.ARRAY(sa.Text), nullable=False),
)

batches = sa.Table(
    "batch",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("round", sa.Integer, nullable=False),
    # that were repaired, those that were skipped left out
    sa.Column("groups", sa.Integer, nullable=False),
    sa.Column("deleted", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    # file numbers of the heaps that its entries are about, by oid, as JSON
    sa.Column("heaps", sa.Text, nullable=False),
    # all of its entries are undone, whatever these say of themselves
    sa.Column("undone", sa.Boolean, nullable=False, server_default=sa.false()),
)

entries = sa.Table(
    "entry",
    metadata,
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("shape", sa.Integer, nullable=False),
    # d: deleted, u: updated
    sa.Column("action", pg.CHAR(1), nullable=False),
    sa.Column("groups", pg.ARRAY(sa.Integer), nullable=False),
    sa.Column("before", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("after", pg.ARRAY(sa.Text)),
    # where the row stood, and where it stands now: leaf, address and version
    sa.Column("old_relid", pg.OID, nullable=False),
    sa.Column("old_place", _Tid, nullable=False),
    sa.Column("old_version", sa.Text, nullable=False),
    sa.Column("relid", pg.OID),
    sa.Column("place", _Tid),
    sa.Column("version", sa.Text),
    sa.Column("undone", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("entry_by_batch", "run", "batch"),
)

events = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)


def creating() -> list[str]:
    """Write the statements that make all tables and their indexes, in order."""
    dialect = pg.dialect()  # type: ignore[no-untyped-call]
    statements = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements += [
            str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes
        ]
    return statements
