"""Receipts: what was saved of which cluster, and how it was proved, in files of their own.

A file is written once, never changed, and carries a checksum. Every proof is a further
file beside the receipt, numbered; the newest one decides. The checksum shows an edit by
hand or a torn write, not a forgery: who may write to the directory is trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from dedupe.errors import LocalStorageError, NotAReceipt, way_out

from .cluster import Cluster
from .directory import sync
from .provider import Snapshot
from .rows import TableRows

FORMAT_VERSION = 1
_ENDING = ".receipt.json"
_PROOF = re.compile(r"\.(\d{4,})\.(verified|drilled)\.json")

Kind = Literal["verified", "drilled"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was saved, of which cluster, and where."""

    id: str
    #: as the settings file calls the provider, and what kind of provider it is
    provider: str
    kind: str
    #: the directory that was said for it, if it keeps its snapshots in one
    to: str | None
    snapshot: Snapshot
    #: as it was just before the snapshot: nothing in the snapshot is older than ``cluster.now``
    cluster: Cluster
    #: rows that every table of the snapshot has to have
    tables: tuple[TableRows, ...]
    #: how long it took to take
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one proof of a snapshot showed."""

    #: id and checksum of the receipt
    receipt: str
    checksum: str
    kind: Kind
    passed: bool
    findings: tuple[str, ...]
    at: datetime
    #: how long it took; of a drill: the time until the server took connections
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A receipt in its file, with all that was found out since, oldest first."""

    path: Path
    checksum: str
    receipt: Receipt
    results: tuple[Result, ...]

    @property
    def newest(self) -> Result | None:
        """The last thing that was found out."""
        return self.results[-1] if self.results else None

    @property
    def failure(self) -> Result | None:
        """What failed and was not made good by a newer proof of its kind.

        That every file is whole does not undo that a drill found rows missing.
        """
        decisive = {one.kind: one for one in self.results}
        return next((one for one in decisive.values() if not one.passed), None)

    def proved(self, level: Kind) -> bool:
        """Tell whether it was proved as far as that, and nothing speaks against it."""
        kinds = {one.kind for one in self.results}
        return self.failure is None and (level in kinds or "drilled" in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The receipts of a directory, oldest first, and what is there and cannot be relied on."""

    kept: tuple[Kept, ...]
    damaged: tuple[NotAReceipt, ...]


def ready(directory: Path) -> None:
    """Make the directory, so that no snapshot is taken in vain. Raises LocalStorageError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise _storage(directory, "write to", error) from error


def keep(directory: Path, receipt: Receipt) -> Kept:
    """Write a receipt. Raises LocalStorageError; a file of that name is not replaced."""
    path = directory / f"{receipt.id}{_ENDING}"
    return Kept(path=path, checksum=_write(path, receipt), receipt=receipt, results=())


def keep_result(
    kept: Kept, kind: Kind, *, passed: bool, findings: tuple[str, ...], at: datetime, seconds: float
) -> Kept:
    """Write what a proof showed beside its receipt. Raises LocalStorageError, NotAReceipt."""
    result = Result(
        receipt=kept.receipt.id, checksum=kept.checksum, kind=kind, passed=passed,
        findings=findings, at=at, seconds=seconds,
    )
    number = max((n for n, _ in _proofs(kept.path)), default=0) + 1
    _write(kept.path.with_name(f"{kept.receipt.id}.{number:04}.{kind}.json"), result)
    return load(kept.path)


def load(path: Path) -> Kept:
    """Read a receipt and its results.

    Raises NotAReceipt: it is none, of a newer version, or not as it was written; a result
    that is not as it was written counts as much. Raises LocalStorageError.
    """
    receipt, checksum = _read(path, Receipt)
    if path.name != f"{receipt.id}{_ENDING}":
        raise _none(path, f"it is that of {receipt.id}, under another name")
    results = []
    for number, file in _proofs(path):
        result, _ = _read(file, Result)
        if (result.receipt, result.checksum) != (receipt.id, checksum):
            raise _none(file, "it is about another receipt")
        results.append((number, result))
    return Kept(
        path=path, checksum=checksum, receipt=receipt, results=tuple(r for _, r in results)
    )


def shelf(directory: Path) -> Shelf:
    """Read all receipts of a directory; one that is not there holds none.

    Raises LocalStorageError.
    """
    kept, damaged = [], []
    try:
        paths = sorted(p for p in directory.iterdir() if p.name.endswith(_ENDING))
    except FileNotFoundError:
        paths = []
    except OSError as error:
        raise _storage(directory, "read", error) from error
    for path in paths:
        try:
            kept.append(load(path))
        except NotAReceipt as error:
            damaged.append(error)
    return Shelf(
        kept=tuple(sorted(kept, key=lambda one: one.receipt.cluster.now)),
        damaged=tuple(damaged),
    )


def forget(kept: Kept) -> None:
    """Remove a receipt and its results, the receipt first. Raises LocalStorageError."""
    proofs = [file for _, file in _proofs(kept.path)]
    for path in (kept.path, *proofs):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _storage(path, "remove", error) from error


def _proofs(path: Path) -> list[tuple[int, Path]]:
    stem = path.name.removesuffix(_ENDING)
    found = [
        (int(match[1]), file)
        for file in path.parent.glob(f"{stem}.*.json")
        if (match := _PROOF.fullmatch(file.name.removeprefix(stem)))
    ]
    return sorted(found)


def _write(path: Path, value: Receipt | Result) -> str:
    content = msgspec.to_builtins(value, enc_hook=str)
    checksum = _sum(content)
    whole = {"format_version": FORMAT_VERSION, "checksum": checksum, "content": content}
    data = json.dumps(whole, indent=1).encode() + b"\n"
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            # Unlike a renaming this fails where the name is taken; unlike writing in place it
            # never shows half a file.
            os.link(new, path)
        finally:
            with suppress(FileNotFoundError):
                new.unlink()
        sync(path.parent)
    except OSError as error:
        raise _storage(path, "write", error) from error
    return checksum


def _read(path: Path, kind: type[T]) -> tuple[T, str]:
    try:
        whole = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _none(path, "there is no such file") from error
    except OSError as error:
        raise _storage(path, "read", error) from error
    except ValueError as error:
        raise _none(path, "it is not JSON") from error
    if not isinstance(whole, dict) or "format_version" not in whole:
        raise _none(path, "it has no format_version")
    if whole["format_version"] != FORMAT_VERSION:
        raise _none(path, f"its format_version is {whole['format_version']!r}, known is"
                    f" {FORMAT_VERSION}")
    if _sum(whole.get("content")) != whole.get("checksum"):
        raise _none(path, "it is not as it was written: its checksum is that of other content")
    try:
        return msgspec.convert(whole["content"], kind, dec_hook=_decoded), whole["checksum"]
    except msgspec.ValidationError as error:
        raise _none(path, str(error)) from error


def _sum(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _decoded(kind: type, value: Any) -> Any:
    return kind(value)


def _none(path: Path, why: str) -> NotAReceipt:
    return NotAReceipt(
        f"{path} is no receipt to rely on: {why}",
        hint="Receipts are written by pgmend guard take and never edited; take a new snapshot,"
        " or name another file.",
        path=path,
    )


def _storage(path: Path, doing: str, error: OSError) -> LocalStorageError:
    return LocalStorageError(
        f"cannot {doing} {path}: {error.strerror}",
        hint=way_out(error, "name another directory with --receipts"),
        path=path,
    )
