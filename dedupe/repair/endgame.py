"""The key's index once no group is left: rebuilt, or created where there was none."""

from __future__ import annotations

import json

from .. import journal
from ..errors import DedupeError, ServerUnavailable, UnknownObject
from ..key import MatchKey, ResolvedKey, find_index, resolve
from ..key.catalog import qualified
from ..plan import Plan
from ..relation import Relation
from ..session import Session
from ..table import name_fits, parse_name, quoted
from ..writer import Writer
from .collations import collation_advice
from .rebuild import build, build_failed, collatable_siblings, rebuild
from .telling import Telling
from .uniqueindex import is_plain, make_unique, make_unique_closed

#: the journal's event that an index is about to be created
CREATING = "create index"
#: the first major version with UNIQUE NULLS NOT DISTINCT
_NULLS_NOT_DISTINCT = 150000


class Endgame:
    """What one repair does with the index of its key."""

    def __init__(
        self,
        plan: Plan,
        key: ResolvedKey,
        table: Relation,
        telling: Telling,
        create: str | None,
        *,
        alone: bool,
    ) -> None:
        """``key`` is the plan's, as it is before the repair.

        ``create`` names the unique index to make where the key has none, or a plain one.

        ``alone``: nobody else is connected, and the faster way to build may stop writers.
        """
        self._key = key
        self._alone = alone
        self._plan = plan
        self._run = plan.run.id
        self._table = table
        self._telling = telling
        self._create = create

    def wanted(self, session: Session) -> bool:
        """Tell whether an index is to be created that is not there yet."""
        index = self._key.index_oid
        return (
            self._plain(session, index)
            if index is not None
            else self._create is not None and self._standing(session) is None
        )

    def obstacles(self, session: Session) -> tuple[str, ...]:
        """List what keeps the index from being created. Reads the catalogs."""
        name, key = self._create, self._key
        if name is None:
            return ()
        if key.index_oid is not None and self._named(session, key.index_oid):
            if self._table.partitioned and self._plain(session, key.index_oid):
                how = "has to be made unique by hand, on every partition and then on the table"
                return (f"{self._table.label} is partitioned: its index {name} {how}",)
            return ()
        if key.index_oid is not None:
            return (
                f"the key has an index, {key.name}, which is rebuilt: none is created beside it",
            )
        found = []
        if not name_fits(name):
            found.append(f"{name!r} cannot be the name of an index: it takes 1 to 63 bytes")
        if self._table.partitioned:
            found.append(
                f"{self._table.label} is partitioned: its unique index {name} has to be created"
                " by hand, on every partition and then on the table"
            )
        if not key.nulls_distinct and session.version < _NULLS_NOT_DISTINCT:
            found.append("an index in which NULLs are equal needs PostgreSQL 15 or later")
        if self._standing(session) is not None and not self._announced(session):
            found.append(f"there is already something called {self._table.schema}.{name}")
        return tuple(found)

    def proves(self, session: Session) -> bool:
        """Tell whether a unique index is built, which fails while rows violate it."""
        if self._create is not None:
            return True
        index = self._index(session)
        return index is not None and not is_plain(session, index)

    def build(self, writer: Writer) -> tuple[str, ...]:
        """Rebuild or create the index without blocking writers; returns its name, if any.

        No transaction may be open. Raises DuplicatesLeft where rows violate it, and what
        ``rebuild`` raises; nothing of the attempt is left then.
        """
        index = self._index(writer)
        if index is not None:
            self._telling.phase("rebuilding")
            journal.tell(writer, self._run, "rebuild begins", self._plan.key_name)
            if self._plain(writer, index):
                make_unique(writer, index, self._telling.say)
            else:
                rebuild(writer, index, self._telling.say, alone=self._alone)
            journal.tell(writer, self._run, "rebuilt", self._plan.key_name)
            return (self._plan.key_name,)
        if self._create is None:
            return ()
        self._telling.phase("creating the index")
        self._drop_invalid(writer)
        if self._standing(writer) is None:
            self._note(writer)
            self._create_concurrently(writer, self._statement("CONCURRENTLY "))
        return (self._create,)

    def build_closed(self, writer: Writer) -> tuple[str, ...]:
        """Rebuild or create the index in the running transaction; returns its name, if any.

        Its caller holds a lock that keeps writers out, so no row can violate it.
        """
        index = self._index(writer)
        if index is not None:
            self._telling.phase("rebuilding")
            if self._plain(writer, index):
                make_unique_closed(writer, index)
            else:
                writer.rows(f"REINDEX INDEX {_qualified(writer, index)}")
            journal.tell(writer, self._run, "rebuilt", self._plan.key_name)
            return (self._plan.key_name,)
        if self._create is None:
            return ()
        self._telling.phase("creating the index")
        if self._standing(writer) is None:
            self._note(writer)
            writer.rows(self._statement(""))
        return (self._create,)

    def advice(self, session: Session) -> tuple[str, ...]:
        """Name other indexes that the same cause may have damaged, or the one to make."""
        index = self._index(session)
        if index is None:
            if self._create is not None:
                return ()
            return (f"No index keeps the key: {self._statement('CONCURRENTLY ')};",)
        return tuple(
            f"{name} sorts text as well, and what damaged this index may have damaged it:"
            f" REINDEX INDEX CONCURRENTLY {name};"
            for name in collatable_siblings(session, self._table.oid, index)
        ) + collation_advice(session, index)

    def _index(self, session: Session) -> int | None:
        """Look the key's index up: a rebuild gives it another oid. Raises UnknownObject."""
        asked = self._plan.run.asked[self._plan.key]
        return None if asked.index is None else find_index(session, asked.index, asked.table)

    def _statement(self, how: str) -> str:
        """Write the statement that creates the index; without a name the server finds one."""
        key = self._key
        parts = self._plan.run.asked[self._plan.key].parts
        classes = [part.operator_class for part in parts] or [None] * len(key.columns)
        columns = ", ".join(
            f"({column.expression})"
            + (f" COLLATE {column.collation}" if column.collation else "")
            + (f" {_class_sql(operators)}" if operators else "")
            for column, operators in zip(key.columns, classes, strict=True)
        )
        name = "" if self._create is None else f"{quoted(self._create)} "
        nulls = "" if key.nulls_distinct else " NULLS NOT DISTINCT"
        where = f" WHERE {key.where}" if key.where else ""
        return (
            f"CREATE UNIQUE INDEX {how}{name}ON {self._table.sql} ({columns}){nulls}{where}"
        )

    def _plain(self, session: Session, index: int) -> bool:
        """Tell whether the key's index is a plain one that is to be made unique."""
        return self._named(session, index) and is_plain(session, index)

    def _named(self, session: Session, index: int) -> bool:
        """Tell whether the key's index has the name of the one to make."""
        if self._create is None:
            return False
        return _names(session, index) == (self._table.schema, self._create)

    def _note(self, writer: Writer) -> None:
        """Say in the journal what is about to be created: an undo makes it a plain one."""
        where = {"schema": self._table.schema, "name": self._create}
        journal.tell(writer, self._run, CREATING, json.dumps(where))

    def _create_concurrently(self, writer: Writer, statement: str) -> None:
        label = f"{self._table.schema}.{self._create}"
        sweep = f"DROP INDEX IF EXISTS {qualified(self._table.schema, str(self._create))}"
        try:
            build(writer, statement, sweep=sweep)
        except ServerUnavailable as error:
            # What is left is dropped by the next call: there is no session to do it in.
            raise build_failed(error, label) from error
        except DedupeError as error:
            self._drop_invalid(writer)
            raise build_failed(error, label) from error

    def _announced(self, session: Session) -> bool:
        """Tell whether an earlier call was about to create the index."""
        known = announced(session, self._run)
        return known == (self._table.schema, self._create)

    def _standing(self, session: Session) -> tuple[bool, bool] | None:
        """Look up the name: whether it is a valid index, and a unique one of this table."""
        rows = session.rows(
            "SELECT coalesce(i.indisvalid, false), coalesce(i.indisunique, false)"
            " AND i.indrelid = $3::oid FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid"
            " WHERE n.nspname = $1::text AND c.relname = $2::text",
            [self._table.schema, self._create, self._table.oid],
        )
        return (rows[0][0], bool(rows[0][1])) if rows else None

    def _drop_invalid(self, writer: Writer) -> None:
        """Drop what a failed or killed attempt left under the name."""
        if self._standing(writer) == (False, True):
            ident = qualified(self._table.schema, str(self._create))
            writer.alone(f"DROP INDEX CONCURRENTLY IF EXISTS {ident}")


def announced(session: Session, run: str) -> tuple[str, str] | None:
    """Return schema and name of the index that a run's repair created or was about to."""
    if not journal.exists(session):
        return None
    detail = journal.told(session, run, CREATING)
    if detail is None:
        return None
    facts = json.loads(detail)
    return facts["schema"], facts["name"]


def key_index(session: Session, known: journal.KnownRun) -> int | None:
    """Return the key's index, or the one that the repair created, if it is there and unique."""
    asked = known.asked
    if asked.index is None:
        created = announced(session, known.id)
        if created is None:
            return None
        asked = MatchKey.from_index(qualified(*created))
    try:
        oid = resolve(session, asked).index_oid
    except UnknownObject:
        return None
    rows = session.rows(
        "SELECT 1 FROM pg_catalog.pg_index WHERE indexrelid = $1::oid AND indisunique", [oid]
    )
    return oid if rows else None


def _names(session: Session, oid: int) -> tuple[str, str]:
    (schema, name) = session.row(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        [oid],
    )
    return str(schema), str(name)


def _qualified(session: Session, oid: int) -> str:
    return qualified(*_names(session, oid))


def _class_sql(text: str) -> str:
    schema, name = parse_name(text)
    return quoted(name) if schema is None else qualified(schema, name)
