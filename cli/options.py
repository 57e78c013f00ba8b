"""Connection options with the habits of psql, and how they become one target.

Sources, first to last: the command line (over the settings file), DATABASE_URL,
the PG* variables. What an earlier one leaves open, a later one fills in; where
two name different targets, neither is taken.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import click
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dedupe import connect
from dedupe.connect import Database
from dedupe.errors import ConnectionSettingsError

from .config import Config

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: settings that say which database is meant, and the variables that say it too
_TARGET = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "service": "PGSERVICE",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """Where to connect, as asked for, and whether a password may be asked for."""

    #: libpq settings; empty: libpq's own defaults
    settings: Mapping[str, str] = field(repr=False)
    #: whether the command line, the settings file or DATABASE_URL said anything
    told: bool
    #: the same, or whether the PG* variables name a target
    named: bool
    #: -w
    never_prompt: bool
    #: schema of the journal, where the command line said one
    journal_schema: str | None = None
    #: the one of the settings file
    usual_journal_schema: str | None = None

    def open(
        self, remembered: str | None = None, journal_schema: str | None = None
    ) -> Database:
        """Connect; what is remembered, target and journal, is taken where nothing was said.

        Asks for a password only when the server wants one, none was found, and
        a person is there to type it.
        """
        said, usual = self.journal_schema, self.usual_journal_schema
        journal = said if said is not None else journal_schema or usual
        return self.tried(lambda conninfo: connect(conninfo, journal_schema=journal), remembered)

    def tried(self, use: Callable[[str], T], remembered: str | None = None) -> T:
        """Call ``use`` with the connection string, with a typed password if one is wanted."""
        conninfo = make_conninfo("", **self.settings)
        if remembered is not None and not self.told:
            conninfo = remembered
        try:
            return use(conninfo)
        except ConnectionSettingsError as error:
            wanted = "no password supplied" in error.message
            if not wanted or self.never_prompt or not sys.stdin.isatty():
                raise
        return use(make_conninfo(conninfo, password=getpass.getpass("Password: ")))


def json_option(command: F) -> F:
    """Add --json to a command, as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="One JSON object on stdout instead of text."
    )(command)


def execute_option(command: F) -> F:
    """Add --execute to a command that writes."""
    return click.option("--execute", is_flag=True, help="Do it; else it is only shown.")(command)


def redis_options(command: F) -> F:
    """Add --redis and --redis-namespace to a command that asks for running workers."""
    for option in (
        click.option(
            "--redis-namespace", metavar="NAME", help="What the names of its keys begin with."
        ),
        click.option(
            "--redis", metavar="URL", envvar="PGMEND_REDIS_URL",
            help="Redis that knows the application's workers; else $PGMEND_REDIS_URL.",
        ),
    ):
        command = option(command)
    return command


def progress_options(command: F) -> F:
    """Add -q and -v to a command that shows its progress."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Progress every second."),
        click.option("-q", "--quiet", is_flag=True, help="No progress."),
    ):
        command = option(command)
    return command


def connection_options(command: F) -> F:
    """Add -d, -h, -p, -U and -w to a command."""
    for option in reversed(
        (
            click.option(
                "-d", "--dbname", "--dsn", "dbname", multiple=True, metavar="NAME|URL|CONNINFO",
                help="Database: a name, a URL or a libpq connection string.",
            ),
            click.option("-h", "--host", help="Server's host or socket directory."),
            click.option("-p", "--port", type=click.IntRange(1, 65535), help="Server's port."),
            click.option("-U", "--username", "user", help="Role to connect as."),
            click.option(
                "-w", "--no-password", is_flag=True, default=None, help="Never ask for a password."
            ),
        )
    ):
        command = option(command)
    return command


def journal_options(command: F) -> F:
    """Add --journal-schema and the connection options to a command about repairs."""
    return click.option(
        "--journal-schema", metavar="NAME",
        help="Schema of the journal of repairs; else what the run remembers, else pgmend.",
    )(connection_options(command))


def taken_from(given: dict[str, Any], config: Config) -> Connecting:
    """Take what the connection options gave out of a command's arguments.

    Raises ConnectionSettingsError.
    """
    names = ("dbname", "host", "port", "user", "no_password")
    said = given.pop("journal_schema", None)
    where = connecting(config, **{name: given.pop(name) for name in names})
    usual = config.get("repair", "journal_schema")
    return replace(where, journal_schema=said, usual_journal_schema=usual)


def connecting(
    config: Config,
    *,
    dbname: tuple[str, ...],
    host: str | None,
    port: int | None,
    user: str | None,
    no_password: bool | None,
) -> Connecting:
    """Join all that was said about the target. Raises ConnectionSettingsError."""
    line: dict[str, str] = {}
    for text in dbname:
        line = _joined(line, _parsed(text, "-d"), "one -d", "another one")
    flags = {"host": host, "port": port, "user": user}
    line = _joined(line, {k: str(v) for k, v in flags.items() if v}, "-d", "-h, -p or -U")
    if not line:
        file = dict(config.tables.get("connection", {}))
        file.pop("no_password", None)
        named = _parsed(str(file.pop("dbname")), f"{config.path}") if "dbname" in file else {}
        rest = {key: str(value) for key, value in file.items()}
        line = _joined(named, rest, "connection.dbname", "another key of the settings file")
        said = f"the settings file {config.path}"
    else:
        said = "the command line"
    url = os.environ.get("DATABASE_URL", "")
    settings = line
    variables = {k: v for k, name in _TARGET.items() if (v := os.environ.get(name))}
    if url:
        from_url = _parsed(url, "DATABASE_URL")
        settings = _joined(line, from_url, said, "DATABASE_URL")
        if not line:
            _joined(from_url, variables, "DATABASE_URL", "the PG* variables")
    return Connecting(
        settings=settings,
        told=bool(settings),
        named=bool(settings or variables),
        never_prompt=bool(config.get("connection", "no_password", no_password, default=False)),
    )


def _parsed(text: str, source: str) -> dict[str, str]:
    """Read a URL, a connection string or a bare database name."""
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", text)
    if "://" not in plain and "=" not in plain:
        return {"dbname": plain}
    try:
        return {key: str(value) for key, value in conninfo_to_dict(plain).items() if value}
    except ProgrammingError as error:
        # The driver's words may quote the text, and the text may hold a password.
        reason = str(error).strip().partition(":")[0].partition('"')[0].strip()
        raise ConnectionSettingsError(
            f"the connection settings of {source} cannot be read: {reason}",
            hint="Write postgresql://user@host:port/database or"
            " 'host=... port=... dbname=... user=...'.",
        ) from error


def _joined(
    first: Mapping[str, str], second: Mapping[str, str], first_name: str, second_name: str
) -> dict[str, str]:
    """Fill ``first`` up from ``second``; refuse two different targets."""
    for key in (*_TARGET, "user"):
        one, other = first.get(key), second.get(key)
        if one and other and one != other and (key != "user" or "-U" in second_name):
            raise ConnectionSettingsError(
                f"two different targets: {first_name} says {key} {one}, {second_name} {other}",
                hint="Say it once: drop one of the two, or unset the variable.",
                setting=key, first=one, second=other,
            )
    return {**second, **first}
