"""Before the first write: every index that a repair relies on is proved, rebuilt or built.

Source: https://www.postgresql.org/docs/current/amcheck.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .. import journal
from ..references import References
from ..relation import Relation
from ..session import Session
from ..surroundings import Reference
from ..writer import Writer
from .helpers import (
    build_helper,
    finding_indexes,
    helper_name,
    usable_indexes,
)
from .proof import prove_or_rebuild
from .rebuild import rebuild
from .telling import Telling


def prepare(
    writer: Writer,
    another: Callable[[], Session],
    run: str,
    pointing: Sequence[References],
    untrusted: int | None,
    telling: Telling,
    proved: set[int],
    *,
    alone: bool,
) -> None:
    """Prove every index that finds child rows or that a foreign key's check may use.

    Those of all ``pointing``, but ``untrusted``, the index that is repaired, and those that
    are ``proved`` already; what is proved here is added. ``alone``: helper indexes may be built
    by the faster way that stops writers. What cannot be proved is rebuilt, and
    a child without an index on its reference gets one. Reads each heap once for each of
    its indexes, two at a time, in sessions that ``another`` opens. Raises DuplicatesLeft
    (another key is violated), UnprovenIndex, RepairStopped, FailureError.
    """
    telling.phase("preparing")
    say = telling.say
    provable: dict[int, None] = {}
    others: dict[int, None] = {}
    for reference, child in _distinct(pointing):
        _build_missing(writer, run, reference, child, untrusted, say, alone=alone)
        for oid, method in usable_indexes(writer, reference, child):
            (provable if method == "btree" else others)[oid] = None
    for references in pointing:
        for relation in references.relations.values():
            provable |= {
                key.key.index_oid: None for key in relation.keys if key.key.index_oid is not None
            }
    family = {o for one in pointing for r in one.relations.values() for o in r.family}
    provable |= {
        oid: None
        for (oid,) in writer.rows(
            "SELECT DISTINCT c.conindid::int8 FROM pg_catalog.pg_constraint c"
            " WHERE c.contype = 'f' AND c.conparentid = 0"
            " AND c.conrelid = ANY ($1::int8[]::oid[]) AND c.confrelid = ANY ($1::int8[]::oid[])",
            [sorted(family)],
        )
    }
    for oid in others:
        # Nothing proves these; a new one is true.
        if oid != untrusted and oid not in proved:
            telling.check_stop()
            rebuild(writer, oid, say, alone=alone)
    oids = [oid for oid in provable if oid != untrusted and oid not in proved]
    prove_or_rebuild(writer, another, oids, lambda: telling.stopping, say, alone=alone)
    telling.check_stop()
    # One that was rebuilt has another oid.
    proved.update(oids)


def prepare_checks(
    writer: Writer,
    run: str,
    pointing: Sequence[References],
    untrusted: int | None,
    telling: Telling,
) -> None:
    """Build the helper indexes that foreign keys' own checks need, and prove nothing.

    For a search that reads heaps, where nobody else is connected: a check reads the whole
    child for every row that is deleted where no index finds its rows. Reads the children that
    have none; SHARE on them. Raises RepairStopped, FailureError.
    """
    telling.phase("preparing")
    for reference, child in _distinct(pointing):
        if reference.constraint is not None:
            telling.check_stop()
            _build_missing(writer, run, reference, child, untrusted, telling.say, alone=True)


def _distinct(pointing: Sequence[References]) -> Iterator[tuple[Reference, Relation]]:
    """Give each kind of reference once, with its child, those by the key itself left out."""
    looked: set[tuple[object, ...]] = set()
    for references in pointing:
        for reference in references.references:
            alike = reference.child, reference.columns, reference.soft
            if not reference.twin and alike not in looked:
                looked.add(alike)
                yield reference, references.relations[reference.child]


def _build_missing(
    writer: Writer,
    run: str,
    reference: Reference,
    child: Relation,
    untrusted: int | None,
    say: Callable[[str], None],
    *,
    alone: bool,
) -> None:
    """Build the helper index of a reference where no other index than ``untrusted`` finds it."""
    if all(oid == untrusted for oid, *_ in finding_indexes(writer, reference, child)):
        journal.tell(writer, run, "helper index", helper_name(run, reference))
        build_helper(writer, run, reference, child, say, alone=alone)
