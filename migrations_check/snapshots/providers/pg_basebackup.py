"""pg_basebackup: a copy of the whole cluster with the write-ahead log that it needs.

Sources: https://www.postgresql.org/docs/current/app-pgbasebackup.html,
https://www.postgresql.org/docs/current/app-pgverifybackup.html,
https://www.postgresql.org/docs/current/backup-manifest-format.html
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil

import msgspec

from dedupe.errors import ProviderFailed

from ..cluster import Cluster
from ..datadir import identifier, put_in_place, relink, start_options
from ..directory import PARTIAL, DirectoryProvider, digest, failed, first_step
from ..programs import run, version_of
from ..provider import Proof, Scratch, Snapshot, Step, Told
from ..settings import Access

_PROGRESS = re.compile(r"(\d+)/(\d+) kB")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of the provider."""

    #: directory of this machine, on another disk than the cluster's
    to: str
    #: bytes a second at most, as pg_basebackup takes them: 50M; None: no limit
    max_rate: str | None = None
    #: commands that stop and start the server, for the steps back; None: pg_ctl
    stop: str | None = None
    start: str | None = None


def open_provider(settings: Settings, access: Access) -> BaseBackup:
    """Return the provider."""
    return BaseBackup(settings, access)


class BaseBackup(DirectoryProvider):
    """Base backups below a directory of this machine."""

    def __init__(self, settings: Settings, access: Access) -> None:
        super().__init__(access, "basebackup", settings.to)
        self._settings = settings

    def lacks(self, cluster: Cluster) -> tuple[str, ...]:
        """Say why it would not be enough: the copy would lie within what it copies."""
        target = self._kept.place("").resolve()
        if cluster.tablespaces is None:
            return ("where its tablespaces lie is not shown to this role: pg_read_all_settings",)
        inside = [place for place in (cluster.data_directory, *cluster.tablespaces)
                  if place and target.is_relative_to(place.resolve())]
        if not inside:
            self._ready(cluster.major, "pg_basebackup")
        return tuple(f"{target} lies inside the cluster, in {place}" for place in inside)

    def take(self, cluster: Cluster, told: Told) -> Snapshot:
        """Copy the cluster; its tablespaces lie beside the copied data directory."""
        bindir = self._bindir(cluster.major, "pg_basebackup")

        def said(line: str) -> None:
            if found := _PROGRESS.search(line):
                told(Step(doing="copying", done=int(found[1]) << 10, total=int(found[2]) << 10))

        with self._kept.making(cluster) as made:
            spaces = {old: made / "tablespaces" / str(number)
                      for number, old in enumerate(cluster.tablespaces or ())
                      if cluster.data_directory not in old.parents}
            mapping = ["--tablespace-mapping=" + "=".join(
                str(path).replace("=", "\\=") for path in pair) for pair in spaces.items()]
            rate = [f"--max-rate={self._settings.max_rate}"] if self._settings.max_rate else []
            run(
                [bindir / "pg_basebackup", "--dbname", cluster.conninfo, "--no-password",
                 "--pgdata", made / "data", "--wal-method=stream", "--checkpoint=fast",
                 "--progress", *mapping, *rate],
                provider=self.name, env=self._access.environment, said=said,
                hint="Make room, or let the role have REPLICATION and pg_hba.conf a line for it.",
            )
            data = made / "data"
            relink(data, made, self._kept.place(made.name.removesuffix(PARTIAL)))
            manifest = json.loads((data / "backup_manifest").read_bytes())
            wal = manifest["WAL-Ranges"][0]
            return self._kept.finish(made, Snapshot(
                id=made.name.removesuffix(PARTIAL), taken_at=cluster.now, complete=True,
                size=sum(file["Size"] for file in manifest["Files"]), place=str(made.parent),
                system_identifier=identifier(data), timeline=wal["Timeline"],
                lsn=wal["Start-LSN"],
                facts={"major": str(cluster.major), "log_sha256": digest(data / "pg_wal"),
                       "pg_basebackup": version_of(bindir / "pg_basebackup"),
                       **{f"tablespace {new.name}": str(old) for old, new in spaces.items()}},
            ))

    def inspect(self, snapshot: Snapshot, told: Told) -> Proof:
        """Read every file again: pg_verifybackup, with the log from start to end."""
        if snapshot not in self.list():
            return failed(f"{snapshot.id} is gone, or described anew")
        told(Step(doing="verifying", total=snapshot.size))
        data = self._kept.place(snapshot.id) / "data"
        bindir = self._bindir(int(snapshot.facts["major"]), "pg_verifybackup")
        try:
            run([bindir / "pg_verifybackup", "--quiet", data], provider=self.name)
            # It looks into the log as far as the copy needs it; a byte beyond that counts, too.
            if digest(data / "pg_wal") != snapshot.facts["log_sha256"]:
                return failed("a file of pg_wal was changed")
        except ProviderFailed as error:
            return failed(error.message)
        return Proof(passed=True, findings=(
            f"pg_verifybackup read {snapshot.size or 0:,} bytes: every file is as it was written",
        ))

    def restore(self, snapshot: Snapshot, scratch: Scratch, told: Told) -> None:
        """Copy it into the scratch place, tablespaces too."""
        told(Step(doing="restoring", total=snapshot.size))
        source = self._kept.place(snapshot.id)
        try:
            shutil.copytree(source, scratch.directory / "copy", symlinks=True)
            relink(scratch.directory / "copy/data", source, scratch.directory / "copy")
            (scratch.directory / "copy/data").rename(scratch.data)
        except (OSError, shutil.Error) as error:
            raise ProviderFailed(f"it cannot be copied: {error}", provider=self.name) from error

    def steps_back(self, snapshot: Snapshot, cluster: Cluster | None) -> tuple[str, ...]:
        """Say how the copy takes the place of the data directory."""
        known = cluster and cluster.data_directory
        source, data = self._kept.place(snapshot.id), str(known or "DATA_DIRECTORY")
        # pg_ctl does not run as root.
        owner = f'runuser -u "$(stat -c %U {shlex.quote(data)})" -- ' * (os.geteuid() == 0)
        bindir = self._bindir(int(snapshot.facts["major"]), "pg_basebackup")
        ctl = f"{owner}{shlex.quote(str(bindir / 'pg_ctl'))} --pgdata {shlex.quote(data)} --wait"
        log = shlex.quote(f"{data}/started.log")
        options = start_options(known) if known else ""
        moves = [(data, source / "data")] + [
            (old, source / "tablespaces" / key.split()[1])
            for key, old in snapshot.facts.items() if key.startswith("tablespace ")]
        return (first_step(snapshot, "stays in what is moved away"),
                self._settings.stop
                or f"if {ctl} status > /dev/null; then {ctl} --mode fast stop; fi",
                *put_in_place(moves, snapshot.id),
                self._settings.start or f"{ctl} --log {log}{options} start")
