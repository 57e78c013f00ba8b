"""pg_dump: databases in the parallel directory format, with the roles and tablespaces beside.

It loads into any machine and later major versions, which a copy does not; it takes
longer, and each database is of a moment of its own.

Sources: https://www.postgresql.org/docs/current/app-pgdump.html,
https://www.postgresql.org/docs/current/app-pg-dumpall.html,
https://www.postgresql.org/docs/current/app-pgrestore.html
"""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import msgspec
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dedupe.errors import ProviderFailed

from ..cluster import Cluster
from ..directory import PARTIAL, DirectoryProvider, digest, failed, first_step
from ..programs import run, version_of
from ..provider import Proof, Scratch, Snapshot, Step, Told
from ..settings import Access

_GRANTOR = re.compile(r'(?m)(?<=.) GRANTED BY (?:"(?:[^"]|"")*"|\w+);$')
_PROGRAMS = "pg_dump", "pg_dumpall", "pg_restore", "psql"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of the provider."""

    #: directory of this machine, on another disk than the cluster's
    to: str
    #: databases to dump; None: all that take connections and are no templates
    databases: list[str] | None = None
    #: tables that are dumped, and loaded, at a time
    jobs: int = 2


def open_provider(settings: Settings, access: Access) -> Dump:
    """Return the provider."""
    return Dump(settings, access)


class Dump(DirectoryProvider):
    """Dumps below a directory of this machine."""

    def __init__(self, settings: Settings, access: Access) -> None:
        super().__init__(access, "dump", settings.to)
        self._settings = settings

    def lacks(self, cluster: Cluster) -> tuple[str, ...]:
        """Say which databases that were asked for are not there."""
        there = {one.name for one in cluster.databases}
        missing = [name for name in self._settings.databases or () if name not in there]
        if not missing:
            self._ready(cluster.major, *_PROGRAMS)
        return tuple(f"there is no database {name}" for name in missing)

    def take(self, cluster: Cluster, told: Told) -> Snapshot:
        """Dump roles, tablespaces, and one database after the other."""
        bindir = self._bindir(cluster.major, *_PROGRAMS)
        names = tuple(self._settings.databases or (
            one.name for one in cluster.databases if not re.fullmatch("template[01]", one.name)))
        with self._kept.making(cluster) as made:
            (files := made / "dump").mkdir()
            dump = partial(run, provider=self.name, env=self._access.environment,
                           hint="Make room, or connect as a superuser: roles have passwords.")
            for part in ("roles", "tablespaces"):
                dump([bindir / "pg_dumpall", f"--{part}-only", "--no-password", "--file",
                      files / f"{part}.sql", "--dbname", cluster.conninfo])
            for number, name in enumerate(names):
                told(Step(doing=f"dumping {name}"))
                dump([bindir / "pg_dump", "--format=directory", f"--jobs={self._settings.jobs}",
                      "--no-password", "--file", files / str(number),
                      "--dbname", make_conninfo(cluster.conninfo, dbname=name)])
            return self._kept.finish(made, Snapshot(
                id=made.name.removesuffix(PARTIAL), taken_at=cluster.now, complete=True,
                size=sum(path.stat().st_size for path in files.rglob("*") if path.is_file()),
                place=str(made.parent), system_identifier=cluster.system_identifier,
                timeline=cluster.timeline, lsn=cluster.lsn, databases=names,
                facts={"major": str(cluster.major), "sha256": digest(files),
                       "pg_dump": version_of(bindir / "pg_dump")},
            ))

    def inspect(self, snapshot: Snapshot, told: Told) -> Proof:
        """Read every file again, and the list of contents of every database."""
        if snapshot not in self.list():
            return failed(f"{snapshot.id} is gone, or described anew")
        told(Step(doing="verifying", total=snapshot.size))
        files = self._files(snapshot)
        bindir = self._bindir(int(snapshot.facts["major"]), *_PROGRAMS)
        if digest(files) != snapshot.facts["sha256"]:
            return failed(f"the checksum of the files below {files} is another one")
        entries = 0
        for number, name in enumerate(snapshot.databases or ()):
            try:
                listed = run([bindir / "pg_restore", "--list", files / str(number)],
                             provider=self.name)
            except ProviderFailed as error:
                return failed(f"database {name}: {error.message}")
            of = re.search(r"^;\s+dbname: (.*)$", listed, re.MULTILINE)
            if of is None or of[1] != name:
                return failed(f"the dump of {name} is one of {of[1] if of else 'no database'}")
            entries += sum(not line.startswith(";") for line in listed.splitlines())
        return Proof(passed=True, findings=(
            f"{snapshot.size or 0:,} bytes are as they were written",
            f"pg_restore lists {entries:,} entries of {', '.join(snapshot.databases or ())}",
        ))

    def restore(self, snapshot: Snapshot, scratch: Scratch, told: Told) -> None:
        """Load it into an empty cluster; its tablespaces' places are other machines'."""
        scratch.initialize()
        scratch.start()
        files, roles = self._files(snapshot), scratch.directory / "roles.sql"
        # Who granted a role may have been the superuser that initdb made, which here is another.
        text = (files / "roles.sql").read_text("utf-8", "surrogateescape")
        roles.write_text(_GRANTOR.sub(";", text), "utf-8", "surrogateescape")
        run([scratch.bindir / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
             "--dbname", scratch.dsn(), "--file", roles], provider=self.name)
        for number, name in enumerate(snapshot.databases or ()):
            told(Step(doing=f"loading {name}"))
            there = ["--clean", "--if-exists"] if name == "postgres" else []
            run([scratch.bindir / "pg_restore", "--create", *there, "--exit-on-error",
                 "--no-tablespaces", f"--jobs={self._settings.jobs}",
                 "--dbname", scratch.dsn("template1"), files / str(number)], provider=self.name)

    def steps_back(self, snapshot: Snapshot, cluster: Cluster | None) -> tuple[str, ...]:
        """Say how the databases are replaced by those of the dump."""
        files = self._files(snapshot)
        bindir = self._bindir(int(snapshot.facts["major"]), *_PROGRAMS)
        target = make_conninfo(cluster.conninfo if cluster else "", dbname="template1")
        psql = f"{shlex.quote(str(bindir / 'psql'))} -d {shlex.quote(target)} -X -q"
        restore = (f"{shlex.quote(str(bindir / 'pg_restore'))} -d {shlex.quote(target)}"
                   f" --create --exit-on-error --jobs={self._settings.jobs}")
        words = [first_step(snapshot, "will be gone"),
                 "# On a new server, and only there, first make its roles and tablespaces:",
                 *(f"#   {psql} -f {shlex.quote(str(files / part))}"
                   for part in ("roles.sql", "tablespaces.sql"))]
        for number, name in enumerate(snapshot.databases or ()):
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            words += [f"{psql} -c {shlex.quote(drop.as_string())}",
                      f"{restore} {shlex.quote(str(files / str(number)))}"]
        return tuple(words)

    def _files(self, snapshot: Snapshot) -> Path:
        return self._kept.place(snapshot.id) / "dump"
