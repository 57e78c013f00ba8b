"""What is wrong before any server is asked: exit code 2, one sentence and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.exits import ExitCode

from .conftest import Command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scan"], "say what to scan"),
        (["scan", "people"], "what makes two rows of people the same"),
        (["scan", "--key", "name"], "--key needs a table"),
        (["scan", "people", "--all-unique", "--index", "i"], "exclude each other"),
        (["scan", "people", "--index", "i", "--where", "true"], "--where belongs to --key"),
        (["scan", "--index", "i", "--nulls-not-distinct"], "--nulls-not-distinct belongs to"),
        (["scan", "people", "--all-unique", "-n", "public"], "--schema narrows"),
        (["scan", "--index", "i", "--order", "random"], "'random' is not one of"),
        (["scan", "--index", "i", "--jobs", "two"], "'two' is not a valid integer"),
        (["scan", "--index", "i", "-p", "99999"], "99999 is not in the range"),
        (["scan", "--fresh", "--run", "r"], "say what to scan"),
        (["scan", "--run", "nowhere"], "there is no scan in nowhere"),
        (["scna"], "No such command 'scna'"),
        (["scan", "--indx", "i"], "No such option '--indx'"),
        ([], "Missing command"),
    ],
)
def test_usage_errors(offline: Command, arguments: list[str], said: str) -> None:
    done = offline(*arguments)
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    first, hint = done.stderr.splitlines()[:2]
    assert first.startswith("pgmend: error: ")
    assert said in first
    assert hint.startswith("HINT: ")


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["-d", "postgresql://one/db", "--dsn", "postgresql://two/db"], {}),
        (["-d", "postgresql://one/db", "-h", "two"], {}),
        (["-d", "host=one port=1", "-p", "2"], {}),
        (["-d", "postgresql://anna@one/db", "-U", "bert"], {}),
        (["-d", "postgresql://one/db"], {"DATABASE_URL": "postgresql://one/other"}),
        (["-h", "one"], {"DATABASE_URL": "postgresql+psycopg://two/db"}),
        ([], {"DATABASE_URL": "postgresql://one/db", "PGHOST": "two"}),
        ([], {"DATABASE_URL": "dbname=one", "PGDATABASE": "two"}),
    ],
)
def test_two_targets_are_refused(
    offline: Command, arguments: list[str], env: dict[str, str]
) -> None:
    done = offline("scan", "--index", "i", *arguments, env=env)
    assert done.returncode == ExitCode.USAGE
    assert "two different targets" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        # As in psql, a variable fills in what the command line leaves open.
        (["-h", "127.0.0.1", "-p", "1"], {"PGHOST": "other.invalid", "PGPORT": "2"}),
        (["-d", "postgresql:///db", "-h", "127.0.0.1", "-p", "1"], {}),
        (["-d", "db", "-h", "127.0.0.1"], {"PGPORT": "1"}),
        ([], {"DATABASE_URL": "postgresql+psycopg2://127.0.0.1:1/db"}),
        (["-h", "127.0.0.1"], {"DATABASE_URL": "postgres://127.0.0.1:1/db", "PGHOST": "x"}),
    ],
)
def test_sources_that_agree_are_joined(
    offline: Command, arguments: list[str], env: dict[str, str]
) -> None:
    """Scenario: nothing listens on port 1 of this machine.
    Outcome: the error names just that address, so it is the one that was tried.
    """
    done = offline("scan", "--index", "i", *arguments, env=env)
    assert done.returncode == ExitCode.FAILURE
    assert '"127.0.0.1", port 1 failed' in done.stderr


def test_a_password_is_never_shown(offline: Command) -> None:
    done = offline("scan", "--index", "i", "-d", "postgresql://u:hidden%@one/db")
    assert done.returncode == ExitCode.USAGE
    assert "hidden" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("[scan]\njbos = 2", "unknown key: scan.jbos", "Did you mean scan.jobs?"),
        ("[scna]\njobs = 2", "unknown table: scna", "Did you mean scan?"),
        ("jobs = 2", "unknown table: jobs", "Known: connection, scan, repair, guard, check."),
        ("[scan]\njobs = 'two'", "scan.jobs must be int, not 'two'", ""),
        ("[scan]\njobs = true", "scan.jobs must be int, not True", ""),
        ("[connection]\npassword = 'x'", "unknown key: connection.password", "~/.pgpass"),
        ("[scan", "is not valid TOML", ""),
    ],
)
def test_settings_file_errors(offline: Command, text: str, said: str, hint: str) -> None:
    (offline.where / "pgmend.toml").write_text(text)
    done = offline("scan", "--index", "i")
    assert done.returncode == ExitCode.USAGE
    assert said in done.stderr
    assert hint in done.stderr


def test_settings_file_is_found_by_option_and_variable(offline: Command, tmp_path: Path) -> None:
    """Outcome: --config before PGMEND_CONFIG before ./pgmend.toml."""
    for name in ("by_option", "by_variable", "by_place"):
        place = offline.where / "pgmend.toml" if name == "by_place" else tmp_path / name
        place.write_text(f"[{name}]\n")
    variable = {"PGMEND_CONFIG": str(tmp_path / "by_variable")}
    option = ["--config", str(tmp_path / "by_option")]
    for arguments, env, said in (
        (option, variable, "by_option"),
        ([], variable, "by_variable"),
        ([], {}, "by_place"),
    ):
        done = offline(*arguments, "scan", "--index", "i", env=env)
        assert done.returncode == ExitCode.USAGE
        assert f"unknown table: {said}" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "nowhere.toml", "scan", "--index", "i"],
        ["scan", "--config", "nowhere.toml", "--index", "i"],
        ["scan", "--index", "i", "--config=nowhere.toml"],
        ["status", "r", "--config", "nowhere.toml"],
        ["groups", "r", "--config", "nowhere.toml"],
        ["demo", "--config", "nowhere.toml"],
        ["--config", "nowhere.toml", "status", "r"],
    ],
)
def test_a_named_settings_file_must_exist(offline: Command, arguments: list[str]) -> None:
    done = offline(*arguments)
    assert done.returncode == ExitCode.USAGE
    assert "cannot read the settings file nowhere.toml" in done.stderr


def test_the_settings_file_is_named_once(offline: Command) -> None:
    """Scenario: --config before and behind the command, beside a ./pgmend.toml that is broken.
    Outcome: the same file twice is one; two files are none, and a sentence.
    """
    (offline.where / "pgmend.toml").write_text("[nonsense")
    (offline.where / "one.toml").write_text("[one]\n")
    (offline.where / "two.toml").write_text("[two]\n")
    same = offline("--config", "one.toml", "scan", "--index", "i", "--config", "one.toml")
    assert same.returncode == ExitCode.USAGE
    assert "one.toml has an unknown table: one" in same.stderr
    other = offline("--config", "one.toml", "scan", "--index", "i", "--config", "two.toml")
    assert other.returncode == ExitCode.USAGE
    assert "two settings files: one.toml and two.toml" in other.stderr
    assert "HINT: Say --config once" in other.stderr
    assert offline("scan", "--help").returncode == ExitCode.OK


def test_settings_file_is_read(offline: Command) -> None:
    (offline.where / "pgmend.toml").write_text("[connection]\nhost = '127.0.0.1'\nport = 1\n")
    done = offline("scan", "--index", "i")
    assert done.returncode == ExitCode.FAILURE
    assert '"127.0.0.1", port 1 failed' in done.stderr


def test_h_is_the_host_and_help_is_spelled_out(offline: Command) -> None:
    done = offline("scan", "-h", "127.0.0.1", "-p", "1", "--index", "i")
    assert done.returncode == ExitCode.FAILURE
    assert offline("scan", "--help").stdout.startswith("Usage: pgmend scan")


@pytest.mark.parametrize("command", ["groups", "status"])
def test_not_a_run_directory(offline: Command, command: str) -> None:
    (offline.where / "other").mkdir()
    (offline.where / "other" / "file").write_text("x")
    for name in ("other", "missing", "/etc/passwd", "/etc/passwd/below"):
        done = offline(command, name)
        assert done.returncode == ExitCode.USAGE
        assert f"{name} is not a run directory" in done.stderr
    assert (offline.where / "other" / "file").read_text() == "x"
