"""Databases whose oldest transaction is so old that vacuum comes before everything else.

Source: https://www.postgresql.org/docs/current/routine-vacuuming.html (Preventing Transaction
ID Wraparound Failures)
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .rule import Look, Rule, Said

#: transactions; a server stops taking writes three million before 2^31
_WARNED, _STOPPED = 1_500_000_000, 2**31 - 1 - 3_000_000


def look(at: Look) -> Iterator[Said]:
    """Read the age of each database, and how many numbers are left."""
    for name, age, multi in at.catalog.rows(
        "SELECT datname, pg_catalog.age(datfrozenxid)::int8,"
        " pg_catalog.mxid_age(datminmxid)::int8 FROM pg_catalog.pg_database ORDER BY 1"
    ):
        for what, number in (("transaction", age), ("multixact", multi)):
            if number < _WARNED:
                continue
            remedy = f"VACUUM (FREEZE) in the database {quoted(name)}, before the window"
            text = (f"its oldest {what} is {number:,} old, of 2,147,483,647:"
                    f" {_STOPPED - number:,} are left before the server takes no more writes")
            said = at.blocker if number >= _STOPPED else at.warning
            yield said(name, text, remedy)


RULE = Rule(name="xid-age", scope="cluster", look=look)
