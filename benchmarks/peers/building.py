"""Building the unique index to see it fail: it names one key of all that are there twice.

In a transaction that is rolled back, so that nothing is left either way.
"""

from __future__ import annotations

import time

import psycopg

from benchmarks.task import counted, options, task


def main() -> None:
    """Build until the error."""
    told = task()
    with psycopg.connect(told["dsn"], options=options(told)) as connection:
        started = time.monotonic()
        named = 0
        try:
            connection.execute(f"CREATE UNIQUE INDEX ON {told['table']} ({told['key']})")
        except psycopg.errors.UniqueViolation:
            named = 1
        seconds = time.monotonic() - started
        connection.rollback()
    # It says that the key is there twice, not how often, nor where.
    counted(seconds, named, 2 * named)


if __name__ == "__main__":
    main()
