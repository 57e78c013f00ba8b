"""Signals and closed pipes: a stop is safe, quick and says how to go on."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cli
from cli.exits import ExitCode

from .conftest import Command

#: a scan that sleeps most of its time and so has a middle
GENTLE = ["scan", "crowd", "--key", "name", "--nice", "200", "--jobs", "1", "--memory", "8MiB"]


def wait_for_work(process: subprocess.Popen[str], run: Path, command: Command) -> None:
    """Wait until the scan has read something and is far from its end."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "state.sqlite").exists():
            told = command("status", str(run), "--json")
            if told.returncode == 0 and 0 < json.loads(told.stdout)["runs"][0]["fraction"] < 0.9:
                return
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"the scan did not get going: {process.communicate()}")


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_within_a_second(pgmend: Command, number: signal.Signals) -> None:
    """Scenario: a scan gets SIGINT or SIGTERM in its middle.
    Outcome: 3 within a second, the command that goes on is printed, and it works.
    """
    with pgmend.start(*GENTLE, "--run", "r") as process:
        wait_for_work(process, pgmend.where / "r", pgmend)
        process.send_signal(number)
        asked = time.monotonic()
        out, err = process.communicate(timeout=30)
        took = time.monotonic() - asked
    assert process.returncode == ExitCode.STOPPED, err
    assert took < 1.5, f"{took:.2f} s; a second, and the end of the interpreter"
    assert out == ""
    assert "pgmend: stopped at " in err
    assert "HINT: Go on with: pgmend scan crowd --key name" in err
    assert "--run r" in err
    status = json.loads(pgmend("status", "r", "--json").stdout)
    assert status["status"] == "interrupted"
    unfinished = pgmend("groups", "r")
    assert unfinished.returncode == ExitCode.USAGE
    assert "not finished" in unfinished.stderr

    rest = pgmend("scan", "crowd", "--key", "name", "--run", "r", "--json")
    assert rest.returncode == ExitCode.FOUND, rest.stderr
    (key,) = json.loads(rest.stdout)["keys"]
    assert (key["rows"], key["groups"]) == (100_000, 10)


RECIPE = """
format = 1
name = "crowd"
title = "A crowd"
index = [{ name = "crowd_name", table = "crowd", key = ["name"] }]
step = [{ id = "names", table = "crowd", index = "crowd_name", case = [{ keep = ["oldest"] }] }]

[schema]
tables = ["crowd"]
"""


@pytest.mark.usefixtures("crowd")
def test_a_recipe_that_was_stopped_says_so_in_json(pgmend: Command) -> None:
    """Scenario: SIGINT while a table of the recipe is scanned.
    Outcome: 3, one JSON object that says it, the command that goes on, and the part it was at.
    """
    (pgmend.where / "crowd.toml").write_text(RECIPE)
    arguments = ("recipe", "run", "crowd.toml", "--run", "r", "--live", "--json")
    with pgmend.start(*arguments, "--nice", "200", "-j", "1", "--memory", "8MiB") as process:
        wait_for_work(process, pgmend.where / "r" / "scans" / "crowd", pgmend)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.STOPPED, err
    assert json.loads(out) == {"format_version": 1, "run": "r", "status": "interrupted"}
    assert "HINT: Go on with: pgmend recipe run crowd.toml" in err
    assert " crowd, crowd: scanning" in err
    done = pgmend(*arguments)
    assert done.returncode == ExitCode.OK, done.stderr
    assert json.loads(done.stdout)["status"] == "shown"


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_second_signal_lets_go_and_tells_how_to_go_on(pgmend: Command, more: list[str]) -> None:
    """Scenario: a scan with a checkpoint gets two signals at once.
    Outcome: 3, what it cost, the command that goes on, and that command works.
    """
    with pgmend.start(*GENTLE, "--run", "r", *more) as process:
        wait_for_work(process, pgmend.where / "r", pgmend)
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.STOPPED, err
    assert re.search(r"let go at \d+%; what was read since the last checkpoint is lost\n", err)
    assert "HINT: Go on with: pgmend scan crowd --key name" in err
    assert "--run r" in err
    assert "Traceback" not in err
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["interrupted"] * len(more)
    rest = pgmend("scan", "crowd", "--key", "name", "--run", "r", "--json")
    assert rest.returncode == ExitCode.FOUND, rest.stderr
    (key,) = json.loads(rest.stdout)["keys"]
    assert (key["rows"], key["groups"]) == (100_000, 10)


@pytest.mark.usefixtures("crowd")
def test_a_stop_before_a_fresh_look_has_begun_goes_on_with_nothing_old(
    pgmend: Command, database: str
) -> None:
    """Scenario: a finished run; --fresh waits for a lock and gets SIGINT.
    Outcome: 3 at once, neither the old result nor the word to go on with it.
    """
    import psycopg

    key = ["scan", "crowd", "--key", "name", "--run", "r"]
    assert pgmend(*key, "-q").returncode == ExitCode.FOUND
    with psycopg.connect(database) as locking:
        locking.execute("LOCK TABLE crowd IN ACCESS EXCLUSIVE MODE")
        with pgmend.start(*key, "--fresh", "--json") as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "run directory: r\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            asked = time.monotonic()
            out, err = process.communicate(timeout=30)
            assert time.monotonic() - asked < 1.5
    assert process.returncode == ExitCode.STOPPED
    assert out == ""
    assert err == "pgmend: stopped before there was anything to go on with; run it again\n"


@pytest.mark.usefixtures("crowd")
def test_the_newest_unfinished_run_goes_on(pgmend: Command) -> None:
    """Scenario: a scan without --run is stopped, and the same command is given again.
    Outcome: the same directory, though a finished run of the same key lies beside it.
    """
    key = ["scan", "crowd", "--key", "name"]
    done = json.loads(pgmend(*key, "--json").stdout)["run"]
    with pgmend.start(*GENTLE) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        run = pgmend.where / first.removeprefix("run directory: ").strip()
        assert run != pgmend.where / done
        wait_for_work(process, run, pgmend)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.STOPPED, err
    again = pgmend(*key, "--json")
    assert again.stderr.startswith(f"run directory: {run.relative_to(pgmend.where)} (goes on)\n")
    assert json.loads(again.stdout)["run"] == str(run.relative_to(pgmend.where))


@pytest.mark.usefixtures("crowd")
def test_two_commands_on_one_run(pgmend: Command) -> None:
    with pgmend.start(*GENTLE, "--run", "r") as process:
        wait_for_work(process, pgmend.where / "r", pgmend)
        second = pgmend("scan", "crowd", "--key", "name", "--run", "r")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert second.returncode == ExitCode.REFUSED
    assert process.returncode == ExitCode.STOPPED


def test_a_signal_before_the_scan(offline: Command) -> None:
    """Scenario: SIGINT while the command still waits for a server that never answers.
    Outcome: 3 at once, and no traceback.
    """
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = str(silent.getsockname()[1])
        with offline.start("scan", "--index", "i", "-h", "127.0.0.1", "-p", port) as process:
            answered, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
            answered.close()
    assert process.returncode == ExitCode.STOPPED, err
    assert out == ""
    assert err == "pgmend: stopped before there was anything to go on with; run it again\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3])
def test_a_signal_while_the_command_starts(
    offline: Command, number: signal.Signals, delay: float
) -> None:
    """Scenario: the signal comes while modules are imported, settings read, or just after.
    Outcome: 3 and one line; never the signal's own end, never a trace.
    """
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = str(silent.getsockname()[1])
        with offline.start("scan", "--index", "i", "-h", "127.0.0.1", "-p", port) as process:
            # From the first module on that is not the interpreter's own, ours is running.
            maps = Path(f"/proc/{process.pid}/maps")
            while process.poll() is None and "site-packages" not in maps.read_text():
                time.sleep(0.001)
            time.sleep(delay)
            process.send_signal(number)
            out, err = process.communicate(timeout=10)
    assert process.returncode == ExitCode.STOPPED, err
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("pgmend: stopped")


INTERRUPTED = """
import cli.root
from cli.main import main

def run(arguments):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return 3

cli.root.run = run
main()
"""


def test_a_signal_while_a_class_is_made(tmp_path: Path) -> None:
    """Scenario: SIGINT while text is executed, as by dataclass() in a module imported late.
    Outcome: 3 under ``python -m``, too, which would end by the signal that was caught.
    """
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    path = os.pathsep.join((str(tmp_path), str(Path(cli.__file__).parents[1])))
    argv = [sys.executable, "-m", "interrupted"]
    ended = subprocess.run(argv, env=os.environ | {"PYTHONPATH": path}, check=False, timeout=30)
    assert ended.returncode == ExitCode.STOPPED


def test_settings_that_are_never_read_to_their_end(offline: Command) -> None:
    """Scenario: SIGTERM while the command waits for a settings file that is a pipe."""
    os.mkfifo(offline.where / "pgmend.toml")
    with offline.start("status", "r") as process, (offline.where / "pgmend.toml").open("w"):
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == ExitCode.STOPPED
    assert (out, err) == ("", "pgmend: stopped\n")


@pytest.mark.usefixtures("crowd")
def test_a_closed_pipe_ends_quietly(pgmend: Command) -> None:
    """Scenario: ``pgmend groups … | head -n 1`` with more output than a pipe holds.
    Outcome: one line, nothing on stderr, exit code 0.
    """
    everything = ["--key", "left(name, 5)", "--run", "r", "-q"]
    assert pgmend("scan", "crowd", *everything).returncode == ExitCode.FOUND
    for form in ("jsonl", "csv", "table"):
        with pgmend.start("groups", "r", "--format", form) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == ExitCode.OK
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        scan = subprocess.run(
            pgmend.argv("scan", "--run", "r", "--json"),
            cwd=pgmend.where, env=dict(pgmend.env), stdin=subprocess.DEVNULL,
            stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )
    assert scan.stderr == ""
    assert scan.returncode == ExitCode.FOUND


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_whoever_reads_no_result_changes_no_exit_code(
    pgmend: Command, unbuffered: str, form: list[str]
) -> None:
    """Scenario: ``pgmend check compose … | true``, with Python's buffer and without.
    Outcome: nothing on stderr, and the code of a blocker.
    """
    (pgmend.where / "compose.yml").write_text("services:\n" + "".join(
        f"  db{n}:\n    image: postgres:latest\n" for n in range(300)
    ))
    assert pgmend("check", "compose", "compose.yml", *form).returncode == ExitCode.REFUSED
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        check = subprocess.run(
            pgmend.argv("check", "compose", "compose.yml", *form),
            cwd=pgmend.where, env={**pgmend.env, "PYTHONUNBUFFERED": unbuffered},
            stdin=subprocess.DEVNULL,
            stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )
    assert check.stderr == ""
    assert check.returncode == ExitCode.REFUSED


def test_a_full_disk_behind_stdout_is_a_failure(offline: Command) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            offline.argv("--help"), cwd=offline.where, env=dict(offline.env), stdout=full,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )
    assert done.returncode == ExitCode.FAILURE
    assert "No space left on device" in done.stderr


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(pgmend: Command, closed: str) -> None:
    """Scenario: the caller has closed stdin, stdout or stderr, or all three.
    Outcome: the code of the result, and the run holds nothing but the run.
    """
    command = shlex.join(pgmend.argv("scan", "people", "--key", "lower(name)", "--run", "r"))
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], cwd=pgmend.where, env=dict(pgmend.env),
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == ExitCode.FOUND, done.stderr
    assert "Traceback" not in done.stderr
    assert pgmend("scan", "--run", "r").returncode == ExitCode.FOUND
    assert len(pgmend("groups", "r", "--format", "jsonl").stdout.splitlines()) == 5
