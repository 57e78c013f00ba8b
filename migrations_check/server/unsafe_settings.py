"""Settings under which a crash, or a bad disk, ruins the cluster without a word.

Sources: https://www.postgresql.org/docs/current/runtime-config-wal.html,
https://www.postgresql.org/docs/current/checksums.html
"""

from __future__ import annotations

from collections.abc import Iterator

from .rule import Look, Rule, Said

#: setting, the value that it ought to have, what happens else
_WANTED = (
    ("fsync", "on", "a crash of the machine leaves a damaged cluster"),
    ("full_page_writes", "on", "a crash of the machine leaves half-written pages"),
    ("zero_damaged_pages", "off", "a damaged page is emptied when it is read, with all its rows"),
    ("ignore_checksum_failure", "off", "damaged pages are read as if they were sound"),
)


def look(at: Look) -> Iterator[Said]:
    """Read the settings that keep the cluster's pages whole, and whether it has checksums."""
    for name, wanted, otherwise in _WANTED:
        found = at.catalog.setting(name)
        if found is None:
            yield at.unseen(name, "the server does not tell this setting to this role")
        elif found != wanted:
            yield at.warning(
                name, f"{name} is {found}: {otherwise}",
                f"ALTER SYSTEM SET {name} = {wanted}; SELECT pg_reload_conf()",
            )
    if at.catalog.setting("data_checksums") == "off":
        default = (
            "; and initdb of PostgreSQL 18 turns them on, so that pg_upgrade refuses the two"
            " clusters unless the new one is made with --no-data-checksums"
            if at.crosses(18) else ""
        )
        yield at.warning(
            "data_checksums",
            f"pages have no checksums, so that damage of the disk is not noticed{default}",
            "With the server stopped: pg_checksums --enable -D DATADIR"
            + ("" if at.catalog.major >= 12 else " (of PostgreSQL 12 or later, after the upgrade)"),
        )


RULE = Rule(name="unsafe-settings", scope="cluster", look=look)
