"""Migrations that did not run to their end, or did not run at all.

Sources: https://github.com/mastodon/mastodon/blob/main/config/application.rb
(SKIP_POST_DEPLOYMENT_MIGRATIONS); https://www.postgresql.org/docs/current/sql-createindex.html
(Building Indexes Concurrently: what a failed build leaves)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from psycopg import sql

from ...findings import Said
from ..data import data, releases
from ..scene import Rule, Scene

NAME = "app-migrations"
_MIGRATE = "RAILS_ENV=production bin/rails db:migrate"


def look(at: Scene) -> Iterator[Said]:
    """Tell apart what a release lacks, what is half done, and what nobody here knows."""
    half = _half_run(at)
    for entry, what, name in half:
        yield _told(at, entry, what, name)
    release = at.standing.release
    lacking = at.standing.lacking - {entry["migration"] for entry, _, _ in half}
    code = f"with the code of {release.name} and without SKIP_POST_DEPLOYMENT_MIGRATIONS"
    if post := lacking & release.post:
        yield at.warning(
            at.applied.label,
            f"{spanned(post)} of the post-deployment migrations of Mastodon {release.name} did not"
            " run: they were left out by SKIP_POST_DEPLOYMENT_MIGRATIONS, or failed",
            f"{code}: {_MIGRATE}",
        )
    if pre := lacking & release.pre:
        yield at.warning(
            at.applied.label,
            f"{spanned(pre)} of the migrations of Mastodon {release.name} did not run, and others"
            " of it did: an upgrade stopped in the middle, or the code was from between two"
            " releases",
            f"{code}: {_MIGRATE}; before, look at what it says: {_MIGRATE}:status",
        )
    if at.standing.beyond:
        yield at.unseen(
            at.applied.label,
            f"migrations ran that are newer than Mastodon {releases()[-1].seen}, the newest that"
            " is known here: what they did was not looked at",
        )
    if not at.target.seen:
        yield at.unseen(
            f"Mastodon {at.target.name}",
            f"the files of this patch release were not looked at: it is taken to have the"
            f" migrations of {at.target.release.seen}",
        )


def spanned(versions: Collection[str]) -> str:
    """Write some versions: ``3 (20220307083603 to 20220310060959)``."""
    first, last = min(versions), max(versions)
    return f"{len(versions):,} ({first})" if first == last else (
        f"{len(versions):,} ({first} to {last})"
    )


def _half_run(at: Scene) -> list[tuple[dict[str, Any], str, str]]:
    """Find what migrations that are still to run have made already."""
    wanted = [
        entry for entry in data()["built"]
        if entry["migration"] in (at.pending | at.standing.lacking)
    ]
    there = {
        (table, index): what
        for table, index, what in at.catalog.rows(
            "SELECT t.relname, c.relname, CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint k"
            " WHERE k.conindid = c.oid AND k.contype IN ('p', 'u')) THEN 'constraint'"
            " WHEN i.indisvalid AND i.indisready THEN 'index' ELSE 'invalid index' END"
            " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_catalog.pg_class t ON t.oid = i.indrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace"
            " WHERE n.nspname = $1::text AND c.relname = ANY ($2::text[])",
            [at.applied.schema, [entry["index"] for entry in wanted]],
        )
    }
    found = []
    for entry in wanted:
        what = there.get((entry["table"], entry["index"]))
        if what is not None:
            found.append((entry, what, entry["index"]))
        elif "column" in entry and entry["column"] in at.columns(entry["table"]):
            found.append((entry, "column", f"{entry['table']}.{entry['column']}"))
    return found


def _told(at: Scene, entry: dict[str, Any], what: str, name: str) -> Said:
    if "column" in entry:
        # The index goes with it.
        undo = sql.SQL("ALTER TABLE {table} DROP COLUMN {column}").format(
            table=sql.Identifier(at.applied.schema, entry["table"]),
            column=sql.Identifier(entry["column"]),
        ).as_string()
        undo += " (look first that it is empty)"
    elif what == "constraint":
        # A later migration made it of the index, and would not make it again.
        row = sql.SQL("INSERT INTO {table} (version) VALUES ({version})").format(
            table=sql.Identifier(at.applied.schema, at.applied.table),
            version=sql.Literal(entry["migration"]),
        )
        undo = row.as_string()
    else:
        undo = f"DROP INDEX CONCURRENTLY {at.sql(entry['index'])}"
    why = (
        "its CREATE INDEX CONCURRENTLY failed or was stopped" if what == "invalid index"
        else "it ended before it was written down, or somebody made that by hand"
    )
    return at.blocker(
        at.named(name),
        f"the migration {entry['migration']} is half run: its {what} is there, and it is not in"
        f' {at.applied.label}; {why}, and the next db:migrate ends with "already exists"',
        f"{undo}; then: {_MIGRATE}",
    )


RULE = Rule(name=NAME, look=look)
