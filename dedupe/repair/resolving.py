"""Whether every reference resolves: read from the heaps, through no index."""

from __future__ import annotations

from ..references import References
from ..session import Session
from .pointing import matches
from .statements import BY_HEAP


def resolve_references(
    session: Session, references: References, checks: list[str], findings: list[str]
) -> None:
    """Find rows whose foreign key points at nothing, by reading both heaps.

    One sentence for each reference goes to ``checks`` or to ``findings``. What the catalog
    does not hold to is left out: it may have pointed at nothing before. ACCESS SHARE.
    """
    for r in references.references:
        if r.soft is not None:
            continue
        child, parent = references.relations[r.child], references.relations[r.parent]
        there = " AND ".join(f"c.{child.column(name).sql} IS NOT NULL" for name in r.columns)
        with session.transaction(settings=BY_HEAP):
            (dangling,) = session.row(
                f"SELECT count(*) FROM {child.source} c WHERE {there} AND NOT EXISTS"
                f" (SELECT FROM {parent.source} p WHERE {matches(r, parent, child, 'p', 'c')})"
            )
        what = f"{child.label} ({', '.join(r.columns)})"
        if dangling:
            findings.append(f"{dangling} rows of {what} point at no row of {parent.label}")
        else:
            checks.append(f"every row of {what} points at a row of {parent.label}")
