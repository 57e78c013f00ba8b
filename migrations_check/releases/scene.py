"""What the rules of an application's database look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg import sql

from ..findings import Said, Voice
from ..server.catalog import Catalog
from .applied import Applied
from .data import Target
from .standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class AppAsked:
    """What was asked of a check of an application's database."""

    #: schema of its tables; None: where the role's search path leads
    schema: str | None = None
    #: leave the rows out
    quick: bool = False
    #: sessions that read rows at a time
    jobs: int = 2
    #: where the scans of the keys are kept
    run: Path = Path("pgmend-check-app")
    #: the application's file of environment variables
    env: Path | None = None
    #: a Redis to ask for its version; may hold a password
    redis: str | None = None
    #: told of the progress of what takes long
    told: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene(Voice):
    """One rule looking at one application's database, which is to become a release's."""

    catalog: Catalog
    applied: Applied
    standing: Standing
    target: Target
    asked: AppAsked
    #: variables of the file ``asked.env``
    env: Mapping[str, str] | None = None

    @property
    def pending(self) -> frozenset[str]:
        """The migrations that the upgrade will run."""
        return self.target.release.versions - self.applied.versions

    def named(self, name: str) -> str:
        """Name a table or an index of the application for people."""
        return f"{self.applied.schema}.{name}"

    def sql(self, name: str) -> str:
        """Quote a table or an index of the application for SQL."""
        return sql.Identifier(self.applied.schema, name).as_string()

    def columns(self, table: str) -> frozenset[str]:
        """Read the columns of one of the application's tables; none: there is no such table."""
        return frozenset(
            name
            for (name,) in self.catalog.rows(
                "SELECT a.attname FROM pg_catalog.pg_attribute a"
                " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
                " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = $1::text AND c.relname = $2::text"
                " AND c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped",
                [self.applied.schema, table],
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing to look at before an application is upgraded."""

    #: its id, and the name of its page in docs/rules
    name: str
    look: Callable[[Scene], Iterable[Said]]

    def said(self, scene: Scene) -> Iterator[Said]:
        """Look; what fails is unseen, and hides nothing of what others see."""
        at = replace(scene, rule=self.name)
        yield from at.heard(scene.applied.schema, self.look(at))
