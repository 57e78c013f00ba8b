"""A scene: a few rows that belong together, and what a repair has to make of each of them.

A scene is told once, by hand, and planted in many copies. Its rows point at one another only.
The default of what becomes of a row: it stays as it is, but that whatever names a row that
was merged names the one that took its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .manifest import Fate, Group, Ids, Release, Row, Value

#: ids from here on are planted ones, in every table: the same number means a row in many of
#: them, so a reference that is taken for another one's does not go unnoticed
PLANTED = 1_700_000_000_000 << 16
#: by what a row is found again in tables without a column ``id``
FOUND_BY: dict[str, tuple[str, ...]] = {
    "global_follow_recommendations": ("account_id",),
    "statuses_tags": ("status_id", "tag_id"),
    "accounts_tags": ("account_id", "tag_id"),
    "preview_cards_statuses": ("status_id", "preview_card_id"),
}
_EARLY = "2024-01-01 00:00:00"


@dataclass(frozen=True, slots=True)
class Ref:
    """One row of a scene: the number of those of its table that come before it."""

    table: str
    number: int


@dataclass(slots=True)
class _Planned:
    ref: Ref
    #: as planted
    columns: dict[str, Any]
    #: as expected, where that is more than following the merged rows
    expected: dict[str, Any] = field(default_factory=dict)
    fate: Fate = "stays"
    into: Ref | None = None
    because: str = ""
    several: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlannedGroup:
    step: str
    index: str
    key: Mapping[str, Any]
    members: tuple[Ref, ...]
    survivor: Ref
    fates: tuple[Literal["deleted", "renamed", "blanked"], ...]


class Scene:
    """Rows of one copy, told in the order of their ids."""

    def __init__(self, name: str, release: Release) -> None:
        self.name = name
        #: whether it is of the newer release
        self.new = release == "4.7"
        self.sizes: dict[str, int] = {}
        self._rows: dict[Ref, _Planned] = {}
        self._groups: list[_PlannedGroup] = []
        self._further: list[tuple[str, dict[str, Any]]] = []

    def text(self, text: str) -> str:
        """Write a text that no other scene and no other copy has."""
        return f"{self.name.replace(' ', '-')}-{text}-{{n}}"

    def add(self, table: str, /, **columns: Any) -> Ref:
        """Plant a row; a value may be a row of the scene, or a tuple of such."""
        number = self.sizes.get(table, 0)
        self.sizes[table] = number + 1
        ref = Ref(table, number)
        self._rows[ref] = _Planned(ref, columns)
        return ref

    def plant(self, row: Ref, **columns: Any) -> None:
        """Plant further values of a row, such as rows that came after it."""
        self._rows[row].columns.update(columns)

    def becomes(self, row: Ref, **columns: Any) -> None:
        """Expect a row to stay, with other values than it has."""
        self._rows[row].expected.update(columns)

    def merged(self, row: Ref, into: Ref, **taken: Any) -> None:
        """Expect a row to be gone, and ``into`` to have its place and to say what was taken."""
        planned = self._rows[row]
        planned.fate, planned.into = "merged", into
        self.becomes(into, **taken)

    def gone(self, *rows: Ref, because: str) -> None:
        """Expect rows to be gone without another one in their place."""
        for row in rows:
            self._rows[row].fate, self._rows[row].because = "gone", because

    def open(self, *rows: Ref) -> None:
        """Expect nothing of rows, but that what they say does not dangle."""
        for row in rows:
            self._rows[row].fate = "any"

    def exists(self, table: str, /, **columns: Any) -> None:
        """Expect that exactly one row says this, whichever it is."""
        self._further.append((table, columns))

    def several(self, *rows: Ref) -> None:
        """Let several rows say the same afterwards, where no key of the table forbids it."""
        for row in rows:
            self._rows[row].several = True

    def group(
        self,
        step: str,
        index: str,
        key: str,
        members: tuple[Ref, ...],
        survivor: Ref,
        fate: Literal["deleted", "renamed", "blanked"] = "deleted",
    ) -> None:
        """Expect a group: of its members one stays. Losers that are deleted are merged.

        ``key``: the columns of the key, with spaces between. Losers that are neither merged
        nor changed have to be told of one by one.
        """
        columns = {name: self._rows[members[0]].columns.get(name) for name in key.split()}
        losers = [one for one in members if one != survivor]
        self._groups.append(
            _PlannedGroup(
                step=step, index=index, key=columns, members=members, survivor=survivor,
                fates=tuple(fate for _ in losers),
            )
        )
        if fate == "deleted":
            for one in losers:
                if self._rows[one].fate == "stays":
                    self.merged(one, survivor)

    def planted(
        self, starts: Mapping[str, int]
    ) -> list[tuple[str, dict[str, Value]]]:
        """Return table and columns of each row; ``starts``: the first id by table."""
        found = []
        for ref, row in self._rows.items():
            columns = {} if ref.table in FOUND_BY else {"id": self._value(ref, starts)}
            columns |= {name: self._value(one, starts) for name, one in row.columns.items()}
            found.append((ref.table, columns))
        return found

    def expected(
        self, starts: Mapping[str, int], copies: int
    ) -> tuple[list[Row], list[Group]]:
        """Return what is expected of each row and group."""
        rows = []
        for ref, row in self._rows.items():
            values = {
                name: self._value(self._after(one), starts)
                for name, one in (row.columns | row.expected).items()
            }
            pair = FOUND_BY.get(ref.table)
            found_by: dict[str, Value]
            if pair is None:
                found_by = {"id": self._value(ref, starts)}
            elif row.fate == "stays":
                found_by = {name: values[name] for name in pair}
            else:
                found_by = {name: self._value(row.columns[name], starts) for name in pair}
            into = self._value(self._after(row.into), starts) if row.into else None
            rows.append(
                Row(
                    table=ref.table, scene=self.name, copies=copies, key=found_by, fate=row.fate,
                    values=values if row.fate == "stays" else {},
                    into=into if isinstance(into, Ids) else None,
                    because=row.because, several=row.several,
                )
            )
        rows += [
            Row(
                table=table, scene=self.name, copies=copies, fate="stays", values={},
                key={name: self._value(self._after(one), starts) for name, one in says.items()},
            )
            for table, says in self._further
        ]
        groups = [
            Group(
                step=one.step, index=one.index, table=one.survivor.table, scene=self.name,
                copies=copies, fates=one.fates, members=tuple(
                    self._ids(member, starts) for member in one.members
                ),
                key={name: self._value(value, starts) for name, value in one.key.items()},
                survivor=self._ids(self._after(one.survivor), starts),
            )
            for one in self._groups
        ]
        return rows, groups

    def _after(self, value: Any) -> Any:
        """Follow the merged rows; an array does not name the same row twice by that."""
        if isinstance(value, Ref):
            row = self._rows[value]
            return self._after(row.into) if row.into is not None else value
        if isinstance(value, tuple):
            return tuple(dict.fromkeys(map(self._after, value)))
        return value

    def _value(self, value: Any, starts: Mapping[str, int]) -> Value:
        if isinstance(value, Ref):
            return self._ids(value, starts)
        if isinstance(value, tuple):
            return tuple(self._value(one, starts) for one in value)
        told: Value = value
        return told

    def _ids(self, ref: Ref, starts: Mapping[str, int]) -> Ids:
        return Ids(starts[ref.table] + ref.number, self.sizes[ref.table])

    # ------------------------------------------------------------------ rows that every scene needs

    def account(self, name: str, /, **columns: Any) -> Ref:
        """Plant a remote account that is nobody's twin unless ``columns`` make it one."""
        who = self.text(name)
        return self.add("accounts", **({
            "username": who, "domain": "elsewhere.example", "public_key": f"key of {who}",
            "uri": f"https://elsewhere.example/users/{who}", "updated_at": _EARLY,
        } | columns))

    def status(self, by: Ref, name: str, /, **columns: Any) -> Ref:
        """Plant a post."""
        return self.add("statuses", **({
            "account_id": by, "text": self.text(name),
            "uri": f"https://elsewhere.example/statuses/{self.text(name)}",
        } | columns))

    def post_tags(self, status: Ref, *tags: Ref) -> list[Ref]:
        """Plant the tags of a post."""
        return [self.add("statuses_tags", status_id=status, tag_id=tag) for tag in tags]

    def tag(self, name: str, /, **columns: Any) -> Ref:
        """Plant a tag."""
        return self.add("tags", **({"name": self.text(name)} | columns))

    def notice(self, of: Ref, kind: str, /, *, to: Ref, by: Ref, **columns: Any) -> Ref:
        """Plant a notification about a row."""
        return self.add(
            "notifications", activity_id=of, activity_type=kind, account_id=to,
            from_account_id=by, type=kind.lower(), **columns,
        )
