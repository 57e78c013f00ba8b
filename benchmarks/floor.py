"""The floor: what one backend needs to read the table and hash the key, and nothing else.

No way of finding duplicates by hashes of the key can do with less work.
"""

from __future__ import annotations

from .statement import Statement

FLOOR = Statement(
    name="floor",
    sql="SELECT sum(hashtextextended({key}, 0)) FROM {table}",
    settings={"max_parallel_workers_per_gather": "0"},
    groups=False,
)
