"""What a person sees: a bar where there is room for one, colour where it is wanted."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping

import pytest

from cli.exits import ExitCode
from cli.progress import Reporter
from dedupe import RepairProgress

from .conftest import Command


def on_a_terminal(
    pgmend: Command, *arguments: str, size: tuple[int, int], env: Mapping[str, str]
) -> tuple[int, str]:
    """Run the command on a terminal of so many lines and columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with subprocess.Popen(
        pgmend.argv(*arguments), cwd=pgmend.where, env={**pgmend.env, "TERM": "xterm", **env},
        stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while some := os.read(ours, 65536):
                seen += some
        except OSError:
            # How Linux tells that the other side is closed.
            pass
        os.close(ours)
    return process.returncode, seen.decode()


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("size", [(24, 100), (0, 0)])
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_scan_on_a_terminal(
    pgmend: Command, size: tuple[int, int], env: Mapping[str, str]
) -> None:
    """Outcome: a bar, but dated lines on a terminal that does not tell its size."""
    code, seen = on_a_terminal(
        pgmend, "scan", "people", "--key", "lower(name)", size=size, env=env
    )
    assert code == ExitCode.FOUND
    assert ("100%|" in seen) == (size != (0, 0))
    assert ("Z lower(name): finished, 100%" in seen) == (size == (0, 0))
    assert ("\x1b[31m" in seen) == (not env)
    assert "2 groups of duplicates" in seen


@pytest.mark.usefixtures("people")
def test_a_quiet_scan_on_a_terminal(pgmend: Command) -> None:
    code, seen = on_a_terminal(
        pgmend, "scan", "people", "--key", "id", "-q", size=(24, 100), env={}
    )
    assert code == ExitCode.OK
    assert seen.startswith("table ")
    assert "%" not in seen


@pytest.mark.usefixtures("people")
def test_a_repair_on_a_terminal(pgmend: Command) -> None:
    """Outcome: the line that says where, a bar, and the result with the way back."""
    assert pgmend("scan", "people", "--key", "lower(name)", "--run", "r", "-q").returncode == 1
    assert pgmend("plan", "r", "--keep", "newest").returncode == ExitCode.OK
    code, seen = on_a_terminal(
        pgmend, "repair", "r", "--execute", "--without-snapshot", "a test", size=(24, 100), env={}
    )
    assert code == ExitCode.OK, seen
    assert ", primary, run " in seen.splitlines()[0]
    assert "people: repairing" in seen
    assert "%|" in seen
    assert "of 2 groups" in seen
    assert "pgmend undo r --execute" in seen


def test_parts_that_take_turns_do_not_flood_the_log(
    capsys: pytest.CaptureFixture[str]
) -> None:
    """Scenario: two tables are scanned side by side, a hundred events each."""
    event = RepairProgress(
        phase="scanning", fraction=0.5, groups_done=0, groups_total=0, seconds=1.0,
        eta_seconds=None,
    )
    with Reporter("recipe", quiet=False, verbose=False) as reporter:
        for _ in range(100):
            for part in ("people", "orders"):
                reporter.show(event, part)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0].rpartition("Z ")[2] for line in lines] == [
        "recipe, people", "recipe, orders",
    ]
