"""A plan's decisions go into the database, where the batches take them from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from ..journal import SCHEMA
from ..plan import Plan
from ..writer import Writer

#: rows of a large group that are repaired in one turn
PIECE_ROWS = 1000
#: what a value must not hold as it is in COPY's text format
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


#: Gives the groups of a round that an earlier one skipped their numbers again.
_SAME_NUMBER = (
    "WITH m AS MATERIALIZED (SELECT n.grp AS now, min(o.grp) AS was"
    f" FROM {SCHEMA}.work n JOIN {SCHEMA}.work o ON o.run = n.run AND o.round < n.round"
    " AND o.relid = n.relid AND o.place = n.place AND o.version = n.version"
    f" JOIN {SCHEMA}.skipped k ON k.run = o.run AND k.round = o.round AND k.grp = o.grp"
    # In a heap that was rewritten meanwhile an address means another row.
    f" JOIN {SCHEMA}.heap a ON a.run = o.run AND a.round = o.round AND a.relid = o.relid"
    f" JOIN {SCHEMA}.heap b ON b.run = n.run AND b.round = n.round AND b.relid = n.relid"
    " AND b.filenode = a.filenode"
    " WHERE n.run = $1::text AND n.round = $2::int4 GROUP BY n.grp)"
    f" UPDATE {SCHEMA}.{{table}} t SET grp = m.was FROM m"
    " WHERE t.run = $1::text AND t.round = $2::int4 AND t.grp = m.now"
)


def load_round(
    writer: Writer, run: str, plan: Plan, round_: int, *, whole: Sequence[bool], behind: int = 0
) -> None:
    """Copy a plan's decisions into the database as a round; only inside ``writing``.

    ``whole``, for each policy of the plan: large groups too are repaired in one turn. ``behind`` is
    added to the numbers of the groups, but one that was left as it was keeps its own.
    """
    oids = [oid for oid, *_ in plan.run.identity.leaves]
    writer.copy_lines(
        f"COPY {SCHEMA}.work (run, round, turn, policy, grp, ordinal, relid, place, version)"
        " FROM STDIN",
        (
            f"{run}\t{round_}\t{turn}\t{policy}\t{behind + group}\t{ordinal}\t{oids[leaf]}\t{ctid}"
            f"\t{xmin}\n"
            for turn, (policy, group, ordinal, leaf, ctid, xmin) in _with_turns(plan, whole)
        ),
    )
    writer.copy_lines(
        f"COPY {SCHEMA}.merged (run, round, grp, name, value) FROM STDIN",
        (
            f"{run}\t{round_}\t{behind + group}\t{_field(name)}\t{_field(value)}\n"
            for group, name, value in plan.merged()
        ),
    )
    writer.rows(
        f"INSERT INTO {SCHEMA}.heap SELECT $1::text, $2::int4, h.relid, h.filenode FROM"
        " ROWS FROM (pg_catalog.unnest($3::int8[]::oid[]), pg_catalog.unnest($4::int8[]))"
        " h (relid, filenode)",
        [
            run, round_, oids,
            [filenode for _, filenode, *_ in plan.run.identity.leaves],
        ],
    )
    writer.rows(
        f"UPDATE {SCHEMA}.run SET round = $2::int4, done = 0 WHERE id = $1::text",
        [run, round_],
    )
    writer.rows(f"ANALYZE {SCHEMA}.work")
    if behind:
        for table in ("merged", "work"):
            writer.rows(_SAME_NUMBER.format(table=table), [run, round_])


def _with_turns(
    plan: Plan, whole: Sequence[bool]
) -> Iterator[tuple[int, tuple[int, int, int, int, str, str]]]:
    """Stream the plan's rows with the turn of each, from 1; policy after policy.

    A group has one turn, and a large one several that follow each other, where its losers
    need not be seen together: the row that stays is then in the first of them.
    """
    apart = [
        not at_once and not policy.merge and policy.loser.action in {"delete", "blank"}
        for at_once, policy in zip(whole, plan.policies, strict=True)
    ]
    turn = 0
    for _, rows in groupby(plan.addresses(), key=itemgetter(1)):
        for number, row in enumerate(rows):
            turn += not number or (apart[row[0]] and number % PIECE_ROWS == 0)
            yield turn, row


def _field(text: str | None) -> str:
    r"""Write a value for COPY's text format: NULL is ``\\N``."""
    if text is None:
        return "\\N"
    return text.translate(_ESCAPES)
