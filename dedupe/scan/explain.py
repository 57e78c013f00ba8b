"""A look at the server's plan before a statement runs: it must read as it was asked to.

Source: https://www.postgresql.org/docs/current/sql-explain.html
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..errors import QueryFailed
from ..session import Session

_BY_HEAP = {"Seq Scan", "Tid Scan", "Tid Range Scan", "Sample Scan"}


def check_plan(
    session: Session,
    query: str,
    params: Sequence[object],
    allowed: set[str],
    index: str | None = None,
) -> None:
    """Raise QueryFailed unless the plan for ``query`` uses only ``allowed`` nodes and ``index``."""
    nodes = _plan(session, query, params)
    used = {f"{node['Node Type']}" for node in nodes} - allowed
    used |= {f"index {n['Index Name']}" for n in nodes if n.get("Index Name", index) != index}
    if used:
        raise QueryFailed(
            f"the server would not read as it was asked to but by {', '.join(sorted(used))}",
            hint="Report this with the server's version and its settings (\\dconfig).",
            nodes=sorted(used),
        )


def indexes_read(
    session: Session, query: str, params: Sequence[object], *, beside: Collection[str] = ()
) -> frozenset[str] | None:
    """Return the names of the indexes that a query goes by; None if it reads a table otherwise.

    Tables ``beside`` those that matter may be read in any way.
    """
    nodes = _plan(session, query, params)
    if any(n["Node Type"] in _BY_HEAP and n["Relation Name"] not in beside for n in nodes):
        return None
    return frozenset(node["Index Name"] for node in nodes if "Index Name" in node)


def _plan(session: Session, query: str, params: Sequence[object]) -> list[dict[str, Any]]:
    ((plan,),) = session.rows(f"EXPLAIN (FORMAT JSON, COSTS OFF) {query}", params)
    if isinstance(plan, str):
        plan = json.loads(plan)
    return list(_nodes(plan[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
