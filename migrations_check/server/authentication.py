"""Lines of pg_hba.conf that the target does not take.

Sources: https://www.postgresql.org/docs/release/14.0/ (clientcert),
https://www.postgresql.org/docs/current/view-pg-hba-file-rules.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dedupe.errors import DedupeError

from .majors import note_of
from .rule import Look, Rule, Said

_OLD_VALUE = re.compile(r"\bclientcert\s*=\s*\"?(0|1|no-verify)\b")


def look(at: Look) -> Iterator[Said]:
    """Read the rules of authentication; a server of 14 or later does not start with old ones."""
    try:
        for line, error in at.catalog.rows(
            "SELECT line_number, error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL"
            # A line for encrypted connections is right where those are switched off, too; what
            # is wrong besides has no type.
            " AND NOT (error ~ 'cannot match because' AND type IS NOT NULL)"
        ):
            yield at.warning(
                f"pg_hba.conf:{line}", f"the line is wrong already: {error}", "Mend the line",
            )
        if at.crosses(14):
            yield from _clientcert(at)
    except DedupeError:
        yield at.unseen(
            "pg_hba.conf", "this role may not read the rules of authentication; a superuser may"
        )


def _clientcert(at: Look) -> Iterator[Said]:
    if at.catalog.major <= 10:
        # A file outside of the data directory cannot be read there, but its options are told.
        lines = at.catalog.rows(
            "SELECT line_number, pg_catalog.array_to_string(options, ' ')"
            " FROM pg_catalog.pg_hba_file_rules"
            " WHERE 'clientcert=true' = ANY (options)"
        )
    else:
        text = at.catalog.value(
            "SELECT pg_catalog.pg_read_file(pg_catalog.current_setting('hba_file'))"
        )
        lines = [
            (number, line) for number, line in enumerate(text.splitlines(), 1)
            if _OLD_VALUE.search(line.partition("#")[0])
        ]
    for number, _ in lines:
        yield at.warning(
            f"pg_hba.conf:{number}",
            "it says clientcert as a number or no-verify, and a server of PostgreSQL 14 or later"
            f" does not start with that ({note_of(14)})",
            "Write clientcert=verify-ca (for 1) or verify-full; leave it out for 0 and no-verify",
        )


RULE = Rule(name="authentication", scope="cluster", look=look)
