"""Extensions and languages that are installed here, and missing where the server goes.

Sources: https://www.postgresql.org/docs/current/catalog-pg-extension.html,
https://www.postgresql.org/docs/current/extend-extensions.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dedupe.errors import DedupeError
from dedupe.table import quoted

from ..snapshots.programs import run
from .majors import brought, removed_by_name
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Compare what a database uses with what the target brings, or has in its directories."""
    old, new = at.catalog.major, at.target
    gone = removed_by_name("extensions", old, new)
    languages = removed_by_name("languages", old, new)
    available = _available(at.asked.new_bindir)
    for (name,) in at.catalog.rows("SELECT extname FROM pg_catalog.pg_extension ORDER BY 1"):
        drop = f"Drop it, or move what uses it: DROP EXTENSION {quoted(name)}"
        if name in gone:
            yield at.blocker(
                at.named(name),
                f"PostgreSQL {gone[name].major} does not bring this extension ({gone[name].note}),"
                " so that pg_upgrade and a restore fail at it",
                drop,
            )
        elif available is not None and name not in available:
            yield at.blocker(
                at.named(name),
                f"the extension is not installed beside the programs of {at.asked.new_bindir}, so"
                " that pg_upgrade and a restore fail at it",
                f"Install its package for PostgreSQL {new}. {drop}",
            )
        elif available is None and new > old and name not in brought():
            yield at.unseen(
                at.named(name),
                f"whether the extension is installed for PostgreSQL {new} is not known; name the"
                " target's programs with --new-bindir",
            )
    for (name,) in at.catalog.rows(
        "SELECT lanname FROM pg_catalog.pg_language WHERE lanname = ANY ($1::text[])"
        " AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = lanname) ORDER BY 1",
        [list(languages)],
    ):
        entry = languages[name]
        yield at.blocker(
            at.named(name),
            f"PostgreSQL {entry.major} does not have this language ({entry.note}), so that its"
            " functions cannot be made there",
            f"Port its functions to {entry.facts['instead']}, and: DROP LANGUAGE {quoted(name)}",
        )


def _available(bindir: Path | None) -> set[str] | None:
    """List the extensions beside a version's programs; None where that is not known."""
    if bindir is None:
        return None
    places = [
        bindir.parent / "share" / "extension",
        bindir.parent / "share" / "postgresql" / "extension",
    ]
    config = bindir / "pg_config"
    if config.exists():
        try:
            told = run([config, "--sharedir"], provider="pg_config").strip()
        except DedupeError:
            told = ""
        places = [*([Path(told) / "extension"] if told else []), *places]
    for place in places:
        if place.is_dir():
            return {file.stem for file in place.glob("*.control")}
    return None


RULE = Rule(name="extensions", scope="database", look=look)
