"""Programs that the release is too new for.

Source: https://github.com/mastodon/mastodon/blob/main/lib/tasks/db.rake (which PostgreSQL
db:migrate refuses), and the release notes.
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.recipes.workers import place_of, redis_version

from ...findings import Said
from ..data import data, since
from ..scene import Rule, Scene


def look(at: Scene) -> Iterator[Said]:
    """Hold the server against the release; what else it asks for only where that changes."""
    release, name = at.target.release, f"Mastodon {at.target.name}"
    version = at.catalog.version
    spoken = f"{at.catalog.major}.{version % 10000}"
    if at.catalog.major < release.postgresql:
        yield at.blocker(
            "PostgreSQL",
            f"{name} needs PostgreSQL {release.postgresql} or later, and the server is {spoken}:"
            " the release does not work with it, and from 4.3 on db:migrate refuses it",
            f"upgrade the server first; pgmend check server --to {release.postgresql} says what"
            " will break in that",
        )
    for entry in data()["excluded"]:
        if since(release, entry["since"]) and entry["first"] <= version <= entry["last"]:
            said = at.blocker if at.pending else at.warning
            yield said(
                "PostgreSQL",
                f"{name} excludes PostgreSQL {spoken}, where indexes that are built CONCURRENTLY"
                " may lack rows: its migrations build such ones, and end at the first of them",
                f"install the newest minor version of PostgreSQL {at.catalog.major} first",
            )
    yield from _redis(at)
    now = at.standing.release
    others = [
        f"{what} {wanted}"
        for what, wanted, had in (
            ("Ruby", release.ruby, now.ruby),
            ("Node.js", release.node, now.node),
            ("with", release.other, now.other),
        )
        if wanted != had
    ]
    if others:
        yield at.unseen(
            "programs",
            f"{name} needs {'; '.join(others)}: a database does not show what is installed (the"
            " official container images bring it). Look: ruby -v; node -v",
        )


def _redis(at: Scene) -> Iterator[Said]:
    wanted = at.target.release.redis
    place = place_of(at.asked.redis, None)
    if place is None:
        if wanted != at.standing.release.redis:
            yield at.unseen(
                "Redis",
                f"Mastodon {at.target.name} needs Redis {wanted} or later: name the instance's"
                " with --redis URL",
            )
        return
    found = redis_version(place)
    if wanted and _numbers(found) < _numbers(wanted):
        yield at.blocker(
            "Redis",
            f"Mastodon {at.target.name} needs Redis {wanted} or later, and that one is {found}:"
            " Sidekiq does not start with it, so that no job runs",
            "upgrade Redis first",
        )


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]


RULE = Rule(name="app-requirements", look=look)
