"""pgBackRest behind the contract of commands; the target is a stanza.

``pgbackrest verify`` ends with 0 whatever it finds, and does not miss a segment of the
write-ahead log that is not there: its report is read, and the segments are counted.
Source: https://pgbackrest.org/command.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from dedupe.errors import ProviderFailed

from ..contract import Asked, Lacks, Listed, Looked, Took
from ..provider import Snapshot
from .adapter import Tool, segments, serve

_OK, _NO_BACKUPS = 0, 2


class _Part(msgspec.Struct, frozen=True, rename="kebab"):
    pass


class _Moments(_Part, frozen=True):
    start: int
    stop: int


class _Texts(_Part, frozen=True):
    start: str
    stop: str


class _Of(_Part, frozen=True):
    id: int
    repo_key: int


class _Stored(_Part, frozen=True):
    #: what it added, and with what it is built on, which newer repositories do not tell
    delta: int
    size: int | None = None


class _Info(_Part, frozen=True):
    repository: _Stored


class _Backup(_Part, frozen=True):
    label: str
    type: str
    timestamp: _Moments
    lsn: _Texts
    archive: _Texts
    info: _Info
    database: _Of
    error: bool = False
    reference: tuple[str, ...] | None = None


class _Cluster(_Of, frozen=True):
    system_id: int
    version: str


class _Status(_Part, frozen=True):
    code: int
    message: str


class _Stanza(_Part, frozen=True):
    status: _Status
    backup: tuple[_Backup, ...]
    db: tuple[_Cluster, ...]

    def cluster(self, backup: _Backup) -> _Cluster:
        of = (backup.database.id, backup.database.repo_key)
        return next(one for one in self.db if (one.id, one.repo_key) == of)


def check(tool: Tool, asked: Asked) -> Lacks:
    """Let pgBackRest check that it reaches the server and that segments arrive."""
    lacks = []
    known = {str(one.system_id) for one in _stanza(tool).db}
    if asked.cluster["system_identifier"] not in known:
        lacks.append(f"the stanza {tool.target} is of another cluster, {' or '.join(known)}")
    try:
        tool.run("check")
    except ProviderFailed as error:
        lacks.append(f"pgbackrest check: {error.message}")
    return Lacks(contract=1, lacks=tuple(lacks))


def take(tool: Tool, _: Asked) -> Took:
    """Take the backup that pgBackRest thinks right: incremental where there is a full one."""
    before = {one.label for one in _stanza(tool).backup}
    tool.run("backup")
    stanza = _stanza(tool)
    new = [one for one in stanza.backup if one.label not in before]
    if not new:
        raise ProviderFailed("pgbackrest backup ended well, and there is no new backup")
    return Took(contract=1, snapshot=_snapshot(tool, stanza, new[-1]))


def listing(tool: Tool, _: Asked) -> Listed:
    """List the backups; what a killed one left is none: the next one goes on with it."""
    stanza = _stanza(tool)
    return Listed(contract=1, snapshots=tuple(_snapshot(tool, stanza, b) for b in stanza.backup))


def verify(tool: Tool, asked: Asked) -> Looked:
    """Let pgBackRest read all files of the repository, and count the segments of the log."""
    stanza = _stanza(tool)
    backup = _found(stanza, asked)
    repo = f"--repo={backup.database.repo_key}"
    report = tool.run(repo, "verify", "--output=text", "--verbose")
    failures: list[str] = []
    right: list[str] = []
    if backup.error:
        failures.append("pgbackrest backup met pages whose checksums are wrong")
    # A block for the log and one for each backup: what, how many files, how many are right.
    blocks = re.findall(r"^  (?=\S).*(?:\n    .*)*", report, flags=re.MULTILINE)
    for mine in (f"  backup: {backup.label}, status: valid,", "  archiveId: "):
        told = [block for block in blocks if block.startswith(mine)]
        for block in told:
            total, valid = re.findall(r"total (?:valid )?[\w ]+: (\d+)", block)
            text = f"pgbackrest verify: {' '.join(block.split())}"
            (right if 0 < int(total) == int(valid) else failures).append(text)
        if not told:
            failures.append(f"pgbackrest verify: {' '.join(report.split()) or 'no word'}")
    needed = segments(backup.archive.start, backup.archive.stop, _segment_size(backup))
    folder = f"archive/{tool.target}/{stanza.cluster(backup).version}-{backup.database.id}"
    files = tool.read(dict[str, dict[str, str | int]], repo, "repo-ls", folder, "--recurse",
                      "--output=json")
    missing = set(needed) - set(re.findall(r"/([0-9A-F]{24})-", " ".join(files)))
    (failures if missing else right).append(
        f"{len(needed) - len(missing)} of {len(needed)} segments of the write-ahead log that it"
        " needs are there" + "".join(f", not {name}" for name in sorted(missing)[:5])
    )
    return Looked(contract=1, passed=not failures, findings=(*failures, *right))


def restore(tool: Tool, asked: Asked) -> None:
    """Restore it as of the moment when it is consistent; the server then archives nothing."""
    backup = _found(_stanza(tool), asked)
    tool.run(
        f"--repo={backup.database.repo_key}", f"--set={backup.label}",
        f"--pg1-path={asked.scratch['data']}",
        f"--tablespace-map-all={asked.scratch['directory']}/tablespaces",
        "--archive-mode=off", "--type=immediate", "--target-action=promote", "restore",
    )  # fmt: skip


def delete(tool: Tool, asked: Asked) -> None:
    """Remove it, unless others are built on it: pgBackRest would take those along."""
    backups = _stanza(tool).backup
    label = asked.snapshot["id"]
    if built := [one.label for one in backups if label in (one.reference or ())]:
        raise ProviderFailed(f"{', '.join(built)} is built on {label}, which therefore stays")
    if label in {one.label for one in backups}:
        tool.run(f"--set={label}", "expire")


def _stanza(tool: Tool) -> _Stanza:
    answer = tool.read(tuple[_Stanza, ...], "info", "--output=json")
    if not answer or answer[0].status.code not in {_OK, _NO_BACKUPS}:
        why = answer[0].status.message if answer else "it is not known"
        raise ProviderFailed(f"the stanza {tool.target} cannot be used: {why}")
    return answer[0]


def _found(stanza: _Stanza, asked: Asked) -> _Backup:
    for backup in stanza.backup:
        if backup.label == asked.snapshot["id"]:
            return backup
    raise ProviderFailed(f"pgBackRest has no backup {asked.snapshot['id']}")


def _snapshot(tool: Tool, stanza: _Stanza, backup: _Backup) -> Snapshot:
    stored = backup.info.repository
    return Snapshot(
        id=backup.label,
        taken_at=datetime.fromtimestamp(backup.timestamp.start, UTC),
        complete=True,
        size=stored.delta if stored.size is None else stored.size,
        place=f"stanza {tool.target}, repository {backup.database.repo_key} of pgBackRest",
        system_identifier=stanza.cluster(backup).system_id,
        timeline=int(backup.archive.start[:8], 16),
        lsn=backup.lsn.start,
        facts={"type": backup.type},
    )


def _segment_size(backup: _Backup) -> int:
    """Find the size that pgBackRest does not tell, by the number of the first segment.

    Where several sizes would do, it is the usual 16 MB.
    """
    position = int(backup.lsn.start.partition("/")[2], 16)
    number = int(backup.archive.start[16:24], 16)
    powers = [n for n in (24, *range(20, 31)) if position >> n == number]
    return int(2 ** powers[0])


if __name__ == "__main__":
    serve(
        {"check": check, "take": take, "list": listing, "verify": verify, "restore": restore,
         "delete": delete},
        options=("--log-level-console=off", "--log-level-stderr=warn", "--stanza={target}"),
    )  # fmt: skip
