"""The process that scans for several keys: ``python -m benchmarks.sweeps.scanning``.

Arguments: a connection string, a table, a JSON list of keys (each a list of columns and
expressions) and a run directory. Prints a JSON object: the run's seconds, and the processor
time that the scan took in this process.
"""

from __future__ import annotations

import json
import sys
import time

import dedupe


def main() -> None:
    """Scan and tell."""
    dsn, table, keys, place = sys.argv[1:]
    wanted = [dedupe.MatchKey.from_columns(table, *parts) for parts in json.loads(keys)]
    before = time.process_time()
    run = dedupe.scan(dsn, wanted, place)
    print(json.dumps({"seconds": run.seconds, "cpu_seconds": time.process_time() - before}))


if __name__ == "__main__":
    main()
