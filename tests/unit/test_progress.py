"""Progress: the estimate follows the pace, the share of the work only grows, events are few."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import Progress, Run, RunStatus
from dedupe.progress import Estimate
from dedupe.scan.tally import Tally, zeros
from dedupe.scan.telling import Teller
from dedupe.table import Table

TABLE = Table(oid=1, schema="public", name="t", partitioned=False, leaves=())


def tally_of(blocks: int, **counts: Any) -> Tally:
    return Tally(phase=RunStatus.SCANNING, table=TABLE, keys=(), blocks=blocks, **counts)


def test_the_time_left_follows_the_pace() -> None:
    estimate = Estimate()
    assert estimate.left(0.0, 0.0) is None, "nothing to judge by"
    assert estimate.left(0.3, 0.1) is None, "too soon"
    assert estimate.left(1.0, 0.1) == pytest.approx(9.0)
    assert estimate.left(5.0, 0.5) == pytest.approx(5.0)
    assert estimate.left(10.0, 1.0) == 0.0


def test_only_the_last_seconds_count() -> None:
    """Scenario: a fast beginning, then a tenth of the pace.
    Outcome: after the window has passed, the estimate is the slow pace's alone.
    """
    estimate = Estimate(window=20.0)
    for second in range(11):
        estimate.left(float(second), second * 0.05)
    for second in range(11, 41):
        left = estimate.left(float(second), 0.5 + (second - 10) * 0.005)
    assert left == pytest.approx((1 - 0.65) / 0.005)


def test_standing_still_or_beginning_anew_has_no_estimate() -> None:
    estimate = Estimate()
    estimate.left(0.0, 0.4)
    assert estimate.left(10.0, 0.4) is None
    assert estimate.left(11.0, 0.0) is None


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 0.2)), max_size=60))
def test_the_estimate_is_never_negative(steps: list[tuple[float, float]]) -> None:
    estimate = Estimate()
    now = share = 0.0
    for seconds, more in steps:
        now, share = now + seconds, min(1.0, share + more)
        left = estimate.left(now, share)
        assert left is None or left >= 0.0


def test_the_share_of_the_work_only_grows() -> None:
    """Through all phases, with more blocks read than the table had when the run began."""
    tally = tally_of(100)
    shares = []
    for blocks in (0, 50, 100, 130):
        tally.main_blocks = blocks
        shares.append(tally.fraction)
    for phase, name, values in (
        (RunStatus.SWEEPING, "sweep_blocks", (0, 100, 130)),
        (RunStatus.CONFIRMING, "walked", (0.0, 0.5, 1.0)),
        (RunStatus.FINISHED, "walked", (1.0,)),
    ):
        tally.phase = phase
        for value in values:
            setattr(tally, name, value)
            shares.append(tally.fraction)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert all(share < 1.0 for share in shares[:-2])


def test_an_empty_table_has_a_share_too() -> None:
    tally = tally_of(0)
    assert tally.fraction == 0.0


def test_events_are_few_and_messages_are_not_lost(tmp_path: Path) -> None:
    """Scenario: a scan ticks as fast as it can for 0.35 s; three messages come.
    Outcome: about ten events a second, each message in one of its own, in their order.
    """
    seen: list[Progress] = []
    tally = tally_of(10, main_rows=zeros([1]), sweep_rows=zeros([1]))
    teller = Teller(Run(tmp_path), tally, seen.append)
    teller.tick(now=True)
    end = time.monotonic() + 0.35
    while time.monotonic() < end:
        teller.tick("a reason")
    assert 2 <= len(seen) <= 5
    assert [event.waiting for event in seen] == [None, *["a reason"] * (len(seen) - 1)]
    seen.clear()
    for message in ("one", "two", "three"):
        teller.tell(message)
    assert list(teller.messages()) == ["one", "two", "three"]
    assert [event.message for event in seen] == ["one", "two", "three"]
    assert list(teller.messages()) == []


def test_blocks_never_exceed_their_total(tmp_path: Path) -> None:
    """Scenario: the table grew while it was read.
    Outcome: the bar of the progress ends at its end.
    """
    seen: list[Progress] = []
    tally = tally_of(10, main_rows=[[5, 2]], sweep_rows=[[1, 0]])
    teller = Teller(Run(tmp_path), tally, seen.append)
    for phase, main, sweep in itertools.product(
        (RunStatus.SCANNING, RunStatus.SWEEPING, RunStatus.CONFIRMING, RunStatus.FINISHED),
        (0, 10, 15),
        (0, 10, 15),
    ):
        tally.phase, tally.main_blocks, tally.sweep_blocks = phase, main, sweep
        teller.tick(now=True)
    assert len(seen) == 36
    assert all(0 <= event.blocks_done <= event.blocks_total == 20 for event in seen)
    assert all(event.rows == 6 for event in seen)
    assert seen[-1].eta_seconds == 0.0


def test_nobody_listening_is_no_error(tmp_path: Path) -> None:
    teller = Teller(Run(tmp_path), tally_of(1), None)
    teller.tell("x")
    teller.tick(now=True)
    assert list(teller.messages()) == ["x"]
