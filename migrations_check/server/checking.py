"""``check_server``: every rule, in every database that the role may enter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dedupe.connect import conninfo_of
from dedupe.errors import DedupeError, UnknownObject, UsageError
from dedupe.session import OLDEST_SERVER

from ..findings import Report, Unseen
from .catalog import Catalog
from .keyscan import finish, place
from .majors import NEWEST
from .registry import RULES
from .rule import Asked, Rule, Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check of a server said, and of what."""

    report: Report
    #: server_version_num
    version: int
    databases: tuple[str, ...]
    #: statements that the rules about catalogs took
    statements: int


def check_server(dsn: str, asked: Asked) -> Checked:
    """Say what will break in an upgrade of a server to the major version ``asked.to``.

    ``dsn`` is a URL or a libpq connection string; the server may be PostgreSQL 10 or later.
    Catalogs are read in all databases that the role may enter; unless ``asked.quick``, the
    tables too, as ``dedupe.scan`` does, with run directories below ``asked.run``. Nothing is
    written to the server. What a rule cannot see becomes ``Unseen``.

    Raises ConnectionSettingsError, ServerUnavailable, UnsupportedServer, UsageError.
    """
    conninfo = conninfo_of(dsn)
    said: list[Said] = []
    statements = 0
    with Catalog(conninfo) as first:
        if not first.major <= asked.to <= NEWEST:
            raise UsageError(
                f"there are no rules for an upgrade from {first.major} to {asked.to}",
                hint=f"Say --to with a major version from {first.major} to {NEWEST}.",
                version=first.version,
            )
        names, closed = _databases(first, asked.only)
        said += closed
        for rule in _rules("cluster"):
            said += rule.said(first, asked, tuple(names))
        for name in names:
            try:
                with Catalog(conninfo, name) as catalog:
                    for rule in _rules("database"):
                        said += rule.said(catalog, asked)
                    statements += catalog.asked
            except DedupeError as error:
                said.append(Unseen(rule="databases", object=name, reason=error.message))
        statements += first.asked
        said += _of_rows(first, names, asked)
    return Checked(
        report=_report(said), version=first.version, databases=tuple(names), statements=statements
    )


def _rules(scope: str) -> list[Rule]:
    return [rule for rule in RULES if rule.scope == scope]


def _of_rows(first: Catalog, names: Sequence[str], asked: Asked) -> Iterator[Said]:
    """Let the rules about rows look, in the directory that holds the keys' scans."""
    why = None
    if asked.quick:
        why = "left out, as --quick asks: whether the unique indexes can be built is not known"
    elif first.major < OLDEST_SERVER:
        why = (f"PostgreSQL {first.major} cannot be scanned, only {OLDEST_SERVER} and later can:"
               " upgrade a copy and check that")
    if why is not None:
        for rule in _rules("rows"):
            yield Unseen(rule=rule.name, object="cluster", reason=why, left_out=asked.quick)
        return
    system = str(first.value("SELECT system_identifier FROM pg_catalog.pg_control_system()"))
    with place(asked.run, system):
        for name in names:
            try:
                with Catalog(first.conninfo, name) as catalog:
                    for rule in _rules("rows"):
                        yield from rule.said(catalog, asked)
            except DedupeError as error:
                yield Unseen(rule="duplicate-keys", object=name, reason=error.message)
        finish(asked.run, system)


def _databases(
    catalog: Catalog, only: Sequence[str]
) -> tuple[list[str], Iterator[Unseen]]:
    """List the databases to look at, and those that the role may not enter."""
    known = {
        name: (allowed, entered)
        for name, allowed, entered in catalog.rows(
            # What an interrupted DROP DATABASE left cannot be entered: its limit is -2.
            "SELECT datname, datallowconn AND datconnlimit <> -2,"
            " pg_catalog.has_database_privilege(oid, 'CONNECT')"
            " FROM pg_catalog.pg_database ORDER BY datname"
        )
    }
    for name in only:
        if name not in known:
            raise UnknownObject(
                f"there is no database {name}",
                hint=f"There are: {', '.join(n for n, (open_, _) in known.items() if open_)}.",
                kind="database", name=name,
            )
    wanted = list(only) or list(known)
    names = [name for name in wanted if all(known[name])]
    closed = (
        Unseen(
            rule="databases", object=name,
            reason="this role may not connect to it; give it CONNECT, or check as another role",
        )
        for name in wanted
        # What nobody may enter, the rule about databases looks at.
        if known[name][0] and not known[name][1]
    )
    return names, closed


def _report(said: Sequence[Said]) -> Report:
    order = {rule.name: number for number, rule in enumerate(RULES)}
    return Report.of(sorted(said, key=lambda one: order.get(one.rule, len(order))))
