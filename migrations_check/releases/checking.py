"""The checks of an application's database: of Mastodon, and of files of Rails and Alembic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dedupe.connect import conninfo_of
from dedupe.errors import UsageError

from ..findings import Report, Said, Voice
from ..server.catalog import Catalog
from . import alembic, rails
from .applied import Applied, read_applied
from .data import forks, releases, target
from .files import variables
from .revisions import read_history
from .rules import RULES
from .rules.app_migrations import NAME
from .scene import AppAsked, Scene
from .standing import standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What a check of an application's database found."""

    report: Report
    #: schema and name of the table of its migrations
    table: str
    #: migrations that the upgrade will run, in their order
    pending: tuple[str, ...]
    #: that ran, and are not of the application as it is known
    unknown: tuple[str, ...]
    #: of these, how many belong to which known fork
    forks: dict[str, int]
    #: the releases; None where only files were given
    installed: str | None = None
    to: str | None = None


def check_mastodon(dsn: str, to: str, asked: AppAsked) -> Migrated:
    """Say what will break when a Mastodon's database is migrated to the release ``to``.

    ``dsn`` is a URL or a libpq connection string; PostgreSQL 10 or later. Reads
    schema_migrations and catalogs, counts accounts where the release deletes some, and unless
    ``asked.quick`` reads the tables that get new unique keys, as ``dedupe.scan`` does, with run
    directories below ``asked.run``. Writes nothing to the server, locks no more than a SELECT.

    Raises UsageError (no such release, one older than the installed, no database of a Mastodon
    or of one before 3.0, a file that cannot be read), UnknownObject, PermissionDenied, and what
    connecting raises.
    """
    goal = target(to)
    env = variables(asked.env) if asked.env is not None else None
    with Catalog(conninfo_of(dsn)) as catalog:
        applied = read_applied(
            catalog, "schema_migrations", "version", schema=asked.schema, whose="a Mastodon"
        )
        where = standing(applied)
        if releases().index(goal.release) < releases().index(where.reached):
            raise UsageError(
                f"the database is at Mastodon {where.reached.name}, and {goal.name} is older:"
                " there is no way down",
                hint="Restore a snapshot from before the upgrade to go back.",
                installed=where.reached.name, to=goal.name,
            )
        scene = Scene(
            rule="", catalog=catalog, applied=applied, standing=where, target=goal, asked=asked,
            env=env,
        )
        said = [one for rule in RULES for one in rule.said(scene)]
    return Migrated(
        report=Report.of(said), table=applied.label, pending=tuple(sorted(scene.pending)),
        unknown=tuple(sorted(where.unknown)),
        forks={name: len(some) for name, some in forks(where.unknown).items()},
        installed=where.release.name, to=goal.name,
    )


def check_rails(
    dsn: str, migrations: Sequence[Path], installed: Sequence[Path] = (), *,
    schema: str | None = None,
) -> Migrated:
    """Hold the files of Rails' migrations against the database that they are for.

    ``migrations`` are the directories of the release that is to be run, ``installed`` those of
    the one that ran. Reads schema_migrations and the files; runs none of them.
    Raises UsageError (files), UnknownObject, PermissionDenied, and what connecting raises.
    """
    voice = Voice(rule=NAME)
    files = rails.read_files(migrations, voice)
    before = rails.read_files(installed, voice) if installed else None
    applied = _read(dsn, "schema_migrations", "version", schema, "an application built on Rails")
    return _migrated(applied, *rails.compare(voice, applied, files, before))


def check_alembic(
    dsn: str, migrations: Sequence[Path], installed: Sequence[Path] = (), *,
    schema: str | None = None,
) -> Migrated:
    """Hold the files of Alembic's revisions against the database that they are for.

    As ``check_rails``, with alembic_version.
    """
    voice = Voice(rule=NAME)
    files = read_history(migrations, voice)
    before = read_history(installed, voice) if installed else None
    applied = _read(
        dsn, "alembic_version", "version_num", schema, "an application that uses Alembic"
    )
    return _migrated(applied, *alembic.compare(voice, applied, files, before))


def _read(dsn: str, table: str, column: str, schema: str | None, whose: str) -> Applied:
    with Catalog(conninfo_of(dsn)) as catalog:
        return read_applied(catalog, table, column, schema=schema, whose=whose)


def _migrated(
    applied: Applied, said: Iterable[Said], pending: Sequence[str], unknown: Sequence[str]
) -> Migrated:
    return Migrated(
        report=Report.of(said), table=applied.label, pending=tuple(pending),
        unknown=tuple(unknown), forks={},
    )
