"""The script that people write: a server-side cursor and a dictionary of every key."""

from __future__ import annotations

import time

import psycopg

from benchmarks.task import answer, options, task

#: rows that are fetched at once
_FETCHED = 10_000


def main() -> None:
    """Remember the first row of every key, and all rows of a key that comes again."""
    told = task()
    with psycopg.connect(told["dsn"], options=options(told)) as connection:
        started = time.monotonic()
        first: dict[str, int] = {}
        twice: dict[str, list[int]] = {}
        with connection.cursor(name="every_key") as cursor:
            cursor.itersize = _FETCHED
            cursor.execute(
                f"SELECT id, {told['key']} FROM {told['table']} WHERE {told['key']} IS NOT NULL"
            )
            for number, key in cursor:
                if key not in first:
                    first[key] = number
                elif key in twice:
                    twice[key].append(number)
                else:
                    twice[key] = [first[key], number]
        seconds = time.monotonic() - started
    answer(seconds, twice.values())


if __name__ == "__main__":
    main()
