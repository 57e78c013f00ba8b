"""A place where a snapshot is brought to life: a directory, and a server on it.

The server is reachable by a socket in the directory only, and does nothing of its own
accord: it archives nothing, follows no primary, applies no subscription, loads no library.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from dedupe.errors import LocalStorageError, ProgramMissing, ProviderFailed

from .programs import die_with_parent, run

#: accounts that a server started by root may run under, in order of preference
_ACCOUNTS = ("postgres", "nobody")
_PREFIX = "pgmend-drill-"
_PORT = 5432
#: the superuser of a cluster that is made empty: no name that globals could bring along
_OWN = "pgmend_drill"
#: longest path of a socket, the terminating zero left out
_SOCKET_BYTES = 106
#: seconds that a server may take to end
_GRACE = 60.0

#: on the command line, so that no file that came with the snapshot says otherwise
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "cluster_name": "pgmend-drill",
    "archive_mode": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "hot_standby": "off",
    "recovery_target_action": "promote",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "max_logical_replication_workers": "0",
    "max_prepared_transactions": "1000",
    "max_replication_slots": "100",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "external_pid_file": "",
    "ssl": "off",
}


class LocalScratch:
    """The directory and the server of one drill; made by ``scratch``."""

    def __init__(
        self, bindir: Path, root: Path, account: tuple[int, int] | None, user: str
    ) -> None:
        self.bindir = bindir
        self.directory = root
        self.data = root / "data"
        self._account = account
        self._server: subprocess.Popen[bytes] | None = None
        self._user = user

    def initialize(self) -> None:
        """Make an empty cluster in ``data``. Raises ProviderFailed."""
        self._own()
        run(
            [self.bindir / "initdb", "--pgdata", self.data, "--username", _OWN, "--auth", "trust",
             "--encoding", "UTF8", "--locale", "C"],
            provider="scratch", account=self._account,
        )
        self._user = _OWN

    def start(self) -> None:
        """Start a server on ``data`` and wait until it has recovered; nothing if it runs.

        Raises ProviderFailed with the last words of its log.
        """
        if self._server is not None:
            return
        # Nobody but the account gets as far as the socket.
        for name, text in (("conf", ""), ("ident", ""), ("hba", "local all all trust\n")):
            (self.directory / name).write_text(text)
        for name in ("standby.signal", "postmaster.pid"):
            (self.data / name).unlink(missing_ok=True)
        self._own()
        files = {"config_file": "conf", "ident_file": "ident", "hba_file": "hba",
                 "unix_socket_directories": ""}
        settings = _SETTINGS | {k: str(self.directory / name) for k, name in files.items()}
        words = [word for item in settings.items() for word in ("-c", "=".join(item))]
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self.bindir / "postgres", "-D", self.data, *words],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | {"LC_ALL": "C.UTF-8"},
                user=self._account[0] if self._account else None,
                group=self._account[1] if self._account else None,
                extra_groups=[] if self._account else None,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- it calls the kernel only
            )
        while not self._recovered():
            if self._server.poll() is not None:
                raise ProviderFailed(
                    f"the restored server did not start: {self._last_words()}",
                    hint="The snapshot cannot be relied on as it is; take a new one.",
                    provider="scratch",
                )
            time.sleep(0.1)

    def dsn(self, dbname: str = "postgres") -> str:
        """Return a connection string for the started server."""
        return make_conninfo(
            host=str(self.directory), port=_PORT, dbname=dbname, user=self._user
        )

    def close(self) -> None:
        """Stop the server, if it runs, and wait for its end."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGQUIT)
            try:
                self._server.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()

    def _own(self) -> None:
        """Give everything to the account that the server runs under, as PostgreSQL wants it."""
        if self._account:
            for place, _, files in os.walk(self.directory):
                for path in (place, *(os.path.join(place, name) for name in files)):  # noqa: PTH118
                    os.chown(path, *self._account, follow_symlinks=False)
        if self.data.exists():
            self.data.chmod(0o700)

    def _recovered(self) -> bool:
        try:
            with psycopg.connect(self.dsn("template1"), autocommit=True) as connection:
                ((recovering,),) = connection.execute("SELECT pg_catalog.pg_is_in_recovery()")
                return not recovering
        except psycopg.OperationalError as error:
            # What is said after the greeting will not change by waiting.
            if error.sqlstate or "FATAL:  role" in str(error):
                raise
            return False

    def _last_words(self) -> str:
        text = (self.directory / "log").read_text("utf-8", "replace")
        return " / ".join(text.strip().splitlines()[-4:])


@contextmanager
def scratch(bindir: Path, where: Path | None, user: str) -> Iterator[LocalScratch]:
    """Give a scratch place below ``where`` (else the temporary directory), removed at the end.

    ``user`` is a superuser of the cluster that will be copied there. Leftovers of drills
    whose process is gone are removed first. As root the server runs under another account.
    Raises LocalStorageError, ProgramMissing.
    """
    account = _other_account()
    parent = where or Path(tempfile.gettempdir())
    longest = f"{parent.absolute()}/{_PREFIX}1234567-12345678/.s.PGSQL.{_PORT}.lock"
    if len(os.fsencode(longest)) > _SOCKET_BYTES:
        raise LocalStorageError(
            f"the path {parent} is too long for a server's socket",
            hint="Name another directory: --scratch DIR.",
            path=parent,
        )
    try:
        for old in parent.glob(f"{_PREFIX}*-*"):
            if not Path(f"/proc/{old.name.split('-')[2]}").exists():
                shutil.rmtree(old, ignore_errors=True)
        root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)).resolve()
    except OSError as error:
        raise LocalStorageError(
            f"no scratch directory can be made in {parent}: {error.strerror}",
            hint="Name another directory: --scratch DIR.",
            path=parent,
        ) from error
    try:
        if account:
            os.chown(root, *account)
        made = LocalScratch(_reachable(bindir, root, account), root, account, user)
        try:
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _other_account() -> tuple[int, int] | None:
    """Return user and group for a server that root starts; None for anybody else."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ProgramMissing(
        "PostgreSQL does not run as root, and there is no account postgres or nobody",
        hint="Run this as an ordinary user.",
        program="postgres",
        looked_in=(),
    )


def _reachable(bindir: Path, root: Path, account: tuple[int, int] | None) -> Path:
    """Return ``bindir``, or a copy of its installation where the account can run it."""
    if account is None:
        return bindir
    try:
        run([bindir / "postgres", "--version"], provider="scratch", account=account)
    except (ProgramMissing, ProviderFailed):
        # An environment below a home directory is closed to others, and stays closed.
        install = bindir.resolve().parent
        shutil.copytree(install, root / "install" / install.name, symlinks=True)
        libraries = install.parent.with_name(f"{install.parent.name}.libs")
        if libraries.is_dir():
            # A wheel's programs look for it by a path relative to their own.
            shutil.copytree(libraries, root / libraries.name, symlinks=True)
        return root / "install" / install.name / bindir.name
    return bindir
