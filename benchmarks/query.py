"""The process that runs one statement for a ``Statement``: ``python -m benchmarks.query``.

Arguments: a connection string and a JSON object with ``settings``, ``query`` and
``groups``. Prints a JSON object: seconds until the last row was there, and if
``groups`` is true, what the arrays in the first column hold.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

import psycopg

from .truth import found_in


def main() -> None:
    """Run the statement and tell."""
    dsn, task = sys.argv[1], json.loads(sys.argv[2])
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, value in task["settings"].items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        started = time.monotonic()
        rows = connection.execute(task["query"]).fetchall()
        seconds = time.monotonic() - started
    found = asdict(found_in(row[0] for row in rows)) if task["groups"] else None
    print(json.dumps({"seconds": seconds, "found": found}))


if __name__ == "__main__":
    main()
