"""Barman behind the contract of commands; the target is a server of its configuration.

Barman proves the files of a backup by pg_verifybackup, and of the write-ahead log only
that it is there: its records are read here, by pg_waldump.
Source: https://docs.pgbarman.org/
"""

from __future__ import annotations

import subprocess
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dedupe.errors import ProviderFailed

from .. import programs
from ..contract import Asked, Lacks, Listed, Looked, Took
from ..provider import Snapshot
from .adapter import Tool, segments, serve


class _Backup(msgspec.Struct, frozen=True):
    backup_id: str
    status: str
    begin_time: datetime | None = None
    begin_wal: str | None = None
    end_wal: str | None = None
    begin_xlog: str | None = None
    end_xlog: str | None = None
    systemid: str | None = None
    timeline: int | None = None
    size: int | None = None
    version: int | None = None
    xlog_segment_size: int | None = None
    tablespaces: tuple[tuple[str, int, str], ...] | None = None


class _Server(msgspec.Struct, frozen=True):
    config: dict[str, Any]
    status: dict[str, Any]
    backups: dict[str, _Backup] = {}


class _Diagnosis(msgspec.Struct, frozen=True):
    servers: dict[str, _Server]


class _Checked(msgspec.Struct, frozen=True):
    status: str
    hint: str = ""


def check(tool: Tool, asked: Asked) -> Lacks:
    """Let Barman check its connections, its slot, and the ages and numbers that it has to keep."""
    lacks = []
    known = _server(tool).status.get("postgres_systemid")
    if asked.cluster["system_identifier"] != known:
        lacks.append(f"the server {tool.target} of Barman is another cluster, {known}")
    try:
        tool.run("-f", "json", "check", tool.target)
    except ProviderFailed as error:
        try:
            told = msgspec.json.decode(str(error.output), type=dict[str, dict[str, _Checked]])
        except msgspec.DecodeError:
            raise error from None
        wrong = [(n, c.hint) for n, c in told[tool.target].items() if c.status != "OK"]
        lacks += [f"barman check: {name} failed ({hint})" for name, hint in wrong]
    return Lacks(contract=1, lacks=tuple(lacks))


def take(tool: Tool, _: Asked) -> Took:
    """Take a backup and wait for the segments of the write-ahead log that it needs."""
    before = _server(tool).backups.keys()
    tool.run("backup", "--wait", tool.target)
    server = _server(tool)
    new = sorted(server.backups.keys() - before)
    if not new:
        raise ProviderFailed("barman backup ended well, and there is no new backup")
    return Took(contract=1, snapshot=_snapshot(tool, server, server.backups[new[-1]]))


def listing(tool: Tool, _: Asked) -> Listed:
    """List the backups, also those that failed or still run."""
    server = _server(tool)
    return Listed(
        contract=1, snapshots=tuple(_snapshot(tool, server, b) for b in server.backups.values())
    )


def verify(tool: Tool, asked: Asked) -> Looked:
    """Check each file by the backup's manifest, and every record that it needs of the log.

    ``barman check-backup`` is not asked: a segment that is away for a moment would make it mark
    the backup as failed for good, and a proof changes nothing.
    """
    backup = _found(tool, asked)
    failures: list[str] = []
    right: list[str] = []
    (right if backup.status == "DONE" else failures).append(
        f"the status of the backup is {backup.status}"
    )
    for what, look in (("barman verify-backup", _verify_files), ("pg_waldump", _read_log)):
        try:
            right.append(f"{what}: {look(tool, backup)}")
        except ProviderFailed as error:
            failures.append(f"{what}: {error.message}")
    return Looked(contract=1, passed=not failures, findings=(*failures, *right))


def restore(tool: Tool, asked: Asked) -> None:
    """Recover it as of the moment when it is consistent."""
    backup = _found(tool, asked)
    spaces = Path(asked.scratch["directory"]) / "tablespaces"
    tool.run(
        "recover", "--target-immediate", "--target-action", "promote",
        *(f"--tablespace={name}:{spaces / name}" for name, *_ in backup.tablespaces or ()),
        tool.target, backup.backup_id, asked.scratch["data"],
    )


def delete(tool: Tool, asked: Asked) -> None:
    """Remove it; Barman refuses where its settings want more backups kept."""
    if asked.snapshot["id"] in _server(tool).backups:
        tool.run("delete", tool.target, asked.snapshot["id"])


def _verify_files(tool: Tool, backup: _Backup) -> str:
    tool.run("verify-backup", tool.target, backup.backup_id)
    return "every file is as the manifest says"


def _read_log(tool: Tool, backup: _Backup) -> str:
    """Fetch the segments between the backup's begin and end, and read all records in them.

    Takes their size in the directory for temporary files.
    """
    first, last = backup.begin_wal, backup.end_wal
    if not (first and last and backup.begin_xlog and backup.end_xlog and backup.version):
        raise ProviderFailed("Barman does not know which part of the log the backup needs")
    bindir = programs.bindir_of(backup.version // 10000, "pg_waldump")
    with tempfile.TemporaryDirectory(prefix="pgmend-wal-") as room:
        for name in segments(first, last, backup.xlog_segment_size or 1 << 24):
            with (Path(room) / name).open("wb") as segment:
                ended = subprocess.run(
                    (*tool.argv, "get-wal", tool.target, name), stdout=segment, cwd="/", check=False
                )
            if ended.returncode:
                raise ProviderFailed(f"barman get-wal {name} ended with {ended.returncode}")
        programs.run(
            (bindir / "pg_waldump", "--quiet", "--path", room, "--timeline", str(backup.timeline),
             "--start", backup.begin_xlog, "--end", backup.end_xlog),
            provider="barman",
        )  # fmt: skip
    return f"every record from {backup.begin_xlog} to {backup.end_xlog} is whole"


def _server(tool: Tool) -> _Server:
    # Of all of Barman's commands it alone tells which cluster a backup is of.
    servers = tool.read(_Diagnosis, "diagnose").servers
    if tool.target not in servers:
        known = ", ".join(servers) or "none"
        raise ProviderFailed(f"Barman has no server {tool.target}; it has: {known}")
    return servers[tool.target]


def _found(tool: Tool, asked: Asked) -> _Backup:
    backups = _server(tool).backups
    found = backups.get(asked.snapshot["id"])
    if found is None:
        raise ProviderFailed(f"Barman has no backup {asked.snapshot['id']} of {tool.target}")
    return found


def _snapshot(tool: Tool, server: _Server, backup: _Backup) -> Snapshot:
    # One that failed early knows its beginning by its name only, in Barman's time zone.
    begun = backup.begin_time or datetime.strptime(backup.backup_id, "%Y%m%dT%H%M%S").astimezone()
    return Snapshot(
        id=backup.backup_id,
        taken_at=begun if begun.tzinfo else begun.astimezone(),
        complete=backup.status == "DONE",
        size=backup.size,
        place=f"server {tool.target} of Barman,"
        f" {server.config.get('basebackups_directory')}/{backup.backup_id}",
        system_identifier=int(backup.systemid) if backup.systemid else None,
        timeline=backup.timeline,
        lsn=backup.begin_xlog,
        facts={"status": backup.status},
    )


if __name__ == "__main__":
    serve(
        {"check": check, "take": take, "list": listing, "verify": verify, "restore": restore,
         "delete": delete}
    )  # fmt: skip
