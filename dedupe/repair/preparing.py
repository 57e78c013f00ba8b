"""Before the first write: every index that a repair relies on is proved, rebuilt or built.

Source: https://www.postgresql.org/docs/current/amcheck.html
"""

from __future__ import annotations

from .. import journal
from ..references import References
from ..writer import Writer
from .helpers import (
    build_helper,
    drop_helper,
    finding_indexes,
    helper_name,
    usable_indexes,
)
from .proof import trusted
from .rebuild import rebuild
from .telling import Telling


def prepare(
    writer: Writer, run: str, references: References, untrusted: int | None, telling: Telling
) -> None:
    """Prove every index that finds child rows or that a foreign key's check may use.

    All but ``untrusted``, the index that is repaired. What cannot be proved is rebuilt, and
    a child without an index on its reference gets one. Reads each heap once for each of
    its indexes. Raises DuplicatesLeft (another key is violated), UnprovenIndex,
    RepairStopped, FailureError.
    """
    telling.phase("preparing")
    say = telling.say
    seen: set[int] = set() if untrusted is None else {untrusted}
    for reference in references.references:
        child = references.relations[reference.child]
        found = finding_indexes(writer, reference, child)
        if reference.twin:
            continue
        if all(oid == untrusted for oid, *_ in found):
            journal.tell(
                writer, run, "helper index", helper_name(run, reference.number)
            )
            build_helper(writer, run, reference, child, say)
        for oid, method in usable_indexes(writer, reference, child):
            if oid in seen:
                continue
            telling.check_stop()
            if method == "btree":
                trusted(writer, oid, say)
            else:
                # Nothing proves these; a new one is true.
                rebuild(writer, oid, say)
            seen.add(oid)
    for relation in references.relations.values():
        for key in relation.keys:
            index = key.key.index_oid
            if index is not None and index not in seen:
                telling.check_stop()
                trusted(writer, index, say)
                seen.add(index)
    for (oid,) in writer.rows(
        "SELECT DISTINCT c.conindid::int8 FROM pg_catalog.pg_constraint c"
        " WHERE c.contype = 'f' AND c.conparentid = 0 AND c.conrelid = ANY ($1::int8[]::oid[])"
        " AND c.confrelid = ANY ($1::int8[]::oid[])",
        [[o for r in references.relations.values() for o in r.family]],
    ):
        if oid not in seen:
            trusted(writer, oid, say)
            seen.add(oid)


def drop_helpers(writer: Writer, run: str, references: References) -> None:
    """Drop the indexes that ``prepare`` built."""
    for reference in references.references:
        child = references.relations[reference.child]
        drop_helper(writer, run, reference, child)
