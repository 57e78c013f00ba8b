"""Plans that people export, change in a spreadsheet, and take back in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any, Literal

import pytest

from dedupe import MatchKey, Plan, export_plan, import_plan, plan, repair, scan
from dedupe.errors import PlanError, RefusedError

from ..promises.shop import Shop
from ..repairing import unchanged

Form = Literal["jsonl", "csv"]
Lines = list[dict[str, Any]]

MAKE = (
    'CREATE TABLE "T, t" (id int8 PRIMARY KEY, k text, note text);'
    'CREATE UNIQUE INDEX t_k ON "T, t" (k, (note || \'!\'));'
    "INSERT INTO \"T, t\" VALUES (1, 'a', 'x'), (2, E'b \"q\"\\n,', 'x'), (3, 'Ünï', 'x')"
)
TWINS = (
    "INSERT INTO \"T, t\" VALUES (11, 'a', 'x'), (12, E'b \"q\"\\n,', 'x'), (13, 'Ünï', 'x'),"
    " (21, 'a', 'x')"
)


@pytest.fixture
def made(shop: Shop) -> Plan:
    shop.make(MAKE, "t_k", TWINS)
    return shop.planned("t_k")


def exported(made: Plan, form: Form) -> str:
    stream = io.StringIO()
    export_plan(made, stream, form)
    return stream.getvalue()


def lines_of(made: Plan) -> Lines:
    return [json.loads(line) for line in exported(made, "jsonl").splitlines()]


def written(lines: Lines) -> io.StringIO:
    return io.StringIO("".join(json.dumps(line) + "\n" for line in lines))


def survivors(made: Plan) -> dict[int, int]:
    return {one.group: int((one.survivor.pk or {})["id"] or 0) for one in made.decisions()}


def ids(line: dict[str, Any]) -> int:
    return int(line["pk"]["id"])


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_was_exported_comes_back(shop: Shop, made: Plan, form: Form) -> None:
    """Scenario: keys hold quotes, commas and newlines; the file is not changed."""
    before = list(made.ranks())
    again = import_plan(made.run, io.StringIO(exported(made, form), newline=""), form)
    assert list(again.ranks()) == before
    assert (again.groups, again.losers, again.left_out) == (3, 4, 0)
    shop.repaired(again)
    shop.undone(again)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_another_row_is_kept(shop: Shop, made: Plan, form: Form) -> None:
    """Scenario: in a spreadsheet another row of each group is kept, and lines are sorted anew.
    Outcome: those stay, and the fingerprint is another.
    """
    wanted = {11: "yes", 12: "yes", 3: "yes"}
    lines = [{**line, "keep": wanted.get(ids(line), "no")} for line in lines_of(made)]
    lines.reverse()
    if form == "csv":
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        for line in lines:
            writer.writerow({**line, "keep": str(line["keep"]).upper() + " "})
        stream.seek(0)
    else:
        stream = written(lines)
    before = made.fingerprint
    changed = import_plan(made.run, stream, form)
    assert sorted(survivors(changed).values()) == [3, 11, 12]
    assert changed.fingerprint != before
    result = shop.repaired(changed)
    assert result.repaired == 3
    assert shop.rows('SELECT id FROM "T, t" ORDER BY id') == [3, 11, 12]
    shop.undone(changed)


def test_a_group_that_was_removed_is_left_out(shop: Shop, made: Plan) -> None:
    lines = lines_of(made)
    gone = lines[0]["group"]
    changed = import_plan(made.run, written([line for line in lines if line["group"] != gone]))
    assert (changed.groups, changed.left_out, changed.partial) == (2, 1, True)
    assert gone not in survivors(changed)
    result = repair(changed, db=shop.dsn, execute=True)
    assert (result.status, result.repaired, result.left) == ("left", 2, 1)
    assert shop.rows('SELECT count(*) - count(DISTINCT k) FROM "T, t"') in ([1], [2])
    shop.undone(changed)


def keep_two(lines: Lines) -> Lines:
    return [{**line, "keep": "yes"} for line in lines]


def keep_none(lines: Lines) -> Lines:
    return [{**line, "keep": "no"} for line in lines]


def unknown_row(lines: Lines) -> Lines:
    return [{**lines[0], "ctid": "(999,1)"}, *lines[1:]]


def other_table(lines: Lines) -> Lines:
    return [{**lines[0], "table": "t"}, *lines[1:]]


def other_groups_row(lines: Lines) -> Lines:
    other = next(line for line in lines if line["group"] != lines[0]["group"])
    return [*lines, {**other, "group": lines[0]["group"], "keep": "no"}]


def swapped_groups(lines: Lines) -> Lines:
    first, last = lines[0]["group"], lines[-1]["group"]
    swap = {first: last, last: first}
    return [{**line, "group": swap.get(line["group"], line["group"])} for line in lines]


def one_line_less(lines: Lines) -> Lines:
    return [line for line in lines if line is not next(x for x in lines if x["keep"] == "no")]


def one_line_twice(lines: Lines) -> Lines:
    return [*lines, lines[-1]]


def unknown_group(lines: Lines) -> Lines:
    return [*lines, {**lines[0], "group": 99}]


def negative_group(lines: Lines) -> Lines:
    return [*lines, {**lines[0], "group": -1}]


def no_group(lines: Lines) -> Lines:
    return [{**lines[0], "group": "first"}, *lines[1:]]


def null_keep(lines: Lines) -> Lines:
    return [{**lines[0], "keep": None}, *lines[1:]]


def perhaps(lines: Lines) -> Lines:
    return [{**lines[0], "keep": "perhaps"}, *lines[1:]]


def another_run(lines: Lines) -> Lines:
    return [{**line, "run": "0123456789abcdef"} for line in lines]


def without_a_field(lines: Lines) -> Lines:
    return [{name: line[name] for name in line if name != "ctid"} for line in lines]


@pytest.mark.parametrize(
    "edit",
    [
        keep_two, keep_none, unknown_row, other_table, other_groups_row, swapped_groups,
        one_line_less, one_line_twice, unknown_group, negative_group, no_group, null_keep, perhaps,
        another_run, without_a_field,
    ],
)  # fmt: skip
def test_nonsense_is_refused_and_the_plan_stays(
    shop: Shop, made: Plan, edit: Callable[[Lines], Lines]
) -> None:
    """Outcome: the error names the line or the group; the plan is the one that it was."""
    before = (made.fingerprint, list(made.ranks()))
    with pytest.raises(PlanError) as refused:
        import_plan(made.run, written(edit(lines_of(made))))
    assert any(word in refused.value.message for word in ("line ", "group ")), refused.value
    again = Plan.open(shop.run)
    assert (again.fingerprint, list(again.ranks())) == before
    unchanged(shop)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("{", "jsonl"),
        ("[]", "jsonl"),
        ("7", "jsonl"),
        ("null", "jsonl"),
        ("a,b\n1,2\n", "csv"),
        ("run,group,keep\nx\n", "csv"),
        ('run,group,keep\n"', "csv"),
        ("\x00", "jsonl"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(shop: Shop, made: Plan, text: str, form: Form) -> None:
    with pytest.raises(PlanError, match="line "):
        import_plan(made.run, io.StringIO(text), form)
    assert Plan.open(shop.run).fingerprint == made.fingerprint


def test_an_empty_file_repairs_nothing(shop: Shop, made: Plan) -> None:
    """Scenario: all lines were removed, so every group is left out."""
    changed = import_plan(made.run, io.StringIO("\n"))
    assert (changed.groups, changed.left_out) == (0, 3)
    result = repair(changed, db=shop.dsn, execute=True)
    assert (result.status, result.left) == ("left", 3)
    unchanged(shop)


def test_a_plan_whose_repair_has_begun_is_not_changed(shop: Shop, made: Plan) -> None:
    lines = lines_of(made)
    shop.repaired(made)
    with pytest.raises(RefusedError):
        import_plan(made.run, written(lines))
    with pytest.raises(RefusedError):
        plan(made.run, keep="newest", db=shop.dsn)


def test_the_file_of_another_plan_of_the_run(shop: Shop, made: Plan) -> None:
    """Scenario: the plan was made anew by another rule since the export.
    Outcome: the file says which rows stay; it is taken, for it names the run's own rows.
    """
    lines = lines_of(made)
    anew = plan(made.run, keep="newest", db=shop.dsn)
    assert sorted(survivors(anew).values()) == [12, 13, 21]
    changed = import_plan(made.run, written(lines))
    assert sorted(survivors(changed).values()) == [1, 2, 3]


def test_a_group_that_the_plan_left_out_cannot_be_slipped_in(shop: Shop, made: Plan) -> None:
    lines = lines_of(made)
    plan(made.run, keep="oldest", db=shop.dsn, max_groups=1)
    with pytest.raises(PlanError, match="group "):
        import_plan(made.run, written(lines))


def test_two_runs_of_one_table_are_two(shop: Shop, made: Plan) -> None:
    other = scan(shop.dsn, MatchKey.from_index("t_k"), shop.run.with_name("other"))
    plan(other, keep="oldest", db=shop.dsn)
    with pytest.raises(PlanError, match="belongs to the run"):
        import_plan(other, written(lines_of(made)))
