"""Databases whose oldest transaction is so old that vacuum comes before everything else.

Source: https://www.postgresql.org/docs/current/routine-vacuuming.html (Preventing Transaction
ID Wraparound Failures)
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from dedupe.table import quoted

from .rule import Look, Rule, Said

#: transactions
_WARNED, _WRAPS = 1_500_000_000, 2**31 - 1


def look(at: Look) -> Iterator[Said]:
    """Read the age of each database, and how many numbers are left."""
    # How long before the wrap a server takes no more writes.
    spare = (
        {"transaction": 3_000_000, "multixact": 3_000_000} if at.catalog.major >= 14
        else {"transaction": 1_000_000, "multixact": 100}
    )
    for name, allowed, age, multi in at.catalog.rows(
        "SELECT datname, datallowconn, pg_catalog.age(datfrozenxid)::int8,"
        " pg_catalog.mxid_age(datminmxid)::int8 FROM pg_catalog.pg_database ORDER BY 1"
    ):
        for what, number in (("transaction", age), ("multixact", multi)):
            if number < _WARNED:
                continue
            left = _WRAPS - spare[what] - number
            text = f"its oldest {what} is {number:,} old, of {_WRAPS:,}: "
            if left > 0:
                yield at.warning(
                    name, f"{text}{left:,} are left before the server takes no more writes",
                    _frozen(name, allowed=allowed),
                )
            else:
                yield at.blocker(
                    name,
                    f"{text}the server takes no more writes, and the new one would not either",
                    f"{_frozen(name, allowed=allowed)}; before it: end old transactions, also"
                    " prepared ones, and drop old replication slots, which hold vacuum back",
                )


def _frozen(name: str, *, allowed: bool) -> str:
    """Say how a database is frozen, one that nobody may enter too."""
    vacuum = f"vacuumdb --freeze -d {shlex.quote(name)}"
    if allowed:
        return vacuum
    database = f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS"
    return f"{database} true; {vacuum}; {database} false"


RULE = Rule(name="xid-age", scope="cluster", look=look)
