"""Which key is meant: the options that say it, and the ``MatchKey`` they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from dedupe import MatchKey
from dedupe.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says about table and key; made by ``of``."""

    #: the table as it was written, or None
    table: str | None
    #: the keys; empty for --all-unique, and where only a run was named
    keys: tuple[MatchKey, ...]
    #: every unique index of the table, or of all tables
    all_unique: bool
    #: schemas that --all-unique is limited to; empty: every one
    schemas: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Whether a table or key was named at all."""
        return self.all_unique or bool(self.keys)

    @classmethod
    def of(
        cls,
        *,
        table: str | None,
        index: tuple[str, ...],
        key: tuple[str, ...],
        where: str | None,
        nulls_not_distinct: bool,
        all_unique: bool,
        schemas: tuple[str, ...],
        configured_schemas: Sequence[str] | str = (),
    ) -> Asked:
        """Check that the options fit together. Raises UsageError, KeyDefinitionError."""
        if sum(map(bool, (index, key, all_unique))) > 1:
            raise UsageError(
                "--index, --key and --all-unique exclude each other", hint="Keep one of them."
            )
        if key and table is None:
            raise UsageError("--key needs a table", hint="pgmend scan TABLE --key COLUMN")
        if not key and (where is not None or nulls_not_distinct):
            option = "--where" if where is not None else "--nulls-not-distinct"
            raise UsageError(
                f"{option} belongs to --key",
                hint="An index brings its own predicate and its own rule for NULL.",
            )
        if schemas and (not all_unique or table is not None):
            raise UsageError(
                "--schema narrows --all-unique without a table",
                hint="A table's schema is part of its name: schema.table.",
            )
        if table is not None and not (index or key or all_unique):
            raise UsageError(
                f"say what makes two rows of {table} the same",
                hint="--index NAME, --key COLUMN (repeatable), or --all-unique.",
            )
        if all_unique and table is None and not schemas:
            configured = configured_schemas
            schemas = (configured,) if isinstance(configured, str) else tuple(configured)
        keys = [MatchKey.from_index(name, table) for name in index]
        if table is not None and key:
            made = MatchKey.from_columns(
                table, *key, where=where, nulls_distinct=not nulls_not_distinct
            )
            keys.append(made)
        return cls(table=table, keys=tuple(keys), all_unique=all_unique, schemas=schemas)


def key_options(command: F) -> F:
    """Add TABLE and the options that name a key to a command."""
    for option in reversed(
        (
            click.argument("table", required=False),
            click.option("--index", multiple=True, metavar="NAME", help="The key of this index."),
            click.option(
                "--key",
                multiple=True,
                metavar="EXPR",
                help="A column or one SQL expression; repeat it for a key of several.",
            ),
            click.option("--where", metavar="SQL", help="Only rows for which this is true."),
            click.option("--nulls-not-distinct", is_flag=True, help="NULL equals NULL in --key."),
            click.option(
                "--all-unique",
                is_flag=True,
                help="Every unique index of the table, or of every table when none is named.",
            ),
            click.option(
                "-n", "--schema", "schemas", multiple=True, help="Only tables of this schema."
            ),
        )
    ):
        command = option(command)
    return command
