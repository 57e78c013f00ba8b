"""A repair leaves one row of each group and loses nothing; an undo puts everything back.

For random databases: foreign keys of every action, self references, cycles, keys of children
that collide when they are re-pointed, references that the catalog does not know.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, note, settings

from dedupe import (
    MatchKey,
    Plan,
    Result,
    journal_export,
    journal_runs,
    plan,
    repair,
    scan,
    undo,
    verify,
)
from dedupe.errors import RefusedError
from dedupe.repair import loading, turns

from .drawing import cases
from .heap import Connection, observer
from .repaired import (
    PINS,
    Look,
    check_indexes,
    check_rows,
    dangling,
    look,
    survivor,
    without_key,
)
from .schemas import KEY_INDEX, Case

SLOW = os.environ.get("PGMEND_SLOW") == "1"
#: databases of the law: few enough to be always run, many before a release
EXAMPLES = 1_000 if SLOW else 20
#: databases that are repaired row by row
PIECES = 200 if SLOW else 8
#: databases that are repaired twice
TWICE = 100 if SLOW else 5


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A database to build in, and who reads its heaps."""

    dsn: str
    #: builds; its plans and settings are its own
    builder: Connection
    #: reads no index, and writes values as they are journaled
    reader: Connection
    run: Path


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with psycopg.connect(database, autocommit=True) as builder, observer(database) as reader:
        builder.execute(
            "SET client_min_messages = error; CREATE SCHEMA tools;"
            " CREATE EXTENSION amcheck SCHEMA tools"
        )
        reader.execute(PINS)
        yield World(dsn=database, builder=builder, reader=reader, run=tmp_path / "run")


def for_cases(examples: int, law: Callable[[Case], None]) -> None:
    """Try a law on so many databases; the one that breaks it is printed as SQL."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=not SLOW,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases())
    def tried(case: Case) -> None:
        note(case.sql())
        law(case)

    tried()


def planned(world: World, case: Case, *, by_columns: bool = False) -> Plan:
    """Scan and plan by the rules of the case."""
    shutil.rmtree(world.run, ignore_errors=True)
    key = MatchKey.from_columns("t0", "k") if by_columns else MatchKey.from_index(KEY_INDEX)
    run = scan(world.dsn, key, world.run)
    return plan(
        run,
        keep=case.keep,
        soft=case.soft,
        on_collision=case.on_collision,
        db=world.dsn,
    )


def seen(world: World, case: Case) -> Look:
    return look(world.reader, [table.name for table in case.tables])


def check_counts(world: World, result: Result, gone: Counter[str]) -> None:
    """Compare what the repair and its journal say with what went."""
    entries = [e for e in journal_export(world.dsn, result.run_id) if e["action"] == "delete"]
    assert Counter(entry["table"] for entry in entries) == +gone
    told = {label.rpartition(".")[2].strip('"'): rows for label, rows in result.deleted.items()}
    assert Counter(told) == +gone


def check_repaired(world: World, case: Case, result: Result, before: Look) -> None:
    """Find one row of each group, nothing lost, and the key unique."""
    assert (result.status, result.left, result.skipped) == ("repaired", 0, ())
    assert (result.groups, result.repaired) == (len(case.groups), len(case.groups))
    after = seen(world, case)
    gone = check_rows(case, before, after)
    event(f"rows lost by collisions: {min(3, sum(gone.values()) - gone['t0'])}")
    check_counts(world, result, gone)
    assert list(dangling(world.reader, case)) == []
    assert after.schema == before.schema
    check_indexes(world.builder)


def check_undone(case: Case, before: Look, now: Look, *, rebuilt: bool = True) -> None:
    """Find everything as it was, but for the key that became an ordinary index."""
    assert now.copies == before.copies
    assert without_key(now.schema) == without_key(before.schema)
    if rebuilt and not case.constraint:
        plain = {fact.replace(" UNIQUE ", " ") for fact in before.schema if KEY_INDEX in fact}
        assert {fact for fact in now.schema if KEY_INDEX in fact} == plain


@pytest.mark.grows
def test_repair_and_undo(world: World) -> None:
    """Scenario: random databases, references and rules; a repair, and then its undo.
    Outcome: one row of each group stays, the one by the rules; nothing but its twins and
    what would collide goes; what referenced the twins references it; the journal counts
    them; the key is unique again. Afterwards all is as it was, to the byte.
    """

    def law(case: Case) -> None:
        case.build(world.dsn, world.builder)
        before = seen(world, case)
        result: Result | None = None
        made: Plan | None = None
        try:
            made = planned(world, case)
            chosen = {decision.survivor.pk["id"] for decision in made.decisions()}
            assert chosen == {survivor(case, group)["id"] for group in case.groups}
            # Both ways of finding child rows, one half of the cases each.
            alone = len(case.groups) % 2 == 0
            result = repair(made, db=world.dsn, execute=True, alone=alone)
        except RefusedError as refusal:
            if not case.hard:
                raise
            event(f"hard: {type(refusal).__name__}")
        if result is not None and not (case.hard and result.status == "left"):
            event(f"repaired{', hard' if case.hard else ''}")
            check_repaired(world, case, result, before)
            found = verify(made.run, db=world.dsn)
            assert (found.findings, found.clean) == ((), True)
        else:
            # Keys that move with their references: what is not repaired is whole.
            assert list(dangling(world.reader, case)) == []
            if not journal_runs(world.dsn):
                assert seen(world, case) == before
                return
        rebuilt = result is not None and result.status == "repaired"
        dropped = [KEY_INDEX] if case.constraint else []
        undone = undo(made.run, db=world.dsn, execute=True, drop_constraints=dropped)
        assert (undone.status, undone.refused) == ("undone", ())
        check_undone(case, before, seen(world, case), rebuilt=rebuilt)
        check_indexes(world.builder)

    for_cases(EXAMPLES, law)


@pytest.mark.grows
def test_large_groups_are_repaired_in_pieces(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: every group counts as a large one, whose rows go one by one, a transaction each.
    Outcome: as for any other; a row that changes meanwhile costs a round, never a row.
    """
    # By their names: dedupe.plan itself is the function.
    for module in ("dedupe.survivor", "dedupe.plan"):
        monkeypatch.setattr(sys.modules[module], "LARGE_GROUP", 1)
    monkeypatch.setattr(loading, "PIECE_ROWS", 1)
    monkeypatch.setattr(turns, "_FIRST_BATCH", 1)
    monkeypatch.setattr(turns, "_LARGEST_BATCH", 1)

    def law(case: Case) -> None:
        if case.hard:
            return
        case.build(world.dsn, world.builder)
        before = seen(world, case)
        made = planned(world, case)
        chosen = {decision.survivor.pk["id"] for decision in made.decisions()}
        assert chosen == {survivor(case, group)["id"] for group in case.groups}
        result = repair(made, db=world.dsn, execute=True)
        event(f"rounds: {result.rounds}")
        assert (result.status, result.left, result.skipped) == ("repaired", 0, ())
        check_counts(world, result, check_rows(case, before, seen(world, case)))
        assert list(dangling(world.reader, case)) == []
        check_indexes(world.builder)
        assert verify(made.run, db=world.dsn).findings == ()
        dropped = [KEY_INDEX] if case.constraint else []
        undone = undo(made.run, db=world.dsn, execute=True, drop_constraints=dropped)
        assert (undone.status, undone.refused) == ("undone", ())
        check_undone(case, before, seen(world, case))

    for_cases(PIECES, law)


@pytest.mark.grows
def test_repaired_again_after_undo(world: World) -> None:
    """Scenario: repair, undo, and a new scan and repair by the same rules, as if alone this time,
    so that child rows are found by their heaps.
    Outcome: the tables are those of the first repair, and so is the second undo's result.
    """

    def law(case: Case) -> None:
        case.build(world.dsn, world.builder)
        before = seen(world, case)
        results: list[dict[str, list[bytes]]] = []
        for again in (False, True):
            try:
                made = planned(world, case, by_columns=again)
                result = repair(made, db=world.dsn, execute=True, alone=again)
            except RefusedError:
                if not case.hard:
                    raise
                return
            rebuilt = result.status == "repaired" and not again
            results.append(dict(seen(world, case).copies))
            dropped = [KEY_INDEX] if case.constraint else []
            undo(made.run, db=world.dsn, execute=True, drop_constraints=dropped)
            check_undone(case, before, seen(world, case), rebuilt=rebuilt)
        assert results[0] == results[1]

    for_cases(TWICE, law)
