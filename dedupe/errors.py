"""Every error that pgmend raises, in one tree.

::

    DedupeError
    ├── UsageError            what was asked for cannot be done as asked
    │   ├── ConnectionSettingsError
    │   ├── UnknownObject
    │   ├── UnsupportedRelation
    │   ├── KeyDefinitionError
    │   │   └── UnsupportedKeyType
    │   ├── PermissionDenied
    │   ├── NotARunDirectory
    │   ├── PolicyError
    │   ├── RecipeError
    │   ├── PlanError
    │   ├── ProviderSettingsError
    │   ├── ProgramMissing
    │   ├── RestoreByHand
    │   └── NotAReceipt
    ├── RefusedError          it could be done, and would not be safe
    │   ├── UnsupportedServer
    │   ├── TransactionPooler
    │   ├── RowSecurityHidesRows
    │   ├── RunMismatch
    │   ├── RunInUse
    │   ├── RecipeDoesNotFit
    │   ├── UnprovenIndex
    │   ├── NotEnoughSpace
    │   ├── NotReady
    │   ├── LossNotAccepted
    │   ├── ReferenceNotHandled
    │   ├── NotCovered
    │   ├── SnapshotRequired
    │   └── UndoRefused
    ├── FailureError          the server, the disk or the network failed
    │   ├── ServerUnavailable
    │   │   └── SnapshotLost
    │   ├── QueryFailed
    │   │   ├── LockNotAvailable
    │   │   ├── DuplicatesLeft
    │   │   ├── UnplannedEffect
    │   │   └── UnreadableData
    │   ├── LocalStorageError
    │   │   └── RunDirectoryDamaged
    │   ├── ProviderFailed
    │   └── LabError
    └── Stopped               a person or a program asked for the stop
        ├── ScanStopped
        └── RepairStopped

Each error is one sentence that names the thing, and a hint that names the
remedy. The facts behind the sentence are attributes, so that a program can
decide on them without reading the text.
"""

from __future__ import annotations

import errno


class DedupeError(Exception):
    """Base of all errors of pgmend: ``message`` says what, ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __getattr__(self, name: str) -> object:
        """Give a fact by its name (``error.table``); unknown names are AttributeErrors."""
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the hint and the facts, so that errors cross processes whole."""
        return (_rebuild, (type(self), self.message, self.hint, self.facts))


def _rebuild(
    kind: type[DedupeError], message: str, hint: str | None, facts: dict[str, object]
) -> DedupeError:
    return kind(message, hint=hint, **facts)


class UsageError(DedupeError):
    """What was asked for cannot be done as asked; asking again changes nothing."""


class ConnectionSettingsError(UsageError):
    """The connection settings are malformed or name two different targets."""


class UnknownObject(UsageError):
    """No such table, column, index or schema (facts: ``kind``, ``name``)."""


class UnsupportedRelation(UsageError):
    """A view, foreign table or other relation without rows of its own (``name``, ``kind``)."""


class KeyDefinitionError(UsageError):
    """The key's columns, expressions or predicate do not make a key (``key``)."""


class UnsupportedKeyType(KeyDefinitionError):
    """A key column's type has no equality or no safe hash (``type``)."""


class PermissionDenied(UsageError):
    """The role lacks a right that the work needs (``object``)."""


class NotARunDirectory(UsageError):
    """The directory exists and pgmend did not make it, or it holds no run (``path``)."""


class PolicyError(UsageError):
    """The rules of a repair are missing, malformed or fit no table (``policy``)."""


class RecipeError(UsageError):
    """There is no such recipe, or it says what no recipe can say (``recipe``, ``place``)."""


class PlanError(UsageError):
    """There is no plan, or it was edited into something that is none (``path``)."""


class ProviderSettingsError(UsageError):
    """The settings of a provider of snapshots are missing or malformed (``provider``)."""


class ProgramMissing(UsageError):
    """A program of the right version is not installed (``program``, ``looked_in``)."""


class RestoreByHand(UsageError):
    """The provider cannot restore from here; ``steps`` say how a person does it."""


class NotAReceipt(UsageError):
    """The file is no receipt, or not as it was written (``path``)."""


class RefusedError(DedupeError):
    """It could be done and would not be safe, or would answer wrongly."""


class UnsupportedServer(RefusedError):
    """The server is older than the oldest that pgmend can scan (``version``)."""


class TransactionPooler(RefusedError):
    """A pooler hands out another server session for every transaction."""


class RowSecurityHidesRows(RefusedError):
    """Row-level security would hide rows of the table from this role (``table``)."""


class RunMismatch(RefusedError):
    """The run belongs to something else (facts: ``field``, ``expected``, ``found``)."""


class RunInUse(RefusedError):
    """Another process works on this run directory (``path``)."""


class RecipeDoesNotFit(RefusedError):
    """The database is not the recipe's application, or not in a state it is for (``recipe``)."""


class UnprovenIndex(RefusedError):
    """The primary key's index could not be proved against the heap (``index``)."""


class NotEnoughSpace(RefusedError):
    """The disk under the run directory is too small (``needed``, ``free``: bytes)."""


class NotReady(RefusedError):
    """Something stands in the way of a repair (``reasons``: all of them)."""


class LossNotAccepted(RefusedError):
    """A reference would lose rows and nobody said that it may (``references``)."""


class ReferenceNotHandled(RefusedError):
    """A reference points at a key that the repair itself would change (``constraint``)."""


class NotCovered(RefusedError):
    """A snapshot by this provider would not bring the cluster back (``reasons``)."""


class SnapshotRequired(RefusedError):
    """No receipt shows a snapshot that is fresh and proved (``reasons``)."""


class UndoRefused(RefusedError):
    """Rows or constraints stand in the way of an undo (``reasons``)."""


class FailureError(DedupeError):
    """The server, the disk or the network failed; the run can go on once it is mended."""


class ServerUnavailable(FailureError):
    """The server cannot be reached or went away and did not come back."""


class SnapshotLost(ServerUnavailable):
    """The session that held the snapshot ended; sweep and confirm need a new one."""


class QueryFailed(FailureError):
    """The server refused a statement (``sqlstate``)."""


class LockNotAvailable(QueryFailed):
    """Another session held the table locked for longer than a read waits."""


class DuplicatesLeft(QueryFailed):
    """A unique index could not be built: rows still violate it (``index``)."""


class UnplannedEffect(QueryFailed):
    """More or fewer rows were changed than a batch meant; it was rolled back."""


class UnreadableData(QueryFailed):
    """The server found damaged data while it read (SQLSTATE class XX)."""


class LocalStorageError(FailureError):
    """Writing or reading the run directory failed (``path``)."""


def way_out(error: OSError, elsewhere: str) -> str:
    """Say what helps where something cannot be written; ``elsewhere`` names another place."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"Make room, or {elsewhere}."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"Let this user write there, or {elsewhere}."
    return f"Mend that path, or {elsewhere}."


class RunDirectoryDamaged(LocalStorageError):
    """A file of the run directory is truncated or changed (``path``)."""


class ProviderFailed(FailureError):
    """The tool or the service that takes snapshots failed (``provider``)."""


class LabError(FailureError):
    """The rehearsal server could not be started, or damage did not take."""


class Stopped(DedupeError):
    """The work stopped at a safe point because it was asked to."""


class RepairStopped(Stopped):
    """The repair or the undo stopped between two batches; it can go on (``run``)."""


class ScanStopped(Stopped):
    """The scan stopped at a safe point because it was asked to (``path``)."""
