"""What an upgrade asks for besides db:migrate, and what of it cannot be taken back.

Sources: the release notes at https://github.com/mastodon/mastodon/releases, and of the stops
https://github.com/mastodon/mastodon/blob/main/lib/tasks/db.rake
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import sql

from ...findings import Said
from ..data import data, since
from ..scene import Rule, Scene

_SNAPSHOT = (
    "take a snapshot of the database before, and keep it until the new release has proved itself:"
    " pgmend guard take"
)


def look(at: Scene) -> Iterator[Said]:
    """Tell the stops, the variables, the rows that go, and the steps without a way back."""
    for entry in data()["variable"]:
        yield from _variable(at, entry)
    release, name = at.target.release, f"Mastodon {at.target.name}"
    stops = [entry for entry in data()["breakpoint"] if since(release, entry["since"])]
    if stops and max(at.applied.versions) < stops[-1]["schema"]:
        stop = stops[-1]["stop"]
        yield at.warning(
            name,
            f"from before {stop} there is no upgrade to it without downtime: with"
            " SKIP_POST_DEPLOYMENT_MIGRATIONS db:migrate refuses",
            f"stop all services of Mastodon and migrate without that variable, or go to {stop}"
            " first, all its post-deployment migrations included",
        )
    for entry in data()["avoid"]:
        if at.target.name == entry["version"]:
            yield at.warning(
                name, "its own developers advise against this patch release",
                f"install {entry['instead']} or a later one in its stead",
            )
    for entry in data()["deleted"]:
        if entry["migration"] in at.pending:
            yield from _deleted(at, entry)
    for entry in data()["oneway"]:
        if entry["migration"] in at.pending:
            yield at.warning(f"Mastodon {entry['since']}", entry["message"], _SNAPSHOT)


def _variable(at: Scene, entry: dict[str, Any]) -> Iterator[Said]:
    if not since(at.target.release, entry["since"]):
        return
    migration, refused = entry.get("migration"), entry.get("refused", False)
    if migration is not None and migration not in at.pending:
        return
    if at.env is None:
        if not since(at.standing.release, entry["since"]):
            yield at.unseen(
                entry["names"][0] if len(entry["names"]) == 1 else f"{entry['names'][0]}, …",
                f"whether {', '.join(entry['names'])}"
                f" {'is' if len(entry['names']) == 1 else 'are'}"
                f" {'taken out' if refused else 'set'}, else"
                f" {_fails(at, migration)}: name the instance's file with --env .env.production",
            )
        return
    wrong = [name for name in entry["names"] if bool(at.env.get(name, "").strip()) is refused]
    if not wrong:
        return
    what = "sets" if refused else "does not set"
    yield at.blocker(
        f"{at.asked.env}", f"it {what} {', '.join(wrong)}: {_fails(at, migration)}",
        entry["remedy"],
    )


def _fails(at: Scene, migration: str | None) -> str:
    if migration is not None:
        return f"the migration {migration} fails"
    return f"Mastodon {at.target.name} does not start"


def _deleted(at: Scene, entry: dict[str, Any]) -> Iterator[Said]:
    if not set(entry["needs"]) <= at.columns(entry["table"]):
        return
    table = at.named(entry["table"])
    if at.asked.quick:
        yield at.unseen(
            table, f"left out, as --quick asks: whether {entry['message']}", left_out=True
        )
        return
    query = sql.SQL("SELECT pg_catalog.count(*) FROM {table} WHERE {where}").format(
        table=sql.Identifier(at.applied.schema, entry["table"]), where=sql.SQL(entry["where"])
    )
    if rows := at.catalog.value(query.as_string()):
        yield at.warning(
            table,
            f"{rows:,} rows: {entry['message']}, by the migration {entry['migration']}",
            f"look at them: SELECT * FROM {at.sql(entry['table'])} WHERE {entry['where']}; to keep"
            f" what hangs on them, {_SNAPSHOT}",
        )


RULE = Rule(name="app-steps", look=look)
