"""The peers: what people do instead, each as its author would run it."""

from __future__ import annotations

from pathlib import Path

from ..program import Program
from ..table import HEAP_ONLY
from .statements import GROUP_BY, GROUP_BY_1GB, WINDOW

_HERE = Path(__file__).parent

SORT = Program(
    name="COPY | sort | uniq",
    script=_HERE / "sorting.py",
    settings=HEAP_ONLY,
    tools=("psql",),
)
ADBC = Program(
    name="ADBC into DuckDB",
    script=_HERE / "columns.py",
    settings=HEAP_ONLY,
    needs=("adbc_driver_postgresql", "pyarrow", "duckdb"),
)
DICTIONARY = Program(
    name="Python script",
    script=_HERE / "dictionary.py",
    settings=HEAP_ONLY,
)
BUILD = Program(
    name="CREATE UNIQUE INDEX",
    script=_HERE / "building.py",
    settings={**HEAP_ONLY, "maintenance_work_mem": "1GB"},
    partial=True,
)

PEERS = (GROUP_BY, GROUP_BY_1GB, WINDOW, SORT, ADBC, DICTIONARY, BUILD)

__all__ = [
    "ADBC",
    "BUILD",
    "DICTIONARY",
    "GROUP_BY",
    "GROUP_BY_1GB",
    "PEERS",
    "SORT",
    "WINDOW",
]
