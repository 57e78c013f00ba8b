"""An instance is compared with its manifest: what a repair has left, lost or made wrong.

It shares nothing with the repair but the database: the catalog says which keys and foreign
keys there are, the heaps what they hold, and the manifest what should have become of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from ...errors import LabError
from .digest import COUNTERS, digests, identity, kinds
from .manifest import Group, Ids, Manifest, Row, Value
from .scene import PLANTED
from .soft import SOFT, Soft
from .values import differs, shown, written

Connection = psycopg.Connection[tuple[Any, ...]]
#: rows that a deviation names
_EXAMPLES = 3
#: what a counter counts: table, column, key, table of what is counted, its key, condition
_COUNTED = (
    ("account_stats", "statuses_count", "account_id", "statuses", "account_id", True),
    ("account_stats", "following_count", "account_id", "follows", "account_id", False),
    ("account_stats", "followers_count", "account_id", "follows", "target_account_id", False),
    ("status_stats", "replies_count", "status_id", "statuses", "in_reply_to_id", True),
    ("status_stats", "reblogs_count", "status_id", "statuses", "reblog_of_id", True),
    ("status_stats", "favourites_count", "status_id", "favourites", "status_id", False),
)


def check(dsn: str, manifest: Manifest, *, counters: bool = True) -> list[str]:
    """Say every deviation from the outcome that a manifest states; none means all is well.

    Each begins with what it is: ``group left``, ``wrong survivor``, ``dangling``, ``lost``,
    ``not merged``, ``not gone``, ``wrong value``, ``too many``, ``background``, ``counter``.
    Of one kind, up to three rows are named. ``counters`` false leaves the counters out.
    Reads all tables several times, by their heaps where an index could lie. Raises LabError.
    """
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET work_mem = '128MB'; SET jit = off")
            checker = _Checker(connection, manifest)
            found = [*checker.groups_left(), *checker.dangling(), *checker.survivors()]
            found += [*checker.rows(), *checker.surplus(), *checker.background()]
            if counters:
                found += checker.counters()
    except psycopg.Error as error:
        raise LabError(f"the instance cannot be checked: {str(error).strip()}") from error
    return found


class _Checker:
    def __init__(self, connection: Connection, manifest: Manifest) -> None:
        self._connection = connection
        self._manifest = manifest
        self._kinds = kinds(connection)

    def _ask(self, question: sql.SQL | sql.Composed) -> list[tuple[Any, ...]]:
        return self._connection.execute(question).fetchall()

    def groups_left(self) -> Iterator[str]:
        """Yield the unique indexes whose keys the heap holds twice, valid or not."""
        indexes = self._ask(
            sql.SQL(
                "SELECT i.indexrelid::regclass::text, i.indrelid::regclass::text,"
                " ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true)"
                "   FROM generate_series(1, i.indnkeyatts) k),"
                " coalesce(pg_get_expr(i.indpred, i.indrelid), 'true'), i.indisvalid"
                " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
                " WHERE i.indisunique AND c.relkind IN ('r', 'm')"
                " AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
            )
        )
        present = {name for name, *_ in indexes}
        for name in sorted({one.index for one in self._manifest.groups} - present):
            yield f"group left: {name} is gone or no longer unique"
        for setting in ("indexscan", "indexonlyscan", "bitmapscan"):
            self._connection.execute(sql.SQL(f"SET enable_{setting} = off"))
        for name, table, keys, where, valid in indexes:
            if not valid:
                yield f"group left: {name} is invalid"
            key = ", ".join(f"({one})" for one in keys)
            there = " AND ".join(f"({one}) IS NOT NULL" for one in keys)
            ((count, example),) = self._ask(
                sql.SQL(
                    f"SELECT count(*), min(k) FROM (SELECT ROW({key})::text AS k FROM {table}"
                    f" WHERE ({where}) AND {there} GROUP BY {key} HAVING count(*) > 1) g"
                )
            )
            if count:
                yield f"group left: {name} holds {count} keys twice, such as {example}"
        for setting in ("indexscan", "indexonlyscan", "bitmapscan"):
            self._connection.execute(sql.SQL(f"RESET enable_{setting}"))

    def dangling(self) -> Iterator[str]:
        """Yield the references, with and without a foreign key, that lead nowhere."""
        for table, column, parent, target, valid in self._ask(
            sql.SQL(
                "SELECT t.relname::text, a.attname::text, p.relname::text,"
                " b.attname::text, c.convalidated FROM pg_constraint c"
                " JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class p ON p.oid = c.confrelid"
                " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
                " JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]"
                " WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace"
                " ORDER BY 1, 2"
            )
        ):
            if not valid:
                yield f"dangling: the foreign key of {table}.{column} is not validated"
            yield from self._lost_parents(Soft(table, column, parent), target)
        for soft in SOFT:
            if soft.column in self._kinds.get(soft.table, {}) and soft.parent in self._kinds:
                yield from self._lost_parents(soft, "id")

    def _lost_parents(self, soft: Soft, target: str) -> Iterator[str]:
        column: sql.Composable = sql.SQL("c.{}").format(sql.Identifier(soft.column))
        source = sql.SQL("{} c").format(sql.Identifier(soft.table))
        if soft.form != "id":
            source = sql.SQL("{} c CROSS JOIN LATERAL unnest({}) e (v)").format(
                sql.Identifier(soft.table), column
            )
            column = sql.SQL("e.v::bigint")
        kind: sql.Composable = sql.SQL("true")
        if soft.type_column is not None:
            kind = sql.SQL("c.{} = {}").format(
                sql.Identifier(soft.type_column), sql.Literal(soft.type_value)
            )
        ((count, examples),) = self._ask(
            sql.SQL(
                "SELECT count(*), (array_agg({}))[1:{}]::text FROM {} WHERE {} AND {} IS NOT NULL"
                " AND NOT EXISTS (SELECT FROM {} p WHERE p.{} = {})"
            ).format(
                column, sql.Literal(_EXAMPLES), source, kind, column,
                sql.Identifier(soft.parent), sql.Identifier(target), column,
            )
        )
        if count:
            yield f"dangling: {soft.name} → {soft.parent}: {count}, such as {examples}"

    def survivors(self) -> Iterator[str]:
        """Yield the groups of which another row stayed than should have."""
        for group in self._manifest.groups:
            losers = [
                member for member, fate in zip(_losers(group), group.fates, strict=False)
                if fate == "deleted"
            ]
            there = sql.SQL("EXISTS (SELECT FROM {} t WHERE t.id = {})")
            table = sql.Identifier(group.table)
            wrong = [sql.SQL("NOT ") + there.format(table, written(group.survivor, "bigint"))]
            if losers:
                other = sql.SQL(" OR ").join(
                    there.format(table, written(one, "bigint")) for one in losers
                )
                wrong.append(sql.SQL("({})").format(other))
            yield from self._copies(
                sql.SQL("SELECT n, '' FROM generate_series(0::bigint, {}) n WHERE {}").format(
                    sql.Literal(group.copies - 1), sql.SQL(" AND ").join(wrong)
                ),
                f"wrong survivor: {group.step} in {group.scene}", group.survivor,
            )

    def rows(self) -> Iterator[str]:
        """Yield the planted rows of which something else has become."""
        for row in self._manifest.rows:
            if row.fate == "any":
                continue
            label = f"{row.table} in {row.scene}"
            found = self._found(row)
            there = next(iter(row.key.values()))
            if row.fate == "stays":
                how = "<> 1" if not row.several else "< 1"
                yield from self._copies(
                    self._select(row, sql.SQL("(SELECT count(*) {}) " + how).format(found)),
                    f"lost: {label}", there,
                )
                yield from self._values(row, found, label, there)
                continue
            what = "not gone" if row.fate == "gone" else "not merged"
            yield from self._copies(
                self._select(row, sql.SQL("EXISTS (SELECT {})").format(found)),
                f"{what}: {label}", there,
            )
            # That the row is there which took its place, is told of that row itself.

    def _found(self, row: Row) -> sql.Composed:
        known = self._kinds[row.table]
        return sql.SQL("FROM {} t WHERE {}").format(
            sql.Identifier(row.table),
            sql.SQL(" AND ").join(
                sql.SQL("t.{} = {}").format(sql.Identifier(name), written(value, known[name]))
                for name, value in row.key.items()
            ),
        )

    def _select(self, row: Row, wrong: sql.Composable) -> sql.Composed:
        return sql.SQL("SELECT n, '' FROM generate_series(0::bigint, {}) n WHERE {}").format(
            sql.Literal(row.copies - 1), wrong
        )

    def _values(
        self, row: Row, found: sql.Composable, label: str, there: Value
    ) -> Iterator[str]:
        """Yield the columns that say something else, all of a row in one question."""
        known = self._kinds[row.table]
        left = COUNTERS.get(row.table, ())
        tests = [
            (name, value, differs(name, value, known[name]))
            for name, value in row.values.items() if name not in left
        ]
        if not tests:
            return
        told = sql.SQL(", ").join(
            sql.SQL("CASE WHEN {} THEN format({}, t.{}) END").format(
                wrong, sql.Literal(f"{name} is %L instead of {shown(value)}".replace("%", "%%")
                                   .replace("%%L", "%L", 1)),
                sql.Identifier(name),
            )
            for name, value, wrong in tests
        )
        yield from self._copies(
            sql.SQL(
                "SELECT n, x.told FROM generate_series(0::bigint, {}) n CROSS JOIN LATERAL"
                " (SELECT concat_ws('; ', {}) AS told {} LIMIT 1) x WHERE x.told <> ''"
            ).format(sql.Literal(row.copies - 1), told, found),
            f"wrong value: {label}", there,
        )

    def _copies(self, question: sql.Composed, what: str, there: Value) -> Iterator[str]:
        """Yield one deviation for all copies that a question finds."""
        rows = self._ask(
            sql.SQL("SELECT count(*) OVER (), * FROM ({}) q LIMIT {}").format(
                question, sql.Literal(_EXAMPLES)
            )
        )
        if not rows:
            return
        first = rows[0]
        names = [
            str(there.of(copy)) if isinstance(there, Ids) else f"copy {copy}"
            for _, copy, *_ in rows
        ]
        told = f": {first[2]}" if first[2] else ""
        yield f"{what}: {first[0]} of its copies, such as {', '.join(names)}{told}"

    def surplus(self) -> Iterator[str]:
        """Yield the tables with planted rows that nobody planted, or with more than may stay."""
        stay: dict[str, int] = {}
        for row in self._manifest.rows:
            at_most = row.copies if row.fate in {"stays", "any"} else 0
            # A row that is said to exist, whichever it is, is told a second time.
            if row.values or row.fate != "stays":
                stay[row.table] = stay.get(row.table, 0) + at_most
        for table, most in stay.items():
            ((count,),) = self._ask(
                sql.SQL("SELECT count(*) FROM {} WHERE {} >= {}").format(
                    sql.Identifier(table), sql.Identifier(identity(table)), sql.Literal(PLANTED)
                )
            )
            if count > most:
                yield f"too many: {table} has {count} planted rows, and {most} may stay"

    def background(self) -> Iterator[str]:
        """Yield the tables whose sound rows are not what they were."""
        now = digests(self._connection)
        for table, before in self._manifest.background.items():
            after = now.get(table)
            if after is None or after.rows != before.rows:
                rows = 0 if after is None else after.rows
                yield f"background: {table} has {rows} sound rows instead of {before.rows}"
            elif after.digest != before.digest:
                yield f"background: sound rows of {table} were changed"

    def counters(self) -> Iterator[str]:
        """Yield the counters of planted rows that do not say what is counted."""
        for table, column, key, of, by, living in _COUNTED:
            where = " AND o.deleted_at IS NULL AND o.visibility <> 3" if living else ""
            # What a remote account has is said by its own server.
            whose = (
                " AND t.account_id IN (SELECT id FROM accounts WHERE domain IS NULL)"
                if table == "account_stats"
                else ""
            )
            ((count, examples),) = self._ask(
                sql.SQL(
                    "SELECT count(*), (array_agg(t.{key}))[1:3]::text FROM {table} t"
                    " WHERE t.id >= {first} AND t.{column} <> (SELECT count(*) FROM {of} o"
                    " WHERE o.{by} = t.{key}" + where + ")" + whose
                ).format(
                    key=sql.Identifier(key), table=sql.Identifier(table),
                    first=sql.Literal(PLANTED), column=sql.Identifier(column),
                    of=sql.Identifier(of), by=sql.Identifier(by),
                )
            )
            if count:
                yield f"counter: {table}.{column} is wrong for {count} rows, such as {examples}"


def _losers(group: Group) -> Sequence[Ids]:
    return [member for member in group.members if member != group.survivor]


