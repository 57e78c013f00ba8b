"""A sound server is said to be sound, on every major."""

from __future__ import annotations

from typing import Any

import pytest

from dedupe.lab.instance import create_schema

from .conftest import Checked

#: how the older servers of the tests really are
_TRUE = ("data_checksums", "fsync")

PGBENCH = (
    ("CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp,"
    " filler char(22))"),
    ("CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84),"
    " PRIMARY KEY (tid)) WITH (fillfactor=100)"),
    ("CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84),"
    " PRIMARY KEY (aid)) WITH (fillfactor=100)"),
    "INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, 10000) n",
    "INSERT INTO pgbench_tellers SELECT n, 1, 0, '' FROM generate_series(1, 10) n",
)


def alarms(checked: Checked) -> list[str]:
    report = checked.check(quick=False)
    return [
        f"{one.rule} {one.object}: {one.message}" for one in report.findings
        if checked.major == 18 or one.object not in _TRUE
    ]


def test_no_false_alarm_on_pgbench(checked: Checked) -> None:
    checked.run(*PGBENCH)
    assert alarms(checked) == []


@pytest.mark.parametrize("schema", ["3.5.3", "4.7"])
def test_no_false_alarm_on_mastodon(checked: Checked, schema: Any) -> None:
    if checked.major < 14:
        pytest.skip("the schema was dumped from a newer server")
    create_schema(checked.dsn, schema)
    assert alarms(checked) == []
