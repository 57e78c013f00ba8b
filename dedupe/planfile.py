"""Plans as files for people: exported, looked at in a spreadsheet, changed, taken back in.

One line a row of a group. The only thing that may be changed is which row of a group is
kept; a group whose lines were all removed is left out of the repair.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal, TextIO

from .decision import Ranking
from .errors import PlanError
from .plan import Plan, check_unbegun
from .planstore import write_plan
from .policy import CHOSEN
from .scan.run import Run

Form = Literal["jsonl", "csv"]

FIELDS = ("run", "group", "keep", "schema", "table", "ctid", "pk", "key")
_YES = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}


def export_plan(plan: Plan, stream: TextIO, form: Form = "jsonl") -> None:
    """Write a plan, a line for each row of each group; memory: one group.

    ``keep`` is ``yes`` for the row that stays. ``pk`` and ``key`` are JSON.
    """
    lines = _lines(plan)
    if form == "csv":
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        writer.writeheader()
        for line in lines:
            writer.writerow(
                {**line, "pk": json.dumps(line["pk"]), "key": json.dumps(line["key"])}
            )
        return
    for line in lines:
        stream.write(json.dumps(line) + "\n")


def import_plan(run: Run, stream: TextIO, form: Form = "jsonl") -> Plan:
    """Take the choice of kept rows from a file that ``export_plan`` wrote.

    The order of the lines does not matter. Memory: bounded; the lines wait in a temporary
    file. Raises PlanError (naming the line or the group: another run's file, two rows or
    none kept, a row that is not in the group, a missing row; columns that a callable
    merged), RefusedError (the repair has begun).
    """
    plan = Plan(run)
    check_unbegun(run)
    merged = sorted(
        name
        for policy in plan.policies
        for name, how in policy.merge.items()
        if how == CHOSEN
    )
    if merged:
        raise PlanError(
            f"a callable merged {', '.join(merged)} for the rows that this plan keeps",
            hint="Choose the kept rows by a callable too, where the plan is made.",
            path=run.path,
        )
    digest = hashlib.sha256(f"{plan.fingerprint}\n".encode())
    facts = plan.facts()
    shares, ahead = ([[0, 0] for _ in plan.policies] for _ in range(2))
    # An empty name is a database in a temporary file.
    with sqlite3.connect("") as store:
        store.execute("CREATE TABLE line (grp INTEGER, keep INTEGER, place TEXT, number INTEGER)")
        store.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", _read(run, stream, form))
        store.execute("CREATE INDEX by_group ON line (grp)")

        def decided() -> Iterator[Ranking]:
            rows = store.execute("SELECT grp, keep, place, number FROM line ORDER BY grp, number")
            edited = groupby(rows, key=lambda row: int(row[0]))
            wanted = next(edited, None)
            for decision, ranks in zip(plan.decisions(), plan.ranks(), strict=True):
                if wanted is None or wanted[0] > decision.group:
                    continue
                if wanted[0] < decision.group:
                    break
                places = {
                    _address(member.schema, member.table, member.ctid): place
                    for member, place in zip(
                        (decision.survivor, *decision.losers), ranks, strict=True
                    )
                }
                ranked = _ranked(decision.group, list(wanted[1]), places)
                shares[decision.policy][0] += 1
                shares[decision.policy][1] += len(ranked) - 1
                digest.update(f"{decision.group} {ranked}\n".encode())
                yield Ranking(decision.group, ranked, {}, decision.policy)
                for policy, members in plan.later_ranks(decision.group):
                    ahead[policy][0] += 1
                    ahead[policy][1] += len(members) - 1
                    yield Ranking(decision.group, members, {}, policy, later=True)
                wanted = next(edited, None)
            if wanted is not None:
                raise PlanError(
                    f"the file has a group {wanted[0]}, and the plan has none of that number",
                    hint="Only keep may be changed; export the plan again.",
                    path=run.path,
                )
            groups, losers = (sum(column) for column in zip(*shares, strict=True))
            facts.update(groups=groups, losers=losers, shares=shares, later_shares=ahead)
            facts["left_out"] = facts["left_out"] + plan.groups - groups
            facts["fingerprint"] = digest.hexdigest()

        write_plan(run, facts, decided())
    return Plan(run)


def _lines(plan: Plan) -> Iterator[dict[str, Any]]:
    for decision in plan.decisions():
        for member in (decision.survivor, *decision.losers):
            yield {
                "run": plan.run.id,
                "group": decision.group,
                "keep": "yes" if member is decision.survivor else "no",
                "schema": member.schema,
                "table": member.table,
                "ctid": member.ctid,
                "pk": member.pk,
                "key": list(member.key),
            }


def _read(run: Run, stream: TextIO, form: Form) -> Iterator[tuple[int, bool, str, int]]:
    """Read the lines: (group, keep, address, line number)."""
    for number, line in _parsed(stream, form):
        try:
            if line["run"] != run.id:
                raise PlanError(
                    f"line {number} belongs to the run {line['run']}, not to {run.id}",
                    hint="Export the plan of this run and change that.",
                    path=run.path,
                )
            keep = _YES[str(line["keep"]).strip().lower()]
            address = _address(line["schema"], line["table"], line["ctid"])
            yield int(line["group"]), keep, address, number
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(
                f"line {number} cannot be understood: {error!r}",
                hint=f"Its fields: {', '.join(FIELDS)}; keep is yes or no.",
                path=run.path,
            ) from error


def _parsed(stream: TextIO, form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    if form == "csv":
        reader = csv.DictReader(stream)
        for row in reader:
            yield reader.line_num, dict(row)
        return
    for number, text in enumerate(stream, 1):
        if not text.strip():
            continue
        try:
            yield number, json.loads(text)
        except json.JSONDecodeError as error:
            raise PlanError(f"line {number} is no JSON: {error}") from error


def _ranked(
    group: int, lines: Iterable[tuple[int, int, str, int]], places: dict[str, int]
) -> list[int]:
    """Return the places of a group's members, the kept one first."""
    seen: dict[str, bool] = {}
    for _, keep, address, number in lines:
        if address not in places:
            raise PlanError(
                f"line {number} names a row that is not in group {group}: {address}",
                hint="Only keep may be changed.",
            )
        if address in seen:
            raise PlanError(f"line {number} names a row of group {group} twice: {address}")
        seen[address] = bool(keep)
    if len(seen) != len(places):
        missing = sorted(places.keys() - seen.keys())
        raise PlanError(
            f"group {group} lacks a row: {missing[0]}",
            hint="Remove all lines of a group to leave it out, or none.",
        )
    kept = [address for address, keep in seen.items() if keep]
    if len(kept) != 1:
        raise PlanError(
            f"group {group} keeps {len(kept)} rows; it has to keep just one",
            hint="Say keep=yes in one line of the group.",
        )
    # The others stay in the order that they were planned in.
    return [places[kept[0]], *(place for address, place in places.items() if address != kept[0])]


def _address(schema: str, table: str, ctid: str) -> str:
    return f"{schema}.{table}{ctid}"
