"""A look at the server's plan before a statement runs: it must read as it was asked to.

Source: https://www.postgresql.org/docs/current/sql-explain.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import QueryFailed
from ..session import Session


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


def indexes_by_alias(
    session: Session, query: str, params: Sequence[object]
) -> dict[str, frozenset[str]]:
    """Return the names of the indexes by which a query reads each table, by the table's alias.

    None of them: it is read as a whole, or by address.
    """
    found: dict[str, frozenset[str]] = {}
    for node in _plan(session, query, params):
        if "Alias" in node and "Relation Name" in node:
            found[node["Alias"]] = found.get(node["Alias"], frozenset()) | {
                below["Index Name"] for below in _nodes(node) if "Index Name" in below
            }
    return found


def _plan(session: Session, query: str, params: Sequence[object]) -> list[dict[str, Any]]:
    ((plan,),) = session.rows(f"EXPLAIN (FORMAT JSON, COSTS OFF) {query}", params)
    if isinstance(plan, str):
        plan = json.loads(plan)
    return list(_nodes(plan[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
