"""The peers: what people do instead, each as its author would run it."""

from __future__ import annotations

from .statement import Statement

#: the obvious query, with the server's default settings
GROUP_BY = Statement(
    name="GROUP BY",
    sql="SELECT array_agg(id) FROM {table} GROUP BY {key} HAVING count(*) > 1",
    groups=True,
)

PEERS = (GROUP_BY,)
