"""Unique keys that the release brings, over the rows of today.

Source: https://docs.joinmastodon.org/admin/troubleshooting/index-corruption/ (what a migration
ends with), and the migrations themselves, for those that delete duplicates on their own.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from dedupe.connect import connect
from dedupe.key import KeyPart, MatchKey
from dedupe.session import OLDEST_SERVER

from ...findings import Said
from ...server.keyscan import Scanned, finish, place, scan_keys
from ..data import NewKey, new_keys
from ..scene import Rule, Scene


def look(at: Scene) -> Iterator[Said]:
    """Scan the tables that are there for the keys that are to come, one pass a table."""
    keys = [key for key in new_keys(at.pending) if set(key.needs) <= at.columns(key.table)]
    if not keys:
        return
    what = ", ".join(dict.fromkeys(key.table for key in keys))
    if at.asked.quick:
        yield at.unseen(
            at.applied.schema, f"left out, as --quick asks: new unique keys of {what}",
            left_out=True,
        )
        return
    if at.catalog.major < OLDEST_SERVER:
        yield at.unseen(
            at.applied.schema,
            f"PostgreSQL {at.catalog.major} cannot be scanned, only {OLDEST_SERVER} and later can:"
            f" new unique keys of {what}. Check a copy on a newer server.",
        )
        return
    tables: dict[str, list[NewKey]] = {}
    for key in keys:
        tables.setdefault(key.table, []).append(key)
    asked = at.asked
    system = str(at.catalog.value("SELECT system_identifier FROM pg_catalog.pg_control_system()"))
    mark = f"{system}, to Mastodon {at.target.name}"
    with place(asked.run, mark):
        for scanned in scan_keys(
            connect(at.catalog.conninfo), asked.run, asked,
            [(at.named(table), [_match(at, key) for key in some])
             for table, some in tables.items()],
        ):
            yield from _of_table(at, scanned, {key.index: key for key in keys})
        finish(asked.run, mark)


def _match(at: Scene, key: NewKey) -> MatchKey:
    return MatchKey(
        table=at.sql(key.table),
        parts=tuple(KeyPart(text=text) for text in key.key),
        where=key.where, label=key.index,
    )


def _of_table(at: Scene, scanned: Scanned, keys: dict[str, NewKey]) -> Iterator[Said]:
    if scanned.refused is not None:
        what = scanned.table if scanned.key is None else f"{scanned.table}, key {scanned.key}"
        hint = f". {scanned.refused.hint}" if scanned.refused.hint else ""
        yield at.unseen(what, f"{scanned.refused.message}{hint}")
    if scanned.run is None:
        return
    run = shlex.quote(str(scanned.run.path))
    for found in scanned.run.keys:
        if not found.groups:
            continue
        key = keys[found.name]
        message = (
            f"{found.rows_in_groups:,} rows of {found.schema}.{found.table} share"
            f" {found.groups:,} {'key' if found.groups == 1 else 'keys'}"
            f" ({', '.join(key.key)}) of a unique index that the migration {key.migration} makes: "
        )
        said = at.warning if key.duplicates == "delete" else at.blocker
        if key.duplicates == "fail":
            message += "it fails at them, and the upgrade stops there"
        else:
            message += key.message or "it keeps one of each and deletes the others"
        remedy = (
            f"pgmend plan {run} --key {shlex.quote(found.name)} --keep oldest, and then:"
            f" pgmend repair {run} --execute"
        )
        if key.recipe:
            remedy = "pgmend recipe run mastodon --run fix, and then: the same with --execute"
        elif key.remedy:
            remedy = f"pgmend groups {run} lists them: {key.remedy}; or: {remedy}"
        yield said(at.named(found.name), message, remedy)
    if broken := scanned.run.unreadable:
        yield at.blocker(
            scanned.table,
            f"{len(broken):,} of its rows or blocks cannot be read, and a migration that reads"
            f" them fails: block {broken[0].block}, {broken[0].message}",
            f"Bring the table back from a snapshot; pgmend scan --run {run} lists them all",
        )


RULE = Rule(name="app-keys", look=look)
