"""The state on disk: phases move along their arrows, a commit is whole, damage has a name."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupe import RunStatus
from dedupe.errors import LocalStorageError, NotARunDirectory, RunDirectoryDamaged
from dedupe.scan.checkpoint import (
    FORMAT_VERSION,
    STATE_FILE,
    TRANSITIONS,
    Segment,
    State,
    UnreadableRow,
)
from dedupe.scan.directory import make

#: every allowed move, written out: what is not here must be refused
ARROWS = {
    ("scanning", "scanning"),
    ("scanning", "sweeping"),
    ("sweeping", "scanning"),
    ("sweeping", "sweeping"),
    ("sweeping", "confirming"),
    ("confirming", "scanning"),
    ("confirming", "sweeping"),
    ("confirming", "finished"),
}


def segment(number: int, position: str | None = "0") -> Segment:
    return Segment(number=number, leaf=0, low="0", high="9", next=position, blocks=9)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State.create(tmp_path, {"format_version": FORMAT_VERSION, "phase": "scanning"})
    with made.commit():
        made.replace_segments([segment(0), segment(1)])
    yield made
    made.close()


def spoil(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def read_all(directory: Path) -> None:
    with State.opened(directory) as loaded:
        loaded.facts()
        loaded.segments()
        loaded.unreadable()


def test_the_table_of_moves_is_the_one_written_here() -> None:
    assert {(f"{one}", f"{to}") for one, moves in TRANSITIONS.items() for to in moves} == ARROWS


@pytest.mark.parametrize(("now", "to"), [*itertools.product(TRANSITIONS, RunStatus)])
def test_every_unlisted_move_is_refused(state: State, now: RunStatus, to: RunStatus) -> None:
    """The full product of phases; INTERRUPTED is told of a run and never saved."""
    assert {*TRANSITIONS} == {*RunStatus} - {RunStatus.INTERRUPTED}
    with state.commit():
        state.save_facts(phase=now)
    if (now, to) in ARROWS:
        with state.commit():
            state.move(to)
        assert state.fact("phase") == to
        return
    with pytest.raises(ValueError, match=f"does not go from {now} to {to}"), state.commit():
        state.move(to)
    assert state.fact("phase") == now


def test_what_was_saved_is_loaded(state: State, tmp_path: Path) -> None:
    """Facts, positions, unreadable rows and events, through a closed file; odd text too."""
    row = UnreadableRow(leaf=1, block=7, offset=3, message="it's \x1b bad")
    with state.commit():
        state.save_facts(spill_length=2**40, identity={"name": 'a"b\udcff'}, keys=[])
        state.save_positions({0: "5", 1: None})
        state.save_unreadable([row, row, UnreadableRow(leaf=0, block=9, offset=0, message="x")])
        state.save_event("2026-11-24T00:00:00+00:00", "lost")
    state.close()
    with State.opened(tmp_path) as loaded:
        assert loaded.fact("spill_length") == 2**40
        assert loaded.fact("identity") == {"name": 'a"b\udcff'}
        assert loaded.facts()["keys"] == []
        assert loaded.fact("missing", 12) == 12
        assert [each.next for each in loaded.segments()] == ["5", None]
        assert [(r.leaf, r.block, r.offset) for r in loaded.unreadable()] == [(0, 9, 0), (1, 7, 3)]
        assert loaded.unreadable()[1] == row
        assert loaded.events() == [("2026-11-24T00:00:00+00:00", "lost")]


def test_a_new_main_pass_forgets_the_old_one(state: State) -> None:
    with state.commit():
        state.save_unreadable([UnreadableRow(leaf=0, block=1, offset=1, message="x")])
    with state.commit():
        state.replace_segments([segment(0, "[]")])
        state.forget_unreadable()
    assert state.segments() == [segment(0, "[]")]
    assert state.unreadable() == []


def test_a_commit_that_fails_changes_nothing(state: State) -> None:
    def fail() -> None:
        with state.commit():
            state.save_positions({0: None})
            state.save_facts(spill_length=5)
            state.move(RunStatus.SWEEPING)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert state.fact("spill_length") is None
    assert state.fact("phase") == "scanning"
    assert [each.next for each in state.segments()] == ["0", "0"]


_WRITER = """
import sys
from pathlib import Path
from dedupe.scan.checkpoint import State
state = State.load(Path(sys.argv[1]))
number = state.fact("length", 0)
print("ready", flush=True)
while True:
    number += 1
    with state.commit():
        state.save_positions({0: str(number)})
        state.save_facts(length=number)
        state.save_positions({1: str(number)})
"""


def test_a_kill_leaves_the_old_checkpoint_or_the_new_one(state: State, tmp_path: Path) -> None:
    """Scenario: a process commits as fast as it can and is killed, three times over.
    Outcome: what is loaded is one commit, never a mix, and never an older one than before.
    """
    state.close()
    before = 0
    for moment in (0.0, 0.017, 0.08):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
        with State.opened(tmp_path) as loaded:
            length = loaded.fact("length", 0)
            assert {int(each.next or 0) for each in loaded.segments()} == {length}
        assert length >= before
        before = length
    assert before > 0


def test_a_kill_while_it_is_made_leaves_no_half_state(tmp_path: Path) -> None:
    """Scenario: a state that was never renamed to its place lies in the directory.
    Outcome: that is no run yet, and a new one takes its place.
    """
    (tmp_path / "state.new").write_bytes(b"half a file")
    with pytest.raises(NotARunDirectory):
        State.load(tmp_path)
    made = State.create(tmp_path, {"format_version": FORMAT_VERSION})
    assert made.fact("format_version") == FORMAT_VERSION
    made.close()
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_only_the_owner_may_read_it(state: State) -> None:
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o600


def test_a_directory_without_state_is_no_run(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotARunDirectory, match="is not a run directory") as caught:
            State.load(place)
        assert caught.value.path == place


def test_another_format_is_refused_by_its_number(state: State, tmp_path: Path) -> None:
    with state.commit():
        state.save_facts(format_version=FORMAT_VERSION + 1)
    state.close()
    with pytest.raises(NotARunDirectory) as caught:
        State.load(tmp_path)
    assert f"format {FORMAT_VERSION + 1}" in caught.value.message
    assert f"format {FORMAT_VERSION}" in caught.value.message


@pytest.mark.parametrize(
    "kind", ["header", "page", "truncated", "cut to a page", "empty", "value"]
)
def test_a_damaged_state_is_named(state: State, tmp_path: Path, kind: str) -> None:
    path = state.path
    with state.commit():
        state.save_facts(**{f"fact{n}": "x" * 400 for n in range(100)})
    state.close()
    size = path.stat().st_size
    if kind == "header":
        spoil(path, 0, b"not SQLite at all")
    elif kind == "page":
        # Every page but the first: whatever it holds, it is no longer that.
        for page in range(4096, size, 4096):
            spoil(path, page, b"\xff" * 200)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: size // 2 + 100])
    elif kind == "cut to a page":
        path.write_bytes(path.read_bytes()[:4096])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        direct = sqlite3.connect(path)
        direct.execute("UPDATE fact SET value = '{\"torn' WHERE name = 'phase'")
        direct.commit()
        direct.close()
    with pytest.raises(RunDirectoryDamaged) as caught:
        read_all(tmp_path)
    assert caught.value.path == path
    assert "is damaged" in caught.value.message
    assert "--fresh" in (caught.value.hint or "")


def test_another_programs_database_is_no_run(state: State, tmp_path: Path) -> None:
    """Scenario: the directory holds an SQLite file of that name which no run has written.
    Outcome: not a run directory, and no word of --fresh, which would remove it.
    """
    state.close()
    state.path.unlink()
    other = sqlite3.connect(state.path)
    other.execute("CREATE TABLE letters (text)")
    other.close()
    with pytest.raises(NotARunDirectory) as caught:
        read_all(tmp_path)
    assert "--fresh" not in (caught.value.hint or "")
    with pytest.raises(NotARunDirectory):
        make(tmp_path)


def test_a_directory_that_cannot_be_written_is_told(state: State) -> None:
    """Scenario: another process holds the file locked for writing.
    Outcome: an error that names it and says that the run goes on later.
    """
    state._connection.execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(state.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(LocalStorageError) as caught, state.commit():
            pass
    finally:
        other.close()
    assert caught.value.path == state.path
    assert not isinstance(caught.value, RunDirectoryDamaged)
    assert "goes on" in (caught.value.hint or "")
    with state.commit():
        state.save_facts(done=True)
    assert json.dumps(state.fact("done")) == "true"
