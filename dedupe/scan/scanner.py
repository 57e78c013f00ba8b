"""``scan``: from keys to a finished run, going on wherever an earlier call ended."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ..connect import Connectable, Database, connect
from ..errors import UsageError
from ..key import MatchKey, ResolvedKey, resolve_all
from ..progress import RunStatus
from . import directory
from .checkpoint import FORMAT_VERSION, STATE_FILE, State
from .identity import Identity, check_heaps, check_work, identify, read_server
from .keys import load_scanned
from .options import Options
from .owner import owned
from .pace import STOP_FILE
from .passes import Passes
from .run import Run
from .tally import zeros
from .telling import OnProgress
from .workplace import Workplace


def scan(
    db: Connectable,
    key_or_keys: MatchKey | Iterable[MatchKey],
    run: str | Path,
    *,
    order: str = "auto",
    jobs: int = 2,
    memory: int | str = "64MB",
    nice: float = 0.0,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
) -> Run:
    """Find every group of rows that are equal under a key, complete as of one snapshot.

    ``db`` is anything ``connect`` takes. Several keys of one table share one pass over
    its heap. ``run`` is the run directory: a new one begins a run, an unfinished one
    goes on, a finished one is returned as it is (after a check that it belongs to this
    work); ``fresh`` begins anew.

    ``order``: ``"physical"`` (ctid ranges; ``"auto"`` means this) or ``"key"`` (keyset
    over a primary key proved against the heap first). ``jobs``: sessions that read at
    a time. ``memory``: bytes, or a size such as ``"64MB"``, for the buffers of all
    workers together; interpreter and libraries come on top. ``nice``: seconds to sleep
    per second of reading. ``on_progress`` is called in this thread, about ten times a
    second at most; what it raises ends the scan at its last checkpoint.

    Returns the finished run, or the unfinished one after ``Run.stop``. Reads every heap
    of the table twice (once where nobody wrote) and candidates by address; writes to the
    run directory alone: about 16 bytes a row and key, and the groups. Locks: ACCESS SHARE
    for one chunk at a time. Prints nothing, changes no signal handler or logger, and
    leaves no thread.

    Raises UsageError (unknown names, missing rights, bad options), RefusedError (row
    security, another server, table or key than the run's, a run in use, too little
    disk), FailureError (server, network, disk; the same call goes on later).
    Source: https://www.postgresql.org/docs/current/ddl-system-columns.html
    """
    options = Options.of(order=order, jobs=jobs, memory=memory, nice=nice)
    keys = [key_or_keys] if isinstance(key_or_keys, MatchKey) else list(key_or_keys)
    if not keys:
        raise UsageError("there is no key to scan for", hint="Give one MatchKey or more.")
    path = Path(run)
    with connect(db).reusing() as database:
        return _scanned(database, keys, path, options, fresh, on_progress)


def _scanned(
    database: Database,
    keys: Sequence[MatchKey],
    path: Path,
    options: Options,
    fresh: bool,
    on_progress: OnProgress | None,
) -> Run:
    """Scan through one database; see ``scan``."""
    with database.open() as session:
        resolved = resolve_all(session, keys)
        table = load_scanned(session, resolved)
        found = identify(read_server(session), table, resolved)
    directory.make(path)
    with owned(path):
        if fresh:
            directory.empty(path)
        (path / STOP_FILE).unlink(missing_ok=True)
        with closing(_begun(path, database, found, keys, resolved, options)) as state:
            known = Identity.from_facts(state.fact("identity"))
            check_work(known, found)
            if state.fact("phase") != RunStatus.FINISHED:
                options.check_order(state.fact("order"))
                check_heaps(known, found)
                workplace = Workplace(
                    database=database,
                    path=path,
                    state=state,
                    identity=known,
                    table=table.numbered([oid for oid, *_ in known.leaves]),
                    asked=keys,
                    keys=resolved,
                    options=options,
                    on_progress=on_progress,
                )
                Passes(workplace).go()
    return Run.open(path)


def _begun(
    path: Path,
    database: Database,
    identity: Identity,
    asked: Sequence[MatchKey],
    keys: Sequence[ResolvedKey],
    options: Options,
) -> State:
    """Load the directory's state, or make that of a new run."""
    if (path / STATE_FILE).exists():
        return State.load(path)
    directory.empty(path)
    return State.create(
        path,
        {
            "format_version": FORMAT_VERSION,
            "id": secrets.token_hex(8),
            "started": datetime.now(UTC).isoformat(),
            "target": asdict(database.where),
            "identity": identity.facts(),
            "asked": [key.to_json() for key in asked],
            "order": "key" if options.order == "key" else "physical",
            "proved": {},
            "phase": RunStatus.SCANNING,
            "horizon": None,
            "as_of": None,
            "main_length": 0,
            "spill_length": 0,
            "main_blocks": 0,
            "main_rows": zeros(keys),
            "keys": [],
            "fraction": 0.0,
            "seconds": 0.0,
            "sweep_seconds": 0.0,
            "peak_rss_bytes": 0,
        },
    )
