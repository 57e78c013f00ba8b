"""The journal: what a repair changed, in the database itself, so that it can be taken back.

Its tables stand in a schema of their own. Every entry is written in the transaction of
the change that it describes.
"""

from __future__ import annotations

from .reading import (
    MAKE_PLAIN,
    JournalRun,
    KnownRun,
    changed_between,
    column_places,
    find_run,
    is_unfinished,
    journal_drop,
    journal_export,
    journal_runs,
    known_run,
    last_deletion,
    last_entry,
    undo_begun,
)
from .tables import SCHEMA, database_of, ensure, exists, standing, things_in_schema
from .writing import (
    add_shape,
    begin,
    changed_entry,
    enter_batch,
    image,
    image_settings,
    insert_entries,
    next_batch,
    tell,
    told,
    value,
)

__all__ = [
    "MAKE_PLAIN",
    "SCHEMA",
    "JournalRun",
    "KnownRun",
    "add_shape",
    "begin",
    "changed_between",
    "changed_entry",
    "column_places",
    "database_of",
    "ensure",
    "enter_batch",
    "exists",
    "find_run",
    "image",
    "image_settings",
    "insert_entries",
    "is_unfinished",
    "journal_drop",
    "journal_export",
    "journal_runs",
    "known_run",
    "last_deletion",
    "last_entry",
    "next_batch",
    "standing",
    "tell",
    "things_in_schema",
    "told",
    "undo_begun",
    "value",
]
