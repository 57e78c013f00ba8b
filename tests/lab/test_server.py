"""The lab's server: who may start it, how it ends, and what it leaves behind: nothing."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe.errors import LabError
from dedupe.lab import Server, binaries, home, server

ROOT = Path(__file__).parents[2]
NAMED = bool(os.environ.get("PGMEND_LAB_DSN"))
pytestmark = pytest.mark.skipif(NAMED, reason="PGMEND_LAB_DSN names the only server")

#: an owner that tells where its server is and then does nothing
#: A shell starts what runs in its background deaf to SIGINT, and children inherit that.
HEARS_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
# Not one long read: a signal just before that would be heard by nobody.
OWNER = """
import select, sys, time
from dedupe.lab import server
with server() as started:
    print(started.host, started.pid, flush=True)
    while not select.select([sys.stdin], [], [], 0.1)[0]: pass
"""


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ours() -> set[Path]:
    """Directories that this very process has claimed."""
    found = set()
    for claim in Path(tempfile.gettempdir()).glob(f"{home.PREFIX}*/claim"):
        try:
            if claim.read_text() == f"{os.getpid()}\n":
                found.add(claim.parent)
        except OSError:
            continue
    return found


def owner(
    program: str = OWNER, python: str = sys.executable, **options: object
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-W", "error", "-c", f"{HEARS_SIGINT}{program}"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def told(process: subprocess.Popen[str]) -> tuple[Path, int]:
    assert process.stdout
    where, pid = process.stdout.readline().split()
    return Path(where), int(pid)


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)


def test_a_server_of_ones_own(own_server: Server) -> None:
    """It answers on a socket in its own directory, to the superuser, with its settings."""
    assert own_server.data is not None
    assert own_server.data.parent == Path(own_server.host)
    assert Path(own_server.host).stat().st_mode & 0o077 == 0
    assert own_server.running
    for target in (own_server.dsn(), own_server.url()):
        with psycopg.connect(target) as connection:
            row = connection.execute(
                "SELECT current_user::text, current_setting('fsync'),"
                " current_setting('listen_addresses'), current_setting('server_encoding'),"
                " current_setting('data_directory'), current_setting('TimeZone')"
            ).fetchone()
            assert row == ("postgres", "off", "", "UTF8", str(own_server.data), "UTC")
            assert connection.info.server_version == own_server.version


def test_settings_are_given_on() -> None:
    with server(settings={"fsync": "on", "work_mem": "5MB"}) as started:  # noqa: SIM117
        with psycopg.connect(started.dsn()) as connection:
            row = connection.execute(
                "SELECT current_setting('fsync'), current_setting('work_mem')"
            ).fetchone()
    assert row == ("on", "5MB")


def test_a_wrong_setting_is_told_in_the_servers_words() -> None:
    """Outcome: the error quotes the server's log, and the directory is gone."""
    before = ours()
    wrong = {"no_such_setting": "1"}
    with pytest.raises(LabError, match="no_such_setting"), server(settings=wrong):
        pytest.fail("it started")
    assert ours() == before


def test_databases_come_and_go(lab: Server) -> None:
    """Hostile names, copies, and a drop that ends the sessions."""
    name, copy = f'odd "name\' %s {os.getpid()}', f"copy of {os.getpid()}"
    with psycopg.connect(lab.create_database(name)) as connection:
        connection.execute("CREATE TABLE t (v int)")
    with psycopg.connect(lab.create_database(copy, template=name), autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        lab.drop_database(copy)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    lab.drop_database(name)
    lab.drop_database(name)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(lab.dsn(name))
    with pytest.raises(LabError, match="no such template"):
        lab.create_database(name, template="no such template")


@pytest.mark.parametrize("mode", ["fast", "immediate", "killed"])
def test_it_comes_back_after_a_stop(own_server: Server, mode: str) -> None:
    """Scenario: rows are committed, the server stops, crashes or is killed, and starts again.
    Outcome: the same address, and the rows are there.
    """
    with psycopg.connect(own_server.dsn()) as connection:
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS v")
    pid = own_server.pid
    assert pid is not None
    if mode == "killed":
        os.kill(pid, signal.SIGKILL)
        until(lambda: not own_server.running)
    else:
        own_server.stop(mode)  # type: ignore[arg-type]
    assert not own_server.running
    assert own_server.pid is None
    own_server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_server.dsn())
    own_server.start()
    own_server.start()
    assert own_server.pid not in {None, pid}
    with psycopg.connect(own_server.dsn()) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1000,)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_owner(number: signal.Signals) -> None:
    """Outcome: no process and no directory is left, whatever the owner died of."""
    process = owner(stderr=subprocess.DEVNULL)
    where, pid = told(process)
    assert alive(pid)
    process.send_signal(number)
    until(lambda: not alive(pid) and not where.exists())
    finish(process)


def test_it_ends_while_a_fork_of_its_owner_lives() -> None:
    """Scenario: a process that the owner forked holds the owner's files open.
    Outcome: the server ends with the owner all the same.
    """
    fork = "    import os; os.fork() or time.sleep(30)\n"
    forked = OWNER.replace("    while", f"{fork}    while")
    process = owner(program=forked, start_new_session=True)
    where, pid = told(process)
    time.sleep(0.2)
    process.kill()
    until(lambda: not alive(pid) and not where.exists())
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)


def test_the_terminals_signals_do_not_reach_it(own_server: Server) -> None:
    assert own_server.pid is not None
    assert os.getsid(own_server.pid) != os.getsid(0)


def test_leftovers_are_swept_and_living_servers_are_not(own_server: Server) -> None:
    """Scenario: owner and keeper are killed at once, so the server and its files stay.
    Outcome: the next start ends both; directories in use or of unknown origin stay.
    """
    process = owner()
    where, pid = told(process)
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(keeper, signal.SIGKILL)
    process.kill()
    finish(process)
    assert alive(pid)
    unclaimed = Path(tempfile.mkdtemp(prefix=home.PREFIX))
    try:
        home.sweep(binaries.account())
        assert not alive(pid)
        assert not where.exists()
        assert unclaimed.exists()
        old = time.time() - 2 * home.UNCLAIMED
        os.utime(unclaimed, (old, old))
        home.sweep(binaries.account())
        assert not unclaimed.exists()
    finally:
        shutil.rmtree(unclaimed, ignore_errors=True)
    with psycopg.connect(own_server.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_it_outlives_its_keeper_and_still_goes(own_server: Server) -> None:
    """Scenario: the keeper alone is killed. Outcome: an error says so, the end leaves nothing."""
    with server() as started:
        where, pid = Path(started.host), started.pid
        assert pid is not None
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(keeper, signal.SIGKILL)
        until(lambda: not alive(keeper))
        with pytest.raises(LabError, match="keeps the server"):
            started.stop()
    assert not alive(pid)
    assert not where.exists()
    assert own_server.running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
def test_root_starts_it_under_an_account_that_exists(own_server: Server) -> None:
    """Outcome: no account is added and no parent directory is opened."""
    accounts = [entry.pw_name for entry in pwd.getpwall()]
    parents = {path: path.stat().st_mode for path in own_server.bindir.parents}  # type: ignore[union-attr]
    with server() as started:
        assert started.pid is not None
        runs_as = Path(f"/proc/{started.pid}").stat().st_uid
        assert pwd.getpwuid(runs_as).pw_name in binaries.ACCOUNTS
    assert [entry.pw_name for entry in pwd.getpwall()] == accounts
    assert {path: path.stat().st_mode for path in parents} == parents


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can close a directory to the account")
def test_programs_in_a_closed_directory_are_copied(tmp_path: Path) -> None:
    """Scenario: root's environment lies in its home, which other accounts cannot enter.
    Outcome: the server runs from a copy, and the home stays closed.
    """
    found = binaries.find()
    if found.is_relative_to(binaries.DEBIAN):
        pytest.skip("an installation spread over the system has no place to be moved to")
    closed = tmp_path / "closed"
    package = found.parents[1]
    shutil.copytree(found.parent, closed / package.name / found.parent.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    closed.chmod(0o700)
    with server(bindir=closed / package.name / found.parent.name / "bin") as started:
        assert started.running
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="another account is tried by root only")
def test_an_ordinary_user_starts_it() -> None:
    """Scenario: an account without rights and without a home owns the server.
    Outcome: it runs under that account, and both are gone when it is killed.
    """
    entry = pwd.getpwnam("nobody")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    as_nobody = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "env": env}
    python = next(filter(lambda python: works(python, as_nobody), PYTHONS), None)
    if python is None:
        pytest.skip("nobody reaches neither an interpreter nor the programs")
    process = owner(python=python, **as_nobody)
    where, pid = told(process)
    assert Path(f"/proc/{pid}").stat().st_uid == where.stat().st_uid == entry.pw_uid
    process.kill()
    until(lambda: not alive(pid) and not where.exists())
    finish(process)


#: this interpreter, or the system's where this one lies in root's home
PYTHONS = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")


def works(python: str, options: dict[str, Any]) -> bool:
    """Whether an account can run an interpreter, the project and PostgreSQL."""
    program = (
        "import dedupe.lab; from dedupe.lab import binaries;"
        " import subprocess; subprocess.run([binaries.find() / 'postgres', '-V'], check=True)"
    )
    try:
        done = subprocess.run(
            [python, "-c", program], cwd=ROOT, capture_output=True, check=False, **options
        )
    except OSError:
        return False
    return done.returncode == 0
