"""Minor versions that damage indexes by themselves, from the release notes."""

from __future__ import annotations

from collections.abc import Iterator

from .majors import damaging_minors
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Compare the server's version with those that a later minor mended."""
    for entry in damaging_minors():
        if entry["first"] <= at.catalog.version < entry["mended"]:
            good = f"{entry['mended'] // 10000}.{entry['mended'] % 10000}"
            built = "REINDEX INDEX" + (" CONCURRENTLY" if at.catalog.major >= 12 else "")
            yield at.warning(
                f"PostgreSQL {at.catalog.major}.{at.catalog.version % 10000}",
                f"{entry['what']} ({entry['note']}); indexes that were built by it may miss rows",
                f"Update to {good} or later; then, for what was built concurrently: {built}."
                " pg_amcheck --all --heapallindexed finds the damaged ones (amcheck of 11 or"
                " later)",
            )


RULE = Rule(name="damaging-minor", scope="cluster", look=look)
