"""A recipe meets a database: what of it counts here, what is missing, what it does not know.

Reads the catalogs and the table of applied versions; writes nothing.

Source: https://www.postgresql.org/docs/current/catalog-pg-index.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ..connect import Connectable, connect
from ..errors import PermissionDenied, QueryFailed, RecipeDoesNotFit
from ..repair.uniqueindex import is_set_aside
from ..session import Session
from ..table import find_relation, quoted
from .reading import ordered
from .recipe import ExpectedIndex, Gated, Recipe, Step

G = TypeVar("G", bound=Gated)

_CAST = re.compile(
    r'::(character varying|bit varying|double precision|timestamp with(out)? time zone'
    r'|time with(out)? time zone|"[^"]+"|[a-z_]\w*)(\(\d+\))?(\[\])*'
)
_NOISE = re.compile(r"[\s()\"]")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """An index as the database has it."""

    #: its schema and its name, unquoted
    label: str
    name: str
    table: str
    unique: bool
    #: False: a build that failed left it behind; it answers nothing and may refuse writers
    valid: bool
    #: columns and expressions, as the server writes them
    key: tuple[str, ...]
    where: str | None
    #: whether some part of the key is a text, whose order a collation decides
    text: bool
    #: whether it is a plain one only until the duplicates of its key are repaired
    aside: bool

    @property
    def sound(self) -> bool:
        """Whether it is unique and valid, for all the catalog knows."""
        return self.unique and self.valid


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedIndex:
    """A unique index that the application has, and what the database has of it."""

    #: what the index ought to be
    expected: ExpectedIndex
    #: the index that keeps the key, or the remains of one; None: there is none
    index: IndexState | None

    @property
    def state(self) -> str:
        """``sound`` (for all the catalog knows), ``invalid``, ``not unique`` or ``missing``."""
        if self.index is None:
            return "missing"
        if not self.index.valid:
            return "invalid"
        return "sound" if self.index.unique else "not unique"


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedStep(FittedIndex):
    """A step that counts here, and the state of its index."""

    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a recipe comes to in one database."""

    recipe: Recipe
    #: numbers of the versions that were applied; None where the recipe does not say where
    versions: frozenset[int] | None
    #: the newest release whose version was applied, or None
    release: str | None
    #: the steps that count, in the order that they are carried out in
    steps: tuple[FittedStep, ...]
    #: of each step that does not count, why
    skipped: Mapping[str, str]
    #: references, rules and columns of the recipe that this schema does not have
    absent: tuple[str, ...]
    #: unique indexes of the recipe's tables that no step names; ``otherwise`` is for them
    unnamed: tuple[IndexState, ...]
    #: expected unique indexes without a step that are missing, invalid or not unique
    missing: tuple[FittedIndex, ...]
    #: what a person should know before anything is done
    notes: tuple[str, ...]
    #: the columns of each table
    columns: Mapping[str, frozenset[str]] = field(repr=False)

    def has(self, name: str) -> bool:
        """Whether there is a table, or a column ``TABLE.COLUMN``."""
        table, _, column = name.partition(".")
        return table in self.columns and (not column or column in self.columns[table])

    def counts(self, gated: Gated, table: str) -> bool:
        """Whether a rule about a table counts here."""
        return gated.counts_at(self.versions) and all(map(self.has, (table, *gated.needs)))


def fit_recipe(db: Connectable, recipe: Recipe) -> Fit:
    """Compare a recipe with the schema at hand; see ``Fit``.

    Names are looked up as the role's own search path finds them. Rows read: those of the
    table of versions. Raises RecipeDoesNotFit: a table that every version has is missing,
    or the schema is older than the oldest that the recipe is for, or half-migrated;
    FailureError.
    """
    with connect(db).open() as session:
        return _Fitting(session, recipe).fit()


class _Fitting:
    def __init__(self, session: Session, recipe: Recipe) -> None:
        self._recipe = recipe
        self._session = session
        self._columns = _read_columns(session)
        self._indexes = _read_indexes(session)
        self._absent: list[str] = []

    def fit(self) -> Fit:
        recipe = self._recipe
        schema = recipe.schema
        missing = [name for name in schema.tables if name not in self._columns]
        if missing:
            raise self._refused(
                f"this is no database of {recipe.name}: it has no table {', '.join(missing)}",
                "Name the application's database with -d, and its schema with"
                " options=-csearch_path=SCHEMA if it is not found by itself.",
            )
        versions = self._versions()
        release, notes = self._release(versions)
        steps, skipped = [], {}
        for step in ordered(recipe.steps):
            why = self._left_out(step, versions)
            found = [index for index in recipe.expected(step) if index.counts_at(versions)]
            if why is None and not found:
                why = "its index is described for other versions of the schema"
            if why is not None:
                skipped[step.id] = why
                continue
            index = self._met(found[0])
            steps.append(FittedStep(step=step, expected=found[0], index=index))
            for case in step.cases:
                self._has_columns(f"step {step.id}, merge", step.table, case.merge)
        self._rules(versions)
        named = {one.index.name for one in steps if one.index is not None}
        tables = {step.table for step in recipe.steps} | {one.table for one in recipe.indexes}
        return Fit(
            recipe=recipe,
            versions=versions,
            release=release,
            steps=tuple(steps),
            skipped=skipped,
            absent=tuple(self._absent),
            unnamed=tuple(
                index
                for index in self._indexes
                if (index.unique or index.aside)
                and index.table in tables
                and index.name not in named
            ),
            missing=tuple(self._unmet(versions, {one.expected.name for one in steps})),
            notes=tuple(notes),
            columns=self._columns,
        )

    def _versions(self) -> frozenset[int] | None:
        """Read which versions were applied, or which one was reached."""
        where = self._recipe.schema.version or self._recipe.schema.reached
        if where is None:
            return None
        table, _, column = where.partition(".")
        if not self._has(where):
            raise self._refused(
                f"nothing tells which versions of the schema were applied: there is no {where}",
                "Name the application's database with -d.",
            )
        with self._session.transaction(settings={"search_path": self._session.own_search_path}):
            oid = find_relation(self._session, quoted(table))
            (schema, name) = self._session.row(
                "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
                " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.oid = $1::oid",
                [oid],
            )
        try:
            rows = self._session.rows(
                f"SELECT {quoted(column)}::pg_catalog.text FROM {quoted(schema)}.{quoted(name)}"
            )
        except (QueryFailed, PermissionDenied) as error:
            raise self._refused(
                f"cannot read which versions of the schema were applied ({where}):"
                f" {error.message}",
                "Grant SELECT on that table to the role.",
            ) from error
        found = frozenset(int(text) for (text,) in rows if text and text.isdecimal())
        if self._recipe.schema.reached is None or not found:
            return found
        reached = max(found)
        return found | {one for one in self._recipe.named_versions() if one <= reached}

    def _release(self, versions: frozenset[int] | None) -> tuple[str | None, list[str]]:
        """Name the newest release that was reached; refuse what lies outside of the recipe."""
        schema, name = self._recipe.schema, self._recipe.name
        if versions is None:
            return None, []
        if schema.oldest is not None and int(schema.oldest) not in versions:
            newest = max(versions, default=None)
            raise self._refused(
                f"the schema is older than the oldest that recipe {name} is for: version"
                f" {schema.oldest} was never applied"
                + (f", the newest is {newest}" if newest else ""),
                "Upgrade a restored copy of the application first, or repair single tables with"
                " pgmend scan, plan and repair.",
            )
        reached: str | None = None
        lacking: list[tuple[str, str]] = []
        for release, version in schema.releases.items():
            if int(version) in versions:
                if lacking:
                    raise self._refused(
                        f"the schema is half-migrated: release {release} was applied"
                        f" ({version}), {lacking[-1][0]} was not ({lacking[-1][1]})",
                        "Let the application end its migrations, or restore a copy, then try"
                        " again.",
                    )
                reached = release
            else:
                lacking.append((release, version))
        newest = max((int(version) for version in schema.releases.values()), default=0)
        unknown = sum(version > newest for version in versions)
        if unknown:
            note = (
                f"the schema is newer than the newest release that recipe {name} knows"
                f" ({reached}): {unknown} versions more; what it does not name is found in the"
                " catalog"
            )
            return reached, [note]
        return reached, []

    def _left_out(self, gated: Gated, versions: frozenset[int] | None) -> str | None:
        """Say why something does not count here; None: it does."""
        if not gated.counts_at(versions):
            return "it is for other versions of the schema"
        names = [*gated.needs, *([table] if (table := getattr(gated, "table", None)) else [])]
        lacking = [name for name in names if not self._has(name)]
        return f"there is no {', '.join(lacking)}" if lacking else None

    def _has(self, name: str) -> bool:
        table, _, column = name.partition(".")
        return table in self._columns and (not column or column in self._columns[table])

    def _has_columns(self, place: str, table: str, columns: Iterable[str]) -> None:
        for column in columns:
            if not self._has(f"{table}.{column}"):
                self._absent.append(f"{place}: {table}.{column}")

    def _rules(self, versions: frozenset[int] | None) -> None:
        """Note what the recipe says about tables and columns that are not here."""
        recipe = self._recipe
        for soft in self._counting(recipe.soft, versions):
            pair = f"{soft.table}.{soft.column}", f"{soft.parent}.{soft.parent_column}"
            if not all(map(self._has, pair)):
                self._absent.append(f"soft reference {pair[0]} to {soft.parent}")
        for child in self._counting(recipe.children, versions):
            if not self._has(child.table):
                self._absent.append(f"rules for {child.table}")
        for counter in self._counting(recipe.counters, versions):
            names = f"{counter.table}.{counter.column}", f"{counter.of}.{counter.by}"
            if not all(map(self._has, names)):
                self._absent.append(f"counter {names[0]}")
        for choice in self._counting(recipe.choices, versions):
            for heading, name in choice.counted.items():
                if not self._has(name):
                    self._absent.append(f"choice {choice.id}, shows {heading}: {name}")

    def _counting(self, rules: Iterable[G], versions: frozenset[int] | None) -> Iterator[G]:
        return (rule for rule in rules if rule.counts_at(versions))

    def _met(self, expected: ExpectedIndex) -> IndexState | None:
        """Find the index that keeps a key: by its name, else by what it is over."""
        of_table = [index for index in self._indexes if index.table == expected.table]
        for index in of_table:
            if index.name == expected.name:
                return index
        alike = [index for index in of_table if _alike(index, expected)]
        return max(alike, key=lambda index: (index.unique, index.valid), default=None)

    def _unmet(
        self, versions: frozenset[int] | None, of_steps: set[str]
    ) -> Iterator[FittedIndex]:
        """List expected indexes that no step is for and that are not there, or not sound."""
        for expected in self._counting(self._recipe.indexes, versions):
            if expected.name in of_steps or expected.table not in self._columns:
                continue
            columns = [part for part in expected.key if part.isidentifier()]
            if not all(self._has(f"{expected.table}.{name}") for name in columns):
                continue
            index = self._met(expected)
            if index is None or not index.sound:
                yield FittedIndex(expected=expected, index=index)

    def _refused(self, message: str, hint: str) -> RecipeDoesNotFit:
        return RecipeDoesNotFit(message, hint=hint, recipe=self._recipe.name)


def _read_columns(session: Session) -> dict[str, frozenset[str]]:
    """Read the columns of every table that is found by its bare name."""
    with session.transaction(settings={"search_path": session.own_search_path}):
        rows = session.rows(
            "SELECT c.relname, array_agg(a.attname::text) FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relkind::text = ANY ('{r,p,m}') AND a.attnum > 0 AND NOT a.attisdropped"
            " AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace NOT IN"
            " ('pg_catalog'::pg_catalog.regnamespace) GROUP BY c.relname"
        )
    return {name: frozenset(columns) for name, columns in rows}


def _read_indexes(session: Session) -> tuple[IndexState, ...]:
    """Read every btree index of the tables that are found by their bare names."""
    with session.transaction(settings={"search_path": session.own_search_path}):
        rows = session.rows(
            """
            SELECT n.nspname || '.' || x.relname, x.relname, c.relname, i.indisunique, i.indisvalid,
                ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, n::int4, true)
                      FROM pg_catalog.generate_series(1, i.indnkeyatts) n ORDER BY n),
                pg_catalog.pg_get_expr(i.indpred, i.indrelid, true),
                0 <> ANY (i.indcollation::oid[]),
                pg_catalog.obj_description(x.oid, 'pg_class')
            FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
            JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'
            JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
            WHERE pg_catalog.pg_table_is_visible(c.oid) AND c.relkind::text = ANY ('{r,p,m}')
              AND NOT i.indisexclusion
              -- What a call that was cut off has built and not yet given its name.
              AND x.relname !~ '^pgmend_(plain|unique)_[0-9]+$'
              AND c.relnamespace <> 'pg_catalog'::pg_catalog.regnamespace
            ORDER BY c.relname, x.relname
            """
        )
    return tuple(
        IndexState(
            label=row[0], name=row[1], table=row[2], unique=row[3], valid=row[4],
            key=tuple(row[5]), where=row[6], text=row[7], aside=is_set_aside(row[8]),
        )
        for row in rows
    )


def _alike(index: IndexState, expected: ExpectedIndex) -> bool:
    """Whether an index is over what is expected, but for how it is written."""
    return [_plain(part) for part in index.key] == [
        _plain(part) for part in expected.key
    ] and _plain(index.where or "") == _plain(expected.where or "")


def _plain(text: str) -> str:
    """Write SQL without what the server adds: casts, parentheses, quotes, spaces."""
    return _NOISE.sub("", _CAST.sub("", text)).lower()
