"""Whether every reference resolves: read from the heaps, through no index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ..journal import SCHEMA, standing
from ..policy import SoftReference
from ..references import References
from ..session import Session
from ..surroundings import Reference
from ..table import quoted
from .pointing import literal, matches, text_array
from .searching import WHOLE
from .telling import Telling

#: references that are read at a time
_SESSIONS = 2


def resolve_references(
    another: Callable[[], Session],
    pointing: Sequence[References],
    checks: list[str],
    findings: list[str],
    telling: Telling,
) -> None:
    """Find rows whose foreign key points at nothing, by reading both heaps.

    ``pointing``: the references of each policy; what several have in common is read once. One
    sentence for each goes to ``checks`` or to ``findings``. What the catalog does not hold to is
    left out: it may have pointed at nothing before. ``another`` opens a session; two references
    are read at a time. ACCESS SHARE. Raises RepairStopped.
    """
    looks = [
        partial(_dangling, references, r)
        for references, r in _each(pointing) if r.soft is None
    ]
    _look(another, looks, checks, findings, telling)


def find_strays(
    another: Callable[[], Session],
    run: str,
    pointing: Sequence[References],
    checks: list[str],
    findings: list[str],
    telling: Telling,
) -> None:
    """Find rows that point, by a soft reference, at a row that the run deleted.

    Nothing but the application keeps such rows from arriving while a repair runs. The
    journal says which rows were deleted. All else is as in ``resolve_references``.
    """
    looks = [
        partial(_strays, run, references, r, r.soft)
        for references, r in _each(pointing) if r.soft is not None
    ]
    _look(another, looks, checks, findings, telling)


def _each(pointing: Sequence[References]) -> Iterator[tuple[References, Reference]]:
    """Give every reference once, whichever policies follow it."""
    seen = set()
    for references in pointing:
        for r in references.references:
            alike = r.child, r.columns, r.parent, r.parent_columns, r.soft
            if alike not in seen:
                seen.add(alike)
                yield references, r


def _look(
    another: Callable[[], Session],
    looks: Sequence[Callable[[Session], tuple[bool, str]]],
    checks: list[str],
    findings: list[str],
    telling: Telling,
) -> None:
    """Take each look, two at a time, and keep what it says in the order of the looks."""

    def one(look: Callable[[Session], tuple[bool, str]]) -> tuple[bool, str]:
        telling.check_stop()
        with another() as session:
            return look(session)

    with ThreadPoolExecutor(_SESSIONS, thread_name_prefix="pgmend-resolve") as pool:
        try:
            for future in [pool.submit(one, look) for look in looks]:
                wrong, sentence = future.result()
                said = findings if wrong else checks
                if sentence not in said:
                    said.append(sentence)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _dangling(references: References, r: Reference, session: Session) -> tuple[bool, str]:
    """Tell whether rows point at nothing by a foreign key, and say it."""
    child, parent = references.relations[r.child], references.relations[r.parent]
    there = " AND ".join(f"c.{child.column(name).sql} IS NOT NULL" for name in r.columns)
    with session.transaction(settings=WHOLE):
        (dangling,) = session.row(
            f"SELECT count(*) FROM {child.source} c WHERE {there} AND NOT EXISTS"
            f" (SELECT FROM {parent.source} p WHERE {matches(r, parent, child, 'p', 'c')})"
        )
    what = f"{child.label} ({', '.join(r.columns)})"
    if dangling:
        return True, f"{dangling} rows of {what} point at no row of {parent.label}"
    return False, f"every row of {what} points at a row of {parent.label}"


def _strays(
    run: str, references: References, r: Reference, soft: SoftReference, session: Session
) -> tuple[bool, str]:
    """Tell whether rows point at what the run deleted by a soft reference, and say it."""
    child, parent = references.relations[r.child], references.relations[r.parent]
    column = f"c.{child.column(r.columns[0]).sql}"
    if soft.kind == "array":
        ids = f"pg_catalog.unnest({column})"
    elif soft.kind == "jsonb":
        ids = f"{column} OPERATOR(pg_catalog.#>>) {text_array(soft.path)}"
    else:
        ids = column
    kind = ""
    if soft.type_column is not None:
        name = child.column(soft.type_column).sql
        kind = f" WHERE c.{name} = {literal(soft.type_value or '')}"
    with session.transaction(settings=WHOLE):
        (strays,) = session.row(
            "WITH d AS (SELECT DISTINCT e.before[pg_catalog.array_position(s.columns,"
            f" $2::text)] AS id FROM {SCHEMA}.entry e JOIN {SCHEMA}.shape s"
            " ON s.run = e.run AND s.number = e.shape WHERE e.run = $1::text"
            f" AND e.action = 'd' AND s.relid = {parent.oid} AND {standing('e')}),"
            f" c AS (SELECT pg_catalog.format('%s', {ids}) AS id FROM {child.source} c{kind}),"
            f" p AS (SELECT pg_catalog.format('%s', {quoted(r.parent_columns[0])}) AS id"
            f" FROM {parent.source})"
            " SELECT count(*) FROM c JOIN d ON d.id = c.id"
            " WHERE NOT EXISTS (SELECT FROM p WHERE p.id = c.id)",
            [run, r.parent_columns[0]],
        )
    what = f"{child.label} ({', '.join(r.columns)})"
    if strays:
        return True, (
            f"{strays} rows of {what} point at rows of {parent.label} that the repair deleted;"
            " they were written while it ran"
        )
    return False, f"no row of {what} points at a row that the repair deleted"
