"""Signals and closed pipes: a stop is safe, quick and says how to go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

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


def test_a_full_disk_behind_stdout_is_a_failure(offline: Command) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            offline.argv("--help"), cwd=offline.where, env=dict(offline.env), stdout=full,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )
    assert done.returncode == ExitCode.FAILURE
    assert "No space left on device" in done.stderr
