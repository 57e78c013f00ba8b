"""Which release of Mastodon a database is at: by sets of migrations, not by the newest one.

A post-deployment migration may be missing while a later one ran, and forks add numbers of
their own, so that the newest number tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from dedupe.errors import UsageError

from .applied import Applied
from .data import Release, known, releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a database stands."""

    #: the newest release of which anything ran
    release: Release
    #: the newest that cannot be gone back behind: it ran whole, or for the greater part
    reached: Release
    #: what of its migrations did not run
    lacking: frozenset[str]
    #: what ran and is of no release
    unknown: frozenset[str]

    @property
    def beyond(self) -> bool:
        """Whether it may be newer than what is known."""
        newest = releases()[-1]
        return self.release is newest and any(one > max(newest.versions) for one in self.unknown)


def standing(applied: Applied) -> Standing:
    """Tell where a database stands. Raises UsageError: it is none, or older than 3.0."""
    versions = applied.versions
    oldest = releases()[0]
    if not versions & known():
        raise UsageError(
            f"{applied.label} has none of Mastodon's migrations: it is not the database of a"
            " Mastodon",
            hint="Name its database with -d and its schema with --schema; of other applications"
            " built on Rails: pgmend check app rails --migrations DIR.",
        )
    release = next(one for one in reversed(releases()) if versions & one.added)
    lacking = release.versions - versions
    if release is oldest and max(oldest.pre) not in versions:
        raise UsageError(
            f"the database has not reached Mastodon {oldest.first}, the oldest that is known:"
            f" {len(lacking):,} of its migrations have not run",
            hint=f"Upgrade to {oldest.first} first, as its release notes say:"
            f" https://github.com/mastodon/mastodon/releases/tag/v{oldest.first}",
        )
    # A fork may have taken over single migrations of a later release.
    reached = next(
        (one for one in reversed(releases())
         if one.versions <= versions or 2 * len(versions & one.added) > len(one.added)),
        release,
    )
    return Standing(
        release=release, reached=reached, lacking=lacking, unknown=versions - known()
    )
