"""The journal: what a repair changed, in the database itself, so that it can be taken back.

Its tables stand in a schema of their own. Every entry is written in the transaction of
the change that it describes. A row's image is one text a column, made by the type's
output function under the settings of ``session.PINNED`` and read back by its input
function under the same.

Sources: https://www.postgresql.org/docs/current/xfunc-sql.html (type I/O),
``format('%s', …)``: https://www.postgresql.org/docs/current/functions-string.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.schema import CreateIndex, CreateTable

from .connect import Connectable, connect
from .errors import NotReady, RefusedError, UnknownObject
from .key import MatchKey
from .references import Column, Relation
from .session import PINNED, Session
from .table import quoted
from .writer import Writer

SCHEMA = "pgmend"
#: version of the journal's tables; another one is refused by name
JOURNAL_VERSION = 1


class _Tid(sa.types.UserDefinedType[str]):
    """A row's physical address."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type."""
        return "tid"


metadata = sa.MetaData(schema=SCHEMA)

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
    sa.Column("index_name", sa.Text),
    # the key as it was named, as JSON
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    # groups of the round up to this number are done
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
    sa.Column("relid", pg.OID, nullable=False),
    sa.Column("place", _Tid, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
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
    # of the transaction that wrote it: rows that it wrote carry this xmin
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("first_group", sa.Integer, nullable=False),
    sa.Column("last_group", sa.Integer, nullable=False),
    # that were repaired, those that were skipped left out
    sa.Column("groups", sa.Integer, nullable=False),
    sa.Column("deleted", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)

entries = sa.Table(
    "entry",
    metadata,
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    # statement of the batch: undone the last one first
    sa.Column("step", sa.SmallInteger, nullable=False),
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
    sa.Index("entry_by_batch", "run", "batch", "step"),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRun:
    """One repair that the journal knows."""

    id: str
    #: schema.table
    table: str
    key_name: str
    index_name: str | None
    #: ``repairing``, ``repaired``, ``left`` (groups are left), ``undoing`` or ``undone``
    state: str
    started: datetime
    finished: datetime | None
    #: groups that were repaired in all rounds
    groups: int
    #: entries that are not undone
    entries: int
    #: why there was no snapshot
    reason: str | None
    #: settings that the images were written under
    settings: Mapping[str, str]
    round: int
    #: groups of the round up to this number are done
    done: int
    relid: int
    policy: str
    fingerprint: str
    #: the key as it was named
    asked: MatchKey


def exists(session: Session) -> bool:
    """Tell whether this database has a journal; raises NotReady for another version's."""
    found = session.rows(
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = 'header'",
        [SCHEMA],
    )
    if not found:
        return False
    (version,) = session.row(f"SELECT version FROM {SCHEMA}.header")
    if version != JOURNAL_VERSION:
        raise NotReady(
            f"the journal in schema {SCHEMA} has version {version}; this pgmend writes version"
            f" {JOURNAL_VERSION}",
            hint="Use the pgmend that wrote it, or undo or drop its runs first.",
            reasons=(f"journal version {version}",),
        )
    return True


def ensure(writer: Writer) -> None:
    """Make the journal's schema and tables where they are missing, in one transaction.

    Raises NotReady (another version's), PermissionDenied.
    """
    if exists(writer):
        return
    dialect = pg.dialect()  # type: ignore[no-untyped-call]
    with writer.writing():
        writer.rows(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        writer.rows(f"REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC")
        for table in metadata.sorted_tables:
            writer.rows(str(CreateTable(table).compile(dialect=dialect)))
            for index in table.indexes:
                writer.rows(str(CreateIndex(index).compile(dialect=dialect)))
        writer.rows(f"INSERT INTO {SCHEMA}.header VALUES ($1)", [JOURNAL_VERSION])


def begin(
    writer: Writer,
    *,
    run: str,
    table: Relation,
    key_name: str,
    index_name: str | None,
    asked: MatchKey,
    policy: str,
    fingerprint: str,
    reason: str | None,
) -> None:
    """Enter a run that begins; only inside ``writing``."""
    writer.rows(
        f"INSERT INTO {SCHEMA}.run (id, started, state, relid, table_name, key_name, index_name,"
        " asked, policy, fingerprint, reason, settings, round, done)"
        " VALUES ($1, pg_catalog.now(), 'repairing', $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0)",
        [run, table.oid, table.label, key_name, index_name, asked.to_json(), policy,
         fingerprint, reason, json.dumps(image_settings())],
    )


def image_settings() -> dict[str, str]:
    """Return the settings that decide how a value is written as text."""
    names = (
        "extra_float_digits", "DateStyle", "IntervalStyle", "TimeZone", "bytea_output",
        "lc_monetary", "xmloption", "quote_all_identifiers", "array_nulls",
        "standard_conforming_strings",
    )
    return {name: PINNED[name] for name in names}


def add_shape(writer: Writer, run: str, relation: Relation, columns: Sequence[Column]) -> int:
    """Return the number of a shape (a table and some of its columns), entering it if new.

    Only inside ``writing``.
    """
    names = [column.name for column in columns]
    types = [column.type for column in columns]
    found = writer.rows(
        f"SELECT number FROM {SCHEMA}.shape WHERE run = $1 AND relid = $2::int8::oid"
        " AND columns = $3::text[] AND types = $4::text[]",
        [run, relation.oid, names, types],
    )
    if found:
        return int(found[0][0])
    (number,) = writer.row(
        f"INSERT INTO {SCHEMA}.shape (run, number, relid, schema_name, table_name, columns, types)"
        f" SELECT $1::text, coalesce(max(number), 0) + 1, $2::int8::oid, $3::text, $4::text,"
        f" $5::text[], $6::text[] FROM {SCHEMA}.shape WHERE run = $1 RETURNING number",
        [run, relation.oid, relation.schema, relation.name, names, types],
    )
    return int(number)


def image(columns: Sequence[Column], alias: str) -> str:
    """Write the image of a row: text[] with one element a column, NULL for a NULL.

    A cast to text would lose the trailing blanks of char(n), and ``IS NULL`` takes a
    composite of NULLs for a NULL.
    """
    texts = ", ".join(
        f"CASE WHEN pg_catalog.num_nulls({alias}.{column.sql}) OPERATOR(pg_catalog.=) 0"
        f" THEN pg_catalog.format('%s', {alias}.{column.sql}) END"
        for column in columns
    )
    return f"ARRAY[{texts}]::pg_catalog.text[]"


def value(text: str, column_type: str) -> str:
    """Write a value of its image's text."""
    if column_type == "character":
        # Without a length the cast keeps what the image says, to the blank.
        column_type = "bpchar"
    return f"CAST({text} AS {column_type})"


def tell(writer: Writer, run: str, kind: str, detail: str) -> None:
    """Enter an event; in or outside of a transaction."""
    writer.rows(
        f"INSERT INTO {SCHEMA}.event (run, at, kind, detail) VALUES"
        " ($1, pg_catalog.clock_timestamp(), $2, $3)",
        [run, kind, detail],
    )


def find_run(session: Session, run: str) -> JournalRun | None:
    """Return what the journal knows of a run, or None."""
    if not exists(session):
        return None
    return next((one for one in _runs(session) if one.id == run), None)


def _runs(session: Session) -> list[JournalRun]:
    rows = session.rows(
        f"""
        SELECT r.id, r.table_name, r.key_name, r.index_name, r.state, r.started, r.finished,
            (SELECT coalesce(sum(b.groups), 0)::int8 FROM {SCHEMA}.batch b WHERE b.run = r.id),
            (SELECT count(*) FROM {SCHEMA}.entry e WHERE e.run = r.id AND NOT e.undone),
            r.reason, r.settings, r.round, r.done, r.relid::int8, r.policy, r.fingerprint, r.asked
        FROM {SCHEMA}.run r ORDER BY r.started, r.id
        """,
    )
    return [
        JournalRun(
            id=r[0], table=r[1], key_name=r[2], index_name=r[3], state=r[4], started=r[5],
            finished=r[6], groups=r[7], entries=r[8], reason=r[9], settings=json.loads(r[10]),
            round=r[11], done=r[12], relid=r[13], policy=r[14], fingerprint=r[15],
            asked=MatchKey.from_json(r[16]),
        )
        for r in rows
    ]


def journal_runs(db: Connectable) -> list[JournalRun]:
    """List the repairs that this database's journal knows, the oldest first.

    Raises NotReady (another version's journal).
    """
    with connect(db).open() as session:
        return _runs(session) if exists(session) else []


def journal_export(db: Connectable, run: str) -> Iterator[dict[str, Any]]:
    """Stream the entries of a run, oldest first; memory: one thousand entries.

    Raises UnknownObject.
    """
    with connect(db).open() as session:
        known_run(session, run)
        last = 0
        while True:
            rows = session.rows(
                f"SELECT e.id, e.batch, e.action, e.groups, s.schema_name, s.table_name,"
                f" s.columns, e.before, e.after, e.undone FROM {SCHEMA}.entry e"
                f" JOIN {SCHEMA}.shape s ON s.run = e.run AND s.number = e.shape"
                " WHERE e.run = $1::text AND e.id > $2::int8 ORDER BY e.id LIMIT 1000",
                [run, last],
            )
            for row in rows:
                last = row[0]
                yield {
                    "batch": row[1],
                    "action": {"d": "delete", "u": "update"}[row[2]],
                    "groups": row[3],
                    "schema": row[4],
                    "table": row[5],
                    "columns": row[6],
                    "before": row[7],
                    "after": row[8],
                    "undone": row[9],
                }
            if len(rows) < 1000:
                return


def journal_drop(db: Connectable, run: str, *, force: bool = False) -> None:
    """Remove a run from the journal; it cannot be undone any more.

    Raises UnknownObject, RefusedError (unfinished, and not ``force``).
    """
    database = connect(db)
    with database.open_writer("pgmend journal") as writer:
        known = known_run(writer, run)
        if known.state in {"repairing", "undoing"} and not force:
            raise RefusedError(
                f"the run {run} is {known.state}; without its journal it could neither go on"
                " nor be undone",
                hint="Finish it first, or say --force.",
            )
        with writer.writing():
            for table in reversed(metadata.sorted_tables):
                column = "id" if table.name == "run" else "run"
                if table.name != "header":
                    name = f"{SCHEMA}.{quoted(table.name)}"
                    writer.rows(f"DELETE FROM {name} WHERE {column} = $1::text", [run])


def known_run(session: Session, run: str) -> JournalRun:
    """Return what the journal knows of a run. Raises UnknownObject."""
    found = find_run(session, run)
    if found is None:
        raise UnknownObject(
            f"the journal of this database has no run {run}",
            hint="List them with: pgmend journal list -d DATABASE",
            kind="run",
            name=run,
        )
    return found
