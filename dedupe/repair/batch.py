"""One batch: some groups of the plan, locked, re-checked and repaired in one transaction.

Everything that the batch deletes or changes is journaled by the very statement that
does it, and its progress is committed with it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from ..errors import UnplannedEffect
from ..journal import SCHEMA, add_shape, enter_batch, next_batch
from ..key import ResolvedKey
from ..policy import Policy
from ..references import References
from ..surroundings import Reference
from ..writer import Writer
from . import inplace
from .elsewhere import nothing_elsewhere
from .inplace import FIRST_SUFFIXES, change_in_place, changed_columns, retry_taken
from .pointing import LOSER, MOVE
from .searching import BY_HASH, BY_HEAP, Search
from .statements import Shapes, Statements, keepers_of
from .taking import (
    RESOLVE_KEEPERS,
    ROOT_LOSERS,
    SKIP_CHANGED,
    TEMPORARY,
    check_heaps,
    joining,
    lock_rows,
    take_survivor,
)
from .triggers import users_have_triggers

#: rounds of references and collisions after which a batch is given up
_DEEPEST = 100
#: suffixes that are tried before a name is given up
_MOST_SUFFIXES = 100


class Batches:
    """Runs batches of one repair on one writer."""

    def __init__(
        self,
        writer: Writer,
        run: str,
        references: References,
        policy: Policy,
        key: ResolvedKey,
        search: Search,
        *,
        triggers_off: bool = False,
    ) -> None:
        """Work on the groups of ``run``; ``search`` finds what they pull after them.

        ``triggers_off``: neither users' triggers nor foreign keys' own run, as in a
        replica; what these guard is proved by the batch's own search under its locks.
        """
        self._triggers_off = triggers_off
        self._key = key
        self._writer = writer
        self._run = run
        self._references = references
        self._policy = policy
        #: the group of which a part had its turn in an earlier batch
        self._continued: int | None = None
        self._search = search
        self._statements = Statements(references, policy, search)
        self._leaf_of = {
            oid: relation.oid
            for relation in references.relations.values()
            for oid in relation.family
        }
        # Together: each commit empties all of them.
        writer.rows("; ".join((*TEMPORARY, inplace.TEMPORARY)))

    def run(self, round_: int, after: int, last: int) -> None:
        """Repair the groups of a round whose turn lies behind ``after``, up to ``last``.

        Locks: their rows and those that point at them, until the batch commits, and what the
        search locks; FOR KEY SHARE on survivors by the foreign keys' own checks. Raises
        UnplannedEffect, LockNotAvailable, QueryFailed, ServerUnavailable; nothing is changed then.
        """
        writer, started = self._writer, time.monotonic()
        with writer.writing(BY_HASH):
            # Emptied by a commit; there is none between savepoints.
            names = ("known", "locked", "loser", "move", "name", "seen")
            writer.rows("; ".join(f"DELETE FROM pg_temp.pgmend_{name}" for name in names))
            mine = [self._run, round_, after, last]
            for oid, name in writer.rows(
                "SELECT c.oid::int8, pg_catalog.quote_ident(n.nspname) || '.'"
                " || pg_catalog.quote_ident(c.relname) FROM (SELECT DISTINCT relid"
                f" FROM {SCHEMA}.work WHERE run = $1::text AND round = $2::int4"
                " AND turn > $3::int4 AND turn <= $4::int4) w"
                " JOIN pg_catalog.pg_class c ON c.oid = w.relid"
                " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY c.oid",
                mine,
            ):
                writer.rows(lock_rows(name, oid), mine)
            self._continued = take_survivor(writer, self._run, round_, after)
            check_heaps(writer, self._run, round_)
            writer.rows(SKIP_CHANGED, mine)
            writer.rows(ROOT_LOSERS, mine)
            if self._policy.loser.action == "delete":
                self._follow()
                self._apply(round_, started)
            else:
                self._change_in_place(round_, started)
            writer.rows(
                f"UPDATE {SCHEMA}.run SET done = $2::int4 WHERE id = $1::text", [self._run, last]
            )

    def join(self, round_: int, turn: int) -> int:
        """Give groups the same turn whose rows reference those that go in it; return their rows.

        Such a row has to be updated, and while it has a twin, the index that the twin got
        past refuses that. Their own losers go before, in the same batch. Reads a part of
        the journal for each reference of the table to itself.
        """
        root = self._references.relations[self._references.root]
        joined = 0
        with self._writer.writing():
            for reference in self._references.of(root.oid):
                if reference.parent != root.oid:
                    continue
                self._writer.set_local(self._search.to_move(reference))
                joined += self._writer.count(
                    joining(root, reference), [self._run, round_, turn]
                )
        return joined

    def skip(self, round_: int, turn: int, reason: str) -> list[int]:
        """Leave the groups whose turn it is as they are, with the reason; return their numbers."""
        with self._writer.writing():
            groups = [
                group for (group,) in self._writer.rows(
                    f"INSERT INTO {SCHEMA}.skipped SELECT DISTINCT run, round, grp, $4::text"
                    f" FROM {SCHEMA}.work WHERE run = $1::text AND round = $2::int4"
                    " AND turn = $3::int4 ON CONFLICT DO NOTHING RETURNING grp",
                    [self._run, round_, turn, reason],
                )
            ]
            self._writer.rows(
                f"UPDATE {SCHEMA}.run SET done = $2::int4 WHERE id = $1::text", [self._run, turn]
            )
        return groups

    def _follow(self) -> None:
        """Find all that points at the rows that go, and what becomes equal by that."""
        writer, references = self._writer, self._references
        lost = {references.root}
        for level in range(_DEEPEST):
            touched: dict[int, None] = {}
            further: set[int] = set()
            self._refresh()
            wanted = self._wanted(lost, level)
            self._search.look(writer, level, [reference for reference, *_ in wanted])
            for reference, goes, stays in wanted:
                if not self._search.may_find(reference):
                    continue
                writer.set_local(self._search.to_move(reference))
                if goes and writer.count(self._statements.find_lost(reference), [level]):
                    further.add(reference.child)
                if stays and writer.count(self._statements.find_moves(reference), [level]):
                    touched[reference.child] = None
            lost = further
            if touched:
                self._refresh()
            for oid in touched:
                relation = references.relations[oid]
                pair = self._policy.drop_self_pairs.get(relation.label) or (
                    self._policy.drop_self_pairs.get(relation.name)
                )
                writer.set_local(BY_HASH)
                if pair is not None and writer.count(
                    self._statements.find_self_pairs(relation, pair), [level + 1]
                ):
                    lost.add(oid)
                for key in relation.keys:
                    writer.set_local(
                        {**self._search.to_collide(key), "search_path": key.key.search_path}
                    )
                    colliding = self._statements.find_collisions(relation, key)
                    if writer.count(colliding, [level + 1]):
                        lost.add(oid)
                writer.set_local({"search_path": ""})
            writer.set_local(BY_HASH)
            while writer.count(RESOLVE_KEEPERS, []):
                pass
            if not lost:
                return
        labels = ", ".join(sorted(self._references.relations[oid].label for oid in lost))
        raise UnplannedEffect(
            f"rows of {labels} pull rows after them more than {_DEEPEST} levels deep; the batch was"
            " left as it was",
            hint="Nothing was lost. Cut the chain of rows, or delete it from its end, by hand.",
        )

    def _wanted(self, lost: Collection[int], level: int) -> list[tuple[Reference, bool, bool]]:
        """List the references to tables that lose rows, and whether their rows go, and stay."""
        found = []
        for parent in sorted(lost):
            followed, gone = self._successors(parent, level) if level else (True, False)
            for reference in self._references.to(parent):
                if reference.twin and level == 0:
                    continue
                takes = reference.on_loss == "delete"
                goes = takes and (reference.lose or gone)
                stays = (followed or not takes) and not (takes and reference.lose)
                if goes or stays:
                    found.append((reference, goes, stays))
        return found

    def _refresh(self) -> None:
        for statement in self._search.refresh:
            self._writer.rows(statement)

    def _successors(self, parent: int, level: int) -> tuple[bool, bool]:
        """Tell whether rows of a table go that another one takes the place of, and without one."""
        followed, gone = self._writer.row(
            "SELECT coalesce(bool_or(keeper IS NOT NULL), false),"
            f" coalesce(bool_or(keeper IS NULL), false) FROM {LOSER} WHERE level = $1::int4"
            " AND relid = ANY ($2::int8[]::oid[])",
            [level, sorted(self._references.relations[parent].family)],
        )
        return followed, gone

    def _apply(self, round_: int, started: float) -> None:
        """Change everything in one statement and compare the effects with what was meant."""
        writer, statements = self._writer, self._statements
        leaf_of = self._leaf_of
        meant_deletes: dict[int, int] = {}
        for relid, count in writer.rows(f"SELECT relid::int8, count(*) FROM {LOSER} GROUP BY 1"):
            meant_deletes[leaf_of[relid]] = meant_deletes.get(leaf_of[relid], 0) + count
        meant_updates: dict[int, int] = {}
        for relid, count in writer.rows(
            f"SELECT relid::int8, count(DISTINCT place) FROM {MOVE} m WHERE NOT EXISTS"
            f" (SELECT FROM {LOSER} l WHERE l.relid = m.relid AND l.place = m.place) GROUP BY 1"
        ):
            meant_updates[leaf_of[relid]] = meant_updates.get(leaf_of[relid], 0) + count
        for oid, relation in self._references.relations.items():
            if not statements.merges(relation):
                continue
            (survivors,) = writer.row(
                "SELECT count(*) FROM (SELECT relid, place FROM"
                f" (SELECT k.keeper_relid AS relid, k.keeper AS place FROM {LOSER} k"
                f" WHERE {keepers_of(relation, self._references.root)}"
                f" UNION SELECT relid, place FROM {MOVE} m WHERE relid = ANY ($1::int8[]::oid[]))"
                f" s WHERE NOT EXISTS (SELECT FROM {LOSER} l WHERE l.relid = s.relid"
                " AND l.place = s.place)) t",
                [sorted(relation.family)],
            )
            if survivors:
                meant_updates[oid] = survivors
        number = next_batch(writer, self._run)
        if meant_deletes:
            deletes, updates = sorted(meant_deletes), sorted(meant_updates)
            shapes = self._known_shapes(deletes, updates)
            if self._triggers_off:
                writer.set_local({"session_replication_role": "replica"})
            # Triggers of users are written for the role's own search path.
            writer.set_local({"search_path": writer.own_search_path})
            watched = {r.child for r in self._references.references if r.takes_rows}
            if users_have_triggers(writer, leaf_of):
                watched = set(self._references.relations)
            before = self._effects(watched)
            with nothing_elsewhere(writer, leaf_of):
                counts = writer.row(
                    statements.apply(deletes, updates, shapes), [self._run, number, round_]
                )
            gone = len(deletes)
            reached, differing, changed = (counts[gone + n : -1 : 3] for n in range(3))
            self._compare(counts[:gone], [meant_deletes[oid] for oid in deletes], deletes)
            self._compare(reached, [meant_updates[oid] for oid in updates], updates)
            self._compare(changed, differing, updates)
            meant_updates = dict(zip(updates, changed, strict=True))
            self._look_for_more(before, meant_deletes, meant_updates)
            writer.set_local({"search_path": ""})
            if self._triggers_off:
                writer.set_local({"session_replication_role": "origin"})
        self._enter(number, round_, started, deleted=meant_deletes, changed=meant_updates)

    def _change_in_place(self, round_: int, started: float) -> None:
        """Rename or blank the losers."""
        writer, loser = self._writer, self._policy.loser
        root = self._references.relations[self._references.root]
        number = next_batch(writer, self._run)
        (meant,) = writer.row(f"SELECT count(*) FROM {LOSER}")
        if meant:
            writer.set_local({**BY_HEAP, "search_path": self._key.search_path})
            if loser.action == "rename":
                writer.rows(FIRST_SUFFIXES, [self._run, round_])
                for step in range(_MOST_SUFFIXES):
                    if not writer.count(retry_taken(loser, root, self._key, meant + step)):
                        break
            writer.set_local({**BY_HASH, "search_path": writer.own_search_path})
            columns = changed_columns(loser, root)
            kept = root.stored if root.update_triggers else columns
            shape = add_shape(writer, self._run, root, kept)
            with nothing_elsewhere(writer, self._leaf_of):
                counts = writer.row(change_in_place(loser, root, kept, shape), [self._run, number])
            self._compare([counts[0]], [meant], [root.oid])
            writer.set_local({"search_path": ""})
        self._enter(number, round_, started, deleted={}, changed={root.oid: meant} if meant else {})

    def _enter(
        self,
        number: int,
        round_: int,
        started: float,
        *,
        deleted: dict[int, int],
        changed: dict[int, int],
    ) -> None:
        """Enter the batch into the journal."""
        # A group that goes on was counted before.
        (groups,) = self._writer.row(
            f"SELECT count(DISTINCT grp) FROM {LOSER} WHERE level = 0"
            " AND grp IS DISTINCT FROM $1::int4",
            [self._continued],
        )
        enter_batch(
            self._writer,
            run=self._run,
            number=number,
            round_=round_,
            groups=groups,
            deleted=sum(deleted.values()),
            changed=sum(changed.values()),
            seconds=time.monotonic() - started,
        )

    def _compare(
        self, counted: Sequence[int], meant: Sequence[int], oids: Sequence[int]
    ) -> None:
        for count, wanted, oid in zip(counted, meant, oids, strict=True):
            if count != wanted:
                label = self._references.relations[oid].label
                raise UnplannedEffect(
                    f"{wanted} rows of {label} were to be changed and {count} were; a trigger or"
                    " another session stands in between, and the batch was rolled back",
                    hint="Look at the triggers of the table (\\d in psql).",
                )

    def _effects(self, watched: Collection[int]) -> dict[int, tuple[int, int]]:
        """Count rows deleted and updated so far by this session, in some of the tables."""
        if not watched:
            return {}
        found = dict.fromkeys(watched, (0, 0))
        for relid, deleted, updated in self._writer.rows(
            "SELECT o::int8, pg_catalog.pg_stat_get_xact_tuples_deleted(o)"
            " - pg_catalog.pg_stat_get_xact_tuples_inserted(o),"
            " pg_catalog.pg_stat_get_xact_tuples_updated(o)"
            " + pg_catalog.pg_stat_get_xact_tuples_inserted(o) FROM"
            " pg_catalog.unnest($1::int8[]::oid[]) s (o)",
            [sorted(o for c in watched for o in self._references.relations[c].family)],
        ):
            oid = self._leaf_of[relid]
            found[oid] = (found[oid][0] + deleted, found[oid][1] + updated)
        return found

    def _look_for_more(
        self,
        before: dict[int, tuple[int, int]],
        meant_deletes: dict[int, int],
        meant_updates: dict[int, int],
    ) -> None:
        """Raise UnplannedEffect if a cascade found anything to do."""
        for oid, (deleted, updated) in self._effects(before).items():
            gone = deleted - before[oid][0] - meant_deletes.get(oid, 0)
            altered = updated - before[oid][1] - meant_updates.get(oid, 0)
            if gone or altered:
                label = self._references.relations[oid].label
                raise UnplannedEffect(
                    f"a cascade or a trigger would have deleted {gone} and changed {altered} more"
                    f" rows of {label}; the batch was rolled back",
                    hint="Nothing was lost. See the cascade list of pgmend plan, and the table's"
                    " triggers.",
                )

    def _known_shapes(self, deletes: Sequence[int], updates: Sequence[int]) -> Shapes:
        """Enter the shapes of the journal's entries once; a rolled back batch enters anew."""
        writer, relations = self._writer, self._references.relations
        return Shapes(
            whole={
                oid: add_shape(writer, self._run, relations[oid], relations[oid].stored)
                for oid in deletes
            },
            changed={
                oid: add_shape(
                    writer, self._run, relations[oid],
                    self._statements.journaled_columns(relations[oid]),
                )
                for oid in updates
            },
        )
