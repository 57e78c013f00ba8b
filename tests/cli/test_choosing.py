"""A person at a terminal decides what a recipe leaves open."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.exits import ExitCode
from cli.sidebyside import cells, cut_to, side_by_side

from .conftest import Command, Connection

TEXT = """
format = 1
name = "club"
title = "A club"

[schema]
tables = ["people", "letters"]

[[question]]
id = "strangers"
asks = "Strangers have one name. What becomes of the older one?"
answers = { merge = "It is merged.", rename = "It gets another name." }
default = "rename"

[[choice]]
id = "members"
asks = "Members have one name. Which one keeps it?"
default = ["newest"]

[choice.shows]
"id" = "id"
"name" = "name"
"about" = "about"
"letters" = "letters.person"

[[index]]
name = "people_name"
table = "people"
key = ["lower(name)"]

[[step]]
id = "people"
table = "people"
index = "people_name"

[[step.case]]
same = "a.member AND b.member"
choice = "members"
loser = "rename:name"

[[step.case]]
answered = { strangers = "merge" }
keep = ["newest"]

[[step.case]]
answered = { strangers = "rename" }
keep = ["newest"]
loser = "rename:name"
"""
QUESTION = "Which answer?"
CHOICE = "Which one stays as it is?"
#: what a terminal would do something about, but for the ends of lines and colour
STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    "'\x1b]0;owned\x07\x1b[2J\x9b31m' || E'two\\nlines\\ttab\\r' || '\u202eevil' || '日本語 é'"
)


class Terminal:
    """The command on a terminal, and a person who waits for its questions."""

    def __init__(self, pgmend: Command, arguments: tuple[str, ...], size: tuple[int, int]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            pgmend.argv(*arguments), cwd=pgmend.where,
            env={**pgmend.env, "TERM": "xterm", "NO_COLOR": "1", "PYTHONUTF8": "1"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""
        self._bytes = b""
        self._read = 0

    def until(self, text: str) -> str:
        """Wait until the terminal shows a text; return what was new up to there."""
        end = time.monotonic() + 120
        while text not in self.seen[self._read :]:
            assert time.monotonic() < end, self.seen
            assert self._more(), self.seen
        start, self._read = self._read, self.seen.index(text, self._read) + len(text)
        return self.seen[start : self._read]

    def types(self, text: str) -> None:
        """Type a line."""
        os.write(self._ours, text.encode("utf-8", "surrogateescape") + b"\n")

    def answers(self, ask: str, text: str) -> str:
        """Wait for a question and answer it; return what was shown before."""
        shown = self.until(f"{ask} ")
        self.until("stop: ")
        self.types(text)
        return shown

    def chooses(self, keep: dict[str, str], *, default: str | None = None) -> str:
        """Wait for a group and choose the row that is to stay, or type ``default``.

        ``keep`` has it by the default's id. Returns what was shown.
        """
        shown = self.until(f"{CHOICE} ")
        self.until("stop: ")
        found = re.search(r"^  id +(.*)$", shown, re.MULTILINE)
        assert found, shown
        ids = found[1].split()
        wanted = keep.get(ids[0])
        self.types(str(ids.index(wanted) + 1) if wanted is not None else default or "")
        return shown

    def ends(self) -> int:
        """Read to the end; return the exit code."""
        while self._more():
            pass
        return self.process.wait(60)

    def _more(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 60)
        try:
            some = os.read(self._ours, 65536) if ready else b""
        except OSError:
            # How Linux tells that the other side is closed.
            some = b""
        self._bytes += some
        self.seen = self._bytes.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(some)

    def close(self) -> None:
        """End the command, whatever it is doing."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        os.close(self._ours)


Run = Callable[..., Terminal]


@pytest.fixture
def club(pgmend: Command, db: Connection) -> Path:
    """Give a recipe, three groups of members and one of strangers; return the run's directory."""
    (pgmend.where / "club.toml").write_text(TEXT)
    db.execute(
        """
        CREATE TABLE people (id int8 PRIMARY KEY, name text, about text, member bool);
        CREATE TABLE letters (id int8 PRIMARY KEY, person int8);
        INSERT INTO people VALUES (1, 'Anna', 'old', true), (2, 'anna', NULL, true),
            (3, 'Bert', 'one', true), (4, 'bert', '', true), (5, 'BERT', 'NULL', true),
            (6, 'Carl', NULL, true), (7, 'carl', NULL, true),
            (8, 'Dora', NULL, false), (9, 'dora', NULL, false);
        INSERT INTO letters SELECT n, 1 FROM generate_series(1, 12) n;
        CREATE INDEX people_name ON people (lower(name));
        UPDATE pg_index SET indisunique = true WHERE indexrelid = 'people_name'::regclass
        """
    )
    return pgmend.where / "fix"


@pytest.fixture
def run(pgmend: Command) -> Iterator[Run]:
    """Give a function that starts the command on a terminal of so many lines and columns."""
    started = []

    def start(*more: str, size: tuple[int, int] = (40, 100)) -> Terminal:
        terminal = Terminal(
            pgmend, ("recipe", "run", "club.toml", "--run", "fix", "--live", "-q", *more), size
        )
        started.append(terminal)
        return terminal

    yield start
    for terminal in started:
        terminal.close()


EXECUTE = ("--execute", "--without-snapshot", "a test")


def names(db: Connection) -> list[int]:
    """List the people whose name is as it was."""
    found = db.execute("SELECT id FROM people WHERE name ~ '^[A-Za-z]+$' ORDER BY 1").fetchall()
    return [row[0] for row in found]


def test_a_person_chooses_and_the_recipe_is_carried_out(
    run: Run, club: Path, db: Connection
) -> None:
    """Scenario: a question, then groups: another row than the default, the default, a wrong
    answer and then a right one.

    Outcome: just these rows keep their names, and the strangers are merged.
    """
    terminal = run(*EXECUTE)
    asked = terminal.answers(QUESTION, "merge")
    assert "strangers, for 1 group\nStrangers have one name." in asked
    assert "  2  rename (default)\n     It gets another name.\n" in asked
    shown = [terminal.chooses({"2": "1"}), terminal.chooses({"2": "1"})]
    first = "members, group 1 of 3\nMembers have one name. Which one keeps it?\n\n"
    assert first in shown[0]
    shown.append(terminal.answers(CHOICE, "4"))
    assert "'4' is no answer." in terminal.answers(CHOICE, "two\x1b[2J")
    assert r"'two\x1b[2J' is no answer." in terminal.answers(CHOICE, "0")
    terminal.answers(CHOICE, "2" if " anna " in shown[2] else "")
    assert terminal.ends() == ExitCode.OK, terminal.seen
    anna, bert = (
        next(one for one in shown if re.search(rf"^  name +{name} ", one, re.MULTILINE))
        for name in ("anna", "BERT")
    )
    lines = [line.split() for line in anna.splitlines()]
    at = lines.index(["1", "(default)", "2"])
    assert lines[at + 1 : at + 5] == [
        ["id", "2", "1"], ["name", "anna", "Anna"], ["about", "NULL", "old"],
        ["letters", "0", "12"],
    ]
    assert re.search(r'about +"NULL" +"" +one\n', bert)
    assert "4 answers kept in fix/decisions.toml, 0 skipped." in terminal.seen
    assert names(db) == [1, 5, 7, 9]
    assert db.execute("SELECT count(*) FROM people").fetchone() == (8,)
    kept = tomllib.loads((club / "decisions.toml").read_text())
    assert kept["strangers"] == "merge"
    assert sorted(kept["members"]) == ["1", "5", "7"]
    again = run(*EXECUTE)
    assert again.ends() == ExitCode.OK, again.seen
    assert "stop: " not in again.seen
    assert names(db) == [1, 5, 7, 9]


@pytest.mark.usefixtures("club")
def test_what_would_go_for_good_is_shown_before_it_is_asked(
    run: Run, pgmend: Command, db: Connection
) -> None:
    """Scenario: an answer lets a row go with all that hangs on it.
    Outcome: the question shows which and how much, and so does the plan; another answer does not.
    """
    text = TEXT.replace("merge", "delete").replace('default = "rename"', 'default = "delete"')
    case = 'answered = { strangers = "delete" }'
    text = text.replace(case, f'{case}\naccept_loss = ["*"]')
    (pgmend.where / "club.toml").write_text(text)
    db.execute(
        "UPDATE letters SET person = 8 WHERE id <= 5;"
        " ALTER TABLE letters ADD FOREIGN KEY (person) REFERENCES people ON DELETE CASCADE"
    )
    terminal = run()
    asked = terminal.answers(QUESTION, "")
    assert "people, by strangers=delete: 1 of public.people, and with it\n" in asked
    assert "\n    5  public.letters\n" in asked
    assert "dora (id 8; id 9 stays): 5 rows with it, 0 emptied\n" in asked
    for _ in range(3):
        terminal.answers(CHOICE, "")
    assert terminal.ends() == ExitCode.OK, terminal.seen
    shown = terminal.seen[terminal.seen.index("\nGoes for good\n") :]
    assert "dora (id 8; id 9 stays): 5 rows with it" in shown
    arguments = ("recipe", "run", "club.toml", "--live", "--json", "--defaults", "--run")
    facts = json.loads(pgmend(*arguments, "by").stdout)
    assert [(one["rows"], one["gone"]) for one in facts["losses"]] == [(1, {"public.letters": 5})]
    done = pgmend(*arguments, "by", "--decide", "strangers=rename")
    assert json.loads(done.stdout)["losses"] == []


@pytest.mark.usefixtures("club")
def test_what_another_answer_lets_go_is_shown_before_it_counts(
    run: Run, pgmend: Command, db: Connection
) -> None:
    """Scenario: the default lets nothing go; another answer does, and is taken back, then not.
    Outcome: what goes is shown and asked about before the answer is kept.
    """
    text = TEXT.replace("merge", "delete")
    case = 'answered = { strangers = "delete" }'
    (pgmend.where / "club.toml").write_text(text.replace(case, f'{case}\naccept_loss = ["*"]'))
    db.execute(
        "UPDATE letters SET person = 8 WHERE id <= 5;"
        " ALTER TABLE letters ADD FOREIGN KEY (person) REFERENCES people ON DELETE CASCADE"
    )
    terminal = run()
    assert "letters" not in terminal.answers(QUESTION, "delete")
    shown = terminal.until("Shall all that go for good? ")
    assert "\n    5  public.letters\n" in shown
    terminal.until("stop: ")
    terminal.types("")
    kept = pgmend.where / "fix" / "decisions.toml"
    terminal.answers(QUESTION, "delete")
    assert not kept.exists()
    terminal.answers("Shall all that go for good?", "y")
    terminal.answers(CHOICE, "q")
    assert terminal.ends() == ExitCode.STOPPED
    assert tomllib.loads(kept.read_text())["strangers"] == "delete"


@pytest.mark.usefixtures("club")
def test_a_kill_loses_no_answer(run: Run, db: Connection) -> None:
    """Scenario: SIGKILL while the second group waits for its answer, then the same command."""
    terminal = run()
    terminal.answers(QUESTION, "2")
    second = {"2": "1", "5": "4", "7": "6"}
    terminal.chooses(second)
    terminal.until(f"{CHOICE} ")
    terminal.process.send_signal(signal.SIGKILL)
    assert terminal.ends() == -signal.SIGKILL
    again = run()
    assert "members, group 1 of 2" in again.chooses(second)
    assert "members, group 2 of 2" in again.chooses(second)
    assert again.ends() == ExitCode.OK, again.seen
    assert QUESTION not in again.seen
    assert "Nothing was written." in again.seen
    assert len(names(db)) == 9
    # What is decided stands, also for a run that asks nobody; the command line wins over it.
    done = run(*EXECUTE, "--decide", "members=2")
    assert done.ends() == ExitCode.OK, done.seen
    assert names(db) == [2, 4, 6, 9]


@pytest.mark.usefixtures("club")
@pytest.mark.parametrize("leaving", ["q", "\x04", "\x03"])
def test_one_can_stop(run: Run, club: Path, db: Connection, leaving: str) -> None:
    """Scenario: q, the end of input or Ctrl-C after one answer. Outcome: the answer is kept."""
    terminal = run(*EXECUTE)
    terminal.answers(QUESTION, "1")
    terminal.until("stop: ")
    # A terminal of its own session sends no signal for Ctrl-C.
    if leaving == "\x03":
        terminal.process.send_signal(signal.SIGINT)
    else:
        os.write(terminal._ours, leaving.encode() + (b"\n" if leaving == "q" else b""))
    assert terminal.ends() == ExitCode.STOPPED, terminal.seen
    assert "stopped; what was answered is kept in fix/decisions.toml" in terminal.seen
    assert "HINT: Go on with: pgmend recipe run club.toml --run fix" in terminal.seen
    assert len(names(db)) == 9
    assert '"strangers" = "merge"' in (club / "decisions.toml").read_text()


@pytest.mark.usefixtures("club")
def test_what_was_skipped_is_refused(run: Run, pgmend: Command, db: Connection) -> None:
    """Scenario: a group and a question are skipped. Outcome: refused, until the defaults are
    taken for what is left.
    """
    terminal = run(*EXECUTE)
    terminal.answers(QUESTION, "s")
    for _ in range(3):
        terminal.chooses({"2": "1", "7": "6"}, default="s")
    assert terminal.ends() == ExitCode.REFUSED, terminal.seen
    assert "2 answers kept in fix/decisions.toml, 2 skipped." in terminal.seen
    assert "members is not decided for 1 group" in terminal.seen
    assert len(names(db)) == 9
    told = pgmend("recipe", "run", "club.toml", "--run", "fix", "--live")
    assert told.returncode == ExitCode.OK, told.stderr
    assert "members is not decided for 1 group" in told.stdout
    done = run(*EXECUTE, "--defaults")
    assert done.ends() == ExitCode.OK, done.seen
    assert "stop: " not in done.seen
    assert names(db) == [1, 5, 6, 9]


@pytest.mark.usefixtures("club")
@pytest.mark.parametrize("size", [(40, 100), (40, 24), (0, 0)])
def test_values_are_harmless(run: Run, db: Connection, size: tuple[int, int]) -> None:
    """Scenario: values that would steer the terminal, long ones, wide ones; a narrow terminal.

    Outcome: nothing that steers arrives, and no line is wider than the terminal.
    """
    db.execute(f"UPDATE people SET about = {HOSTILE} WHERE id = 1")
    db.execute("UPDATE people SET about = repeat('長い', 200) WHERE id = 2")
    db.execute("UPDATE people SET about = 'e' || repeat(U&'\\0301', 400) WHERE id = 3")
    terminal = run("--decide", "strangers=merge", size=size)
    seen = [terminal.answers(CHOICE, "1") for _ in range(3)]
    assert terminal.ends() == ExitCode.OK, terminal.seen
    assert STEERING.search(terminal.seen) is None, terminal.seen
    width = size[1] or 80
    for shown in seen:
        for line in shown.partition("members, ")[2].splitlines()[1:-1]:
            assert cells(line) < width, line
    whole = "".join(seen)
    assert r"\x1b]" in whole
    assert re.search(r"[長い]\.\.\.", whole)
    if width == 24:
        assert "\n1 (default)\n  id       2\n" in whole


@pytest.mark.usefixtures("club")
def test_without_a_terminal_nobody_is_asked(pgmend: Command, run: Run, db: Connection) -> None:
    """Scenario: no terminal at all, --json on one, and a refusal that names the ways out."""
    command = ("recipe", "run", "club.toml", "--run", "fix", "--live", "-q")
    done = pgmend(*command)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "members is not decided for 3 groups: " in done.stdout
    assert "stop: " not in done.stderr
    refused = pgmend(*command, *EXECUTE)
    assert refused.returncode == ExitCode.REFUSED
    for way in ("--decide", "--decisions", "--defaults"):
        assert way in refused.stderr.splitlines()[-1]
    terminal = run("--json")
    assert terminal.ends() == ExitCode.OK, terminal.seen
    assert '"undecided": [{"id": "strangers", "groups": 1}, {"id": "members", "groups": 3}]' in (
        terminal.seen
    )
    assert "stop: " not in terminal.seen
    assert len(names(db)) == 9


def test_a_file_that_was_kept_and_broken_is_told(run: Run, club: Path) -> None:
    club.mkdir()
    (club / "decisions.toml").write_text("members = [")
    terminal = run()
    assert terminal.ends() == ExitCode.USAGE
    assert "fix/decisions.toml is not valid TOML" in terminal.seen


def test_columns_share_the_room() -> None:
    """Outcome: short columns stay whole, long ones are cut alike, and nothing is wider."""
    rows = [["1", "x" * 200], ["2", "日" * 100], ["3", None]]
    lines = list(side_by_side(["id", "text"], ["1 (default)", "2", "3"], rows, 70))
    assert len(lines) == 3
    assert max(map(cells, lines)) <= 70
    assert lines[2].count("...") == 2
    assert lines[2].endswith("NULL")
    narrow = list(side_by_side(["id", "text"], ["1 (default)", "2", "3"], rows, 30))
    assert len(narrow) == 9
    assert max(map(cells, narrow)) <= 30
    assert (cells("日a"), cut_to("日日日", 5), cut_to("abc", 3), cut_to("abc", 2)) == (
        3, "日...", "abc", "..",
    )
