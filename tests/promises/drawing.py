"""Draws the databases of ``schemas``: which tables, references, keys and rows there are."""

from __future__ import annotations

import uuid
from dataclasses import replace

from hypothesis import strategies as st

from dedupe.lab.damage import Damage
from dedupe.policy import SoftReference

from .filling import HOSTILE, Filler, Link
from .schemas import PAYLOADS, Case, Column, Reference, Table, Unique

ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")
DEFERRABLE = ("", "", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED")
TEXT_KEYS = ("O'Neil", "a b", "", "ä %s", '"', "k\\", "{}", "N")
KEEPS = (
    ("oldest",),
    ("newest",),
    ("score",),
    ("score desc",),
    ("score % 2", "code desc"),
    ("coalesce(score, 0) asc", "newest"),
)


class Drawer(Filler):
    """Draws one case."""

    #: columns that move are part of a key that others reference
    hard = False

    def case(self) -> Case:
        count = self.draw(st.integers(2, 6))
        constraint = self.chance(4)
        self.root(constraint)
        for number in range(1, count):
            self.child(f"t{number}")
        if self.chance(3):
            self.refer("t0", "t0", "up")
        others = [table.name for table in self.tables[1:] if table.has_id]
        if others and self.chance(3):
            self.refer("t0", self.some(*others), "round")
        for table in self.tables[1:]:
            self.key_over_links(table)
        for table in self.tables:
            self.fill(table)
        on_collision = {
            table.label: self.some("newest", "oldest", "no", "no desc")
            for table in self.moving()
            if self.chance(4)
        }
        return Case(
            tables=self.tables,
            soft=self.soft,
            damage=self.some(Damage.INDEXED_TWICE, Damage.LOST_ENTRIES),
            constraint=constraint,
            keep=self.some(*KEEPS),
            on_collision=on_collision,
            hard=self.hard,
        )

    def moving(self) -> list[Table]:
        """Find the tables with rows that a repair may re-point."""
        losing, moving = {"t0"}, []
        for table in self.tables[1:] * len(self.tables):
            columns = {c for r in table.references if r.parent in losing for c in r.columns}
            columns |= {soft.column for soft in self.soft if soft.table == table.label}
            if columns and table not in moving:
                moving.append(table)
            if any(columns & set(unique.columns) for unique in table.uniques):
                losing.add(table.name)
        return moving

    def root(self, constraint: bool) -> None:
        """Draw ``t0``: one to three groups of two to four rows, and rows that are alone."""
        sizes = self.draw(st.lists(st.integers(2, 4), min_size=1, max_size=3))
        alone = self.draw(st.integers(0, 4))
        numeric = self.draw(st.booleans())
        keys = [str(7 - 5 * n) for n in range(8)] if numeric else list(TEXT_KEYS)
        self.random.shuffle(keys)
        texts: list[str | None] = []
        for size in sizes:
            texts += [keys.pop()] * size
        texts += [keys.pop() for _ in range(alone)] + [None] * self.draw(st.integers(0, 2))
        always = "GENERATED ALWAYS AS IDENTITY"
        identity = self.some("", "", always, always.replace("ALWAYS", "BY DEFAULT"))
        columns = [
            Column(name="no", type="int4", rest="NOT NULL"),
            Column(name="id", type="int8", rest=identity),
            Column(name="code", type="int4", rest="NOT NULL"),
            Column(name="k", type="int8" if numeric else "text"),
            Column(name="score", type="int4"),
            *self.payloads(),
        ]
        order = self.draw(st.permutations(range(len(texts))))
        ids = [(-1) ** n * (n + 1) * self.some(1, 1 << 33) for n in range(len(texts))]
        self.heads["t0"] = [
            {
                "no": str(place),
                "id": str(ids[place]),
                "code": str(100 + (place * 7) % 50),
                "k": texts[number],
                "score": self.some(None, "1", "2", "-3"),
            }
            for place, number in enumerate(order)
        ]
        many = {text for text in texts if text is not None and texts.count(text) > 1}
        self.twins = [row for row in self.heads["t0"] if row["k"] in many]
        table = Table(name="t0", columns=columns)
        key = Unique(name="t0_k", columns=("k",), form="constraint" if constraint else "index")
        table.uniques += [*self.own_keys("t0"), key]
        self.tables.append(table)
        self.links["t0"] = []

    def own_keys(self, name: str) -> list[Unique]:
        """Give the keys that others reference; nothing in them moves."""
        return [
            Unique(name=f"{name}_pkey", columns=("id",), form="primary"),
            Unique(name=f"{name}_code", columns=("code",)),
            Unique(name=f"{name}_both", columns=("id", "code")),
        ]

    def payloads(self) -> list[Column]:
        names = self.draw(st.lists(st.sampled_from(HOSTILE), max_size=3, unique=True))
        columns = [Column(name=name, type=self.some(*PAYLOADS)) for name in names]
        if self.chance(4):
            rest = "GENERATED ALWAYS AS (no * 2) STORED"
            columns.append(Column(name="doubled", type="int4", rest=rest, computed=True))
        return columns

    def child(self, name: str) -> None:
        """Draw a table with references to ``t0``, to earlier tables or to itself."""
        own = not self.chance(4)
        table = Table(name=name, columns=[Column(name="no", type="int4", rest="NOT NULL")])
        self.links[name] = []
        rows = self.some(1, 4, 6, 8, 10)
        self.heads[name] = [{"no": str(number)} for number in range(rows)]
        kind = self.some("int8", "int8", "text", "uuid")
        if own:
            for number, row in enumerate(self.heads[name]):
                row["id"] = {
                    "int8": str(500 - 13 * number),
                    "text": f"{name}'{number} ü ",
                    "uuid": str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15) << 60)),
                }[kind]
                row["code"] = str(100 + number)
            table.columns += [
                Column(name="id", type=kind, rest="NOT NULL"),
                Column(name="code", type="int4", rest="NOT NULL"),
            ]
            table.uniques += self.own_keys(name)
        self.tables.append(table)
        parents = [earlier.name for earlier in self.tables if earlier.has_id]
        first = self.some("t0", "t0", *parents)
        if not own and first == name:
            first = "t0"
        self.refer(name, first, "a", must=not own)
        if self.chance(3):
            self.refer(name, self.some(*parents), "b")
        table.columns += [
            Column(name="slot", type="int4", rest="" if own else "NOT NULL"),
            Column(name="word", type="text"),
            *self.payloads(),
        ]
        if not own:
            link = self.links[name][0]
            key = (*link.reference.columns, "slot")
            table.uniques.append(Unique(name=f"{name}_pkey", columns=key, form="primary"))
        if self.chance(3):
            self.soften(table)

    def refer(self, name: str, parent: str, tag: str, *, must: bool = False) -> None:
        """Draw a foreign key from one table to another."""
        table = next(one for one in self.tables if one.name == name)
        target = next(one for one in self.tables if one.name == parent)
        kinds = {column.name: column.type for column in target.columns}
        nullable = not must and not self.chance(3)
        parent_columns = self.some(("id",), ("id",), ("id",), ("code",), ("id", "code"))
        natural = self.natural_key(target) if name not in {"t0", parent} else None
        if natural is not None and self.chance(3):
            parent_columns, self.hard = natural, True
        prefix = self.some("", "", "r %s ")
        columns = tuple(f"{prefix}{tag}_{column}".replace('"', "") for column in parent_columns)
        actions = ACTIONS if nullable else ACTIONS[:3]
        reference = Reference(
            name=f"{name}_{tag}",
            columns=columns,
            parent=parent,
            parent_columns=parent_columns,
            on_delete=self.some(*actions),
            on_update=self.some(*actions),
            deferrable=self.some(*DEFERRABLE),
            match="FULL" if len(columns) > 1 and self.chance(4) else "SIMPLE",
            indexed=self.draw(st.booleans()),
        )
        rest = "" if nullable else "NOT NULL"
        table.columns += [
            Column(name=mine, type=kinds[theirs], rest=rest)
            for mine, theirs in zip(columns, parent_columns, strict=True)
        ]
        table.references.append(reference)
        self.links[name].append(Link(reference=reference, nullable=nullable))
        if len(columns) > 1 and parent_columns == ("id", "code") and self.chance(4):
            # A second foreign key over one of the same columns.
            table.references.append(
                replace(
                    reference,
                    name=f"{name}_{tag}_again",
                    columns=columns[:1],
                    parent_columns=("id",),
                    match="SIMPLE",
                )
            )

    def natural_key(self, target: Table) -> tuple[str, ...] | None:
        """Make a key over a column that moves, for others to reference."""
        links = self.links[target.name]
        if target.name == "t0" or not links or not any(c.name == "slot" for c in target.columns):
            return None
        columns = (*links[0].reference.columns, "slot")
        if not any(unique.columns == columns and not unique.partial for unique in target.uniques):
            if not self.chance(3):
                return None
            target.uniques.append(Unique(name=f"{target.name}_natural", columns=columns))
        return columns

    def soften(self, table: Table) -> None:
        """Draw references that the catalog does not know."""
        name = table.name
        for kind in self.draw(
            st.lists(st.sampled_from(["pair", "array", "jsonb", "text"]), min_size=1, unique=True)
        ):
            facts = {"table": table.label, "parent": "public.t0", "parent_column": "id"}
            if kind == "pair":
                whole = self.some("int8", "text")
                table.columns += [
                    Column(name="owner_type", type="text"),
                    Column(name="owner_id", type=whole),
                ]
                pair = {"column": "owner_id", "type_column": "owner_type"}
                self.soft.append(SoftReference(**facts, **pair, type_value="T'0"))
                if self.draw(st.booleans()):
                    table.uniques.append(
                        Unique(name=f"{name}_owner", columns=("owner_type", "owner_id", "slot"))
                    )
            elif kind == "array":
                table.columns.append(Column(name="ids", type="int8[]"))
                self.soft.append(SoftReference(**facts, column="ids", kind="array"))
            elif kind == "jsonb":
                table.columns.append(Column(name="doc", type="jsonb"))
                path = self.some(("id",), ("a b", "id'"))
                self.soft.append(SoftReference(**facts, column="doc", kind="jsonb", path=path))
            else:
                table.columns.append(Column(name="txt", type="text"))
                self.soft.append(SoftReference(**facts, column="txt"))

    def key_over_links(self, table: Table) -> None:
        """Draw keys of a child's own that re-pointing can make collide."""
        links = self.links[table.name]
        if not self.chance(4):
            link = self.some(*links)
            columns = link.reference.columns
            flavour = self.some("slot", "slot", "alone", "word", "partial", "both")
            form = self.some("constraint", "index", "deferrable")
            name = f"{table.name}_own"
            if flavour == "alone":
                if not link.nullable and link.reference.parent != table.name:
                    self.heads[table.name][len(self.heads[link.reference.parent]) :] = []
                table.uniques.append(Unique(name=name, columns=columns, form=form))
            elif flavour == "word":
                key = (*columns, "word")
                table.uniques.append(
                    Unique(name=name, columns=key, form="index", lowered=self.chance(2))
                )
            elif flavour == "both" and len(links) > 1:
                both = (*links[0].reference.columns, *links[1].reference.columns)
                table.uniques.append(Unique(name=name, columns=both, form=form))
            else:
                partial = flavour == "partial"
                key = (*columns, "slot")
                table.uniques.append(
                    Unique(
                        name=name, columns=key, form="index" if partial else form, partial=partial
                    )
                )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a small database with duplicates and the rules of its repair."""
    return Drawer(draw).case()
