"""Keys that every row takes part in share their addresses; what is read of each stays the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dedupe.connect import connect
from dedupe.key import MatchKey, ResolvedKey, resolve
from dedupe.scan.chunk import ChunkReader, TooManyRows
from dedupe.scan.packing import Layout
from dedupe.scan.records import Chunk
from dedupe.session import Session
from dedupe.table import Leaf, find_relation, load_table

from ..scanning import Connection

#: a column that is never NULL, plain ones, an expression, two columns, NULLs that are equal
_KEYS = (
    MatchKey.from_columns("t", "a"),
    MatchKey.from_columns("t", "b"),
    MatchKey.from_columns("t", "lower(c)"),
    MatchKey.from_columns("t", "b", "d"),
    MatchKey.from_columns("t", "d", nulls_distinct=False),
    MatchKey.from_columns("t", "c", where="d > 1"),
)
_VALUES = {"a": "n % 7", "b": "n % 5", "c": "'C' || n % 3", "d": "n % 4"}


@pytest.fixture
def prepared(db: Connection) -> Connection:
    """Give a connection to a database with an empty table ``t``."""
    db.execute("CREATE TABLE t (n int NOT NULL, a int8, b int4, c text, d int8)")
    return db


def _fill(db: Connection, rows: int, nulls: dict[str, set[int]]) -> None:
    db.execute("TRUNCATE t")
    columns = ", ".join(
        f"CASE WHEN n = ANY ('{{{','.join(map(str, sorted(nulls.get(name, ()))))}}}') THEN NULL"
        f" ELSE {value} END"
        for name, value in _VALUES.items()
    )
    db.execute(f"INSERT INTO t SELECT n, {columns} FROM generate_series(1, {rows}) n")


def _opened(session: Session, keys: tuple[MatchKey, ...]) -> tuple[Leaf, list[ResolvedKey]]:
    leaf = load_table(session, find_relation(session, "t")).leaves[0]
    return leaf, [resolve(session, key) for key in keys]


def _same(joint: Chunk, alone: list[Chunk]) -> None:
    for records, chunk in zip(joint.keys, alone, strict=True):
        (expected,) = chunk.keys
        assert np.array_equal(records.digests, expected.digests)
        assert np.array_equal(records.addresses, expected.addresses)
        assert records.left_out == expected.left_out
        assert joint.rows == chunk.rows


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.integers(0, 12),
    nulls=st.dictionaries(st.sampled_from("abcd"), st.sets(st.integers(1, 12), max_size=3)),
    chosen=st.sets(st.integers(0, len(_KEYS) - 1), min_size=2),
)
def test_many_keys_are_read_as_each_alone(
    database: str,
    prepared: Connection,
    rows: int,
    nulls: dict[str, set[int]],
    chosen: set[int],
) -> None:
    """Scenario: any number of rows, NULLs anywhere, the first and the last row among them.
    Outcome: one reader for many keys gives what a reader for each key gives, twice.
    """
    _fill(prepared, rows, nulls)
    with connect(database).open() as session:
        leaf, keys = _opened(session, tuple(_KEYS[place] for place in sorted(chosen)))
        alone = [ChunkReader([key]).read(session, leaf, 0, None) for key in keys]
        reader = ChunkReader(keys)
        for _ in range(2):
            _same(reader.read(session, leaf, 0, None, most=12), alone)


def test_a_null_is_looked_at_once(
    database: str, prepared: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: five keys; in the middle of the table one of them meets NULLs.
    Outcome: one range is read twice; from then on that key has its own addresses, and the
    others share on.
    """
    _fill(prepared, 10_000, {"d": set(range(5_000, 5_010))})
    layouts: list[Layout] = []
    ask = ChunkReader._ask

    def told(self: ChunkReader, *arguments: object) -> Chunk:
        layouts.append(arguments[-1])  # type: ignore[arg-type]
        return ask(self, *arguments)  # type: ignore[arg-type]

    with connect(database).open() as session:
        leaf, keys = _opened(session, _KEYS[:5])
        monkeypatch.setattr(ChunkReader, "_ask", told)
        reader = ChunkReader(keys)
        chunks = [
            reader.read(session, leaf, block << 16, block + 8 << 16)
            for block in range(0, leaf.blocks, 8)
        ]
    assert sum(chunk.rows for chunk in chunks) == 10_000
    assert len(layouts) == len(chunks) + 1
    assert layouts[0] == Layout(apart=(0,), sharing=((1, 2), (3, 4)))
    assert layouts[-1] == Layout(apart=(0, 3), sharing=((1, 2), (4,)))


def test_too_many_rows_send_no_digests(database: str, prepared: Connection) -> None:
    """Scenario: a range holds more rows than may be read at once.
    Outcome: refused, and with one row less it is read.
    """
    _fill(prepared, 101, {})
    with connect(database).open() as session:
        leaf, keys = _opened(session, _KEYS[:5])
        reader = ChunkReader(keys)
        with pytest.raises(TooManyRows):
            reader.read(session, leaf, 0, None, most=100)
        assert reader.read(session, leaf, 0, None, most=101).rows == 101
