"""Peers that are one statement.

Their sessions may use no index: a planner that took the damaged one would answer
from what it lies about.
"""

from __future__ import annotations

from ..statement import Statement
from ..table import HEAP_ONLY

_GROUPS = (
    "SELECT array_agg(id) FROM {table} WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1"
)

#: the obvious query, with the server's default settings
GROUP_BY = Statement(name="GROUP BY", sql=_GROUPS, settings=HEAP_ONLY, groups=True)

#: the same with the memory that somebody who waits for it would give it
GROUP_BY_1GB = Statement(
    name="GROUP BY, 1 GB work_mem",
    sql=_GROUPS,
    settings={**HEAP_ONLY, "work_mem": "1GB"},
    groups=True,
)

#: the query that keeps every row beside its count; the outer one only puts groups together
WINDOW = Statement(
    name="window function",
    sql="SELECT array_agg(id) FROM (SELECT id, {key}, count(*) OVER (PARTITION BY {key}) AS n"
    " FROM {table} WHERE {key} IS NOT NULL) s WHERE n > 1 GROUP BY {key}",
    settings=HEAP_ONLY,
    groups=True,
)
