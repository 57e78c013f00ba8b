"""A plan for people and as JSON: counts, references, statements, samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from dedupe import Decision, Member, Plan, PlannedReference, Policy, policies_to_json

from .output import (
    FORMAT_VERSION,
    aligned,
    counted,
    moment_text,
    one_line,
    print_fact,
    row_facts,
    shown_value,
    styled,
)
from .siblings import repair_first

#: what the server would do to rows that point at a row that is just deleted
_LOSING = {
    "CASCADE": "delete rows of",
    "SET NULL": "empty columns of",
    "SET DEFAULT": "overwrite columns of",
}
#: losers of a group that fit beside each other
_BESIDE = 4
#: losers of a sample in JSON, at most
_MOST_LOSERS = 100


def plan_facts(plan: Plan, samples: int) -> dict[str, Any]:
    """Return the JSON object of ``plan --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "run": str(plan.run.path),
        "run_id": plan.run.id,
        "table": plan.table,
        "key_name": plan.key_name,
        "made": plan.made.isoformat(),
        "fingerprint": plan.fingerprint,
        "policies": json.loads(policies_to_json(plan.policies)),
        "groups": plan.groups,
        "losers": plan.losers,
        "kept_apart": plan.kept_apart,
        "changed": plan.changed,
        "left_out": plan.left_out,
        "references": [
            {
                "child": each.child,
                "columns": list(each.columns),
                "parent": each.parent,
                "parent_columns": list(each.parent_columns),
                "constraint": each.constraint,
                "on_delete": each.on_delete,
                "handling": each.handling,
                "level": each.level,
                "index": each.index,
                "rows": each.rows,
                "collides_with": list(each.collides_with),
                "on_collision": each.on_collision,
            }
            for each in plan.references
        ],
        "statements": list(plan.statements),
        "notes": list(plan.notes),
        "samples": [
            {
                "group": decision.group,
                "policy": decision.policy,
                "survivor": row_facts(decision.survivor),
                "losers": [row_facts(loser) for loser in decision.losers[:_MOST_LOSERS]],
                "rows": len(decision.losers) + 1,
            }
            for decision in islice(plan.decisions(), samples)
        ],
    }


def work_text(plan: Plan) -> str:
    """Say how many rows a plan is about: ``3 rows to delete, in 2 groups``."""
    shares = list(zip(plan.policies, plan.shares, strict=True))
    return "; ".join(
        f"{counted(losers, 'row')} to {policy.loser.action}, in {counted(groups, 'group')}"
        for policy, (groups, losers) in shares
        if groups or len(shares) == 1
    ) or f"nothing, in {counted(plan.groups, 'group')}"


def print_plan(plan: Plan, samples: int) -> None:
    """Print a plan: what it will do, what hangs on it, and its first groups."""
    print_fact("run", str(plan.run.path))
    print_fact("table", plan.table)
    print_fact("key", plan.key_name)
    for number, policy in enumerate(plan.policies, 1):
        if len(plan.policies) > 1:
            print_fact("policy", f"{number} of {len(plan.policies)}")
        for name, text in _rules(policy):
            print_fact(name, text)
    print_fact("work", work_text(plan))
    for number, why in (
        (plan.kept_apart, "left as they are, by the policy"),
        (plan.changed, "changed since the scan: looked for anew by the repair"),
        (plan.left_out, "not asked for"),
    ):
        if number:
            print_fact("", f"{counted(number, 'group')} {why}")
    print_fact("made", f"{moment_text(plan.made)}, fingerprint {plan.fingerprint[:16]}")
    print()
    _print_references(plan)
    if plan.statements:
        print("\nstatements:")
    for statement in plan.statements:
        for line in statement.splitlines():
            print(f"  {one_line(line)}")
    for text in plan.notes:
        print(f"note: {one_line(text)}")
    for text in repair_first(plan):
        print(f"first: {one_line(text)}")
    for decision in islice(plan.decisions(), samples):
        print()
        _print_sample(decision, plan.policies[decision.policy].loser.action)
    if plan.groups > samples > 0:
        print(f"\n{counted(plan.groups - samples, 'more group')}.")


def _rules(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield the rules of a policy that were said, in words."""
    keeps = [f"{keep.by} desc" if keep.descending else keep.by for keep in policy.keep]
    yield "keep", f"first by {', then by '.join(keeps)}"
    columns = f" {', '.join(policy.loser.columns)}" if policy.loser.columns else ""
    yield "others", f"{policy.loser.action}{columns}"
    for column, function in policy.merge.items():
        yield "merge", f"{column}: {function}"
    if policy.same is not None:
        yield "same", policy.same
    for table, how in policy.collisions.items():
        yield "collision", f"{table}: {how.by}{' desc' if how.descending else ''}"
    for table, pair in policy.drop_self_pairs.items():
        yield "self pairs", f"{table}: {' = '.join(pair)} is deleted"
    for name in policy.accept_loss:
        yield "loss", f"{name}: accepted"


def _print_references(plan: Plan) -> None:
    """Print what points at the rows that go, level by level, and raise the cascade alarm."""
    if all(policy.loser.action != "delete" for policy in plan.policies):
        print("No row is deleted, so what points at rows stays as it is.")
        return
    if not plan.references:
        print(f"Nothing points at {one_line(plan.table)}.")
        return
    header = (
        "what points at rows that may go", "at", "a plain DELETE", "this plan", "collisions",
        "found by", "rows, about",
    )
    rows = [
        (
            f"{'  ' * (each.level - 1)}{_columns(each.child, each.columns)}",
            _columns(each.parent, each.parent_columns),
            each.on_delete if each.constraint else "dangles",
            each.handling,
            _collisions(each),
            each.index or "an index made for it",
            "not known" if each.rows is None else f"{each.rows:,}",
        )
        for each in plan.references
    ]
    for line in aligned(header, rows):
        print(line)
    for action, words in _LOSING.items():
        hit = [each.child for each in plan.references if each.on_delete == action]
        if hit:
            alarm = styled(f"{action}:", sys.stdout, fg="red", bold=True)
            tables = one_line(", ".join(dict.fromkeys(hit)))
            print(f"{alarm} a plain DELETE would {words} {tables}.")
    lost = [_columns(each.child, each.columns) for each in plan.references if _lost(each)]
    if lost:
        words = styled("Accepted loss:", sys.stdout, fg="red", bold=True)
        print(f"{words} what points at the rows that go from {one_line(', '.join(lost))}.")
    else:
        collide = any(each.collides_with for each in plan.references)
        rest = "; where two rows then collide, one of them goes" if collide else ""
        print(f"This plan points all of it at the rows that stay{rest}.")


def _lost(reference: PlannedReference) -> bool:
    return reference.handling == "lose"


def _collisions(reference: PlannedReference) -> str:
    if not reference.collides_with:
        return "none"
    return f"{', '.join(reference.collides_with)}: {reference.on_collision}"


def _columns(table: str, columns: tuple[str, ...]) -> str:
    return f"{table} ({', '.join(columns)})"


def _print_sample(decision: Decision, action: str) -> None:
    """Print the rows of one group beside each other; ``*`` marks what differs."""
    shown = decision.losers[:_BESIDE]
    print(f"group {decision.group:,}, {counted(len(decision.losers) + 1, 'row')}; * differs")
    kept, columns = _fields(decision.survivor), [_fields(loser) for loser in shown]
    rows = [
        ("row", *map(_place, (decision.survivor, *shown))),
        *(
            (name, value, *(_marked(column.get(name, ""), value) for column in columns))
            for name, value in kept.items()
        ),
    ]
    for line in aligned(("", "keep", *(action for _ in shown)), rows):
        print(f"  {line}")
    if len(decision.losers) > _BESIDE:
        print(f"  and {counted(len(decision.losers) - _BESIDE, 'row')} more to {action}")


def _place(member: Member) -> str:
    return f"{member.schema}.{member.table} {member.ctid}"


def _marked(value: str, kept: str) -> str:
    return value if value == kept else f"{value} *"


def _fields(member: Member) -> dict[str, str]:
    """Return what is known of a row: its primary key, and its key."""
    names = ("key",) if len(member.key) == 1 else [f"key {n + 1}" for n in range(len(member.key))]
    return {
        **{one_line(name): shown_value(value) for name, value in (member.pk or {}).items()},
        **dict(zip(names, map(shown_value, member.key), strict=True)),
    }
