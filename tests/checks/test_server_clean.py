"""A sound server is said to be sound, on every major."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Literal

import pytest

from dedupe.lab import Server
from dedupe.lab.instance import create_schema

from .conftest import Checked

#: how the older servers of the tests really are
_TRUE = ("data_checksums", "fsync")


def alarms(checked: Checked) -> list[str]:
    report = checked.check(quick=False)
    return [
        f"{one.rule} {one.object}: {one.message}" for one in report.findings
        if checked.major == 18 or one.object not in _TRUE
    ]


def test_no_false_alarm_on_pgbench(
    checked: Checked, servers: Callable[[int], Server]
) -> None:
    bindir = servers(18).bindir
    assert bindir is not None
    subprocess.run([bindir / "pgbench", "-i", "-q", "-d", checked.dsn], check=True,
                   capture_output=True)
    assert checked.run("SELECT count(*) FROM pgbench_accounts") == [(100_000,)]
    assert alarms(checked) == []


@pytest.mark.parametrize("release", [pytest.param("3.5.3", marks=pytest.mark.slow), "4.7"])
def test_no_false_alarm_on_mastodon(
    checked: Checked, release: Literal["3.5.3", "4.7"]
) -> None:
    if checked.major < 14:
        pytest.skip("the schema was dumped from a newer server")
    create_schema(checked.dsn, release)
    assert alarms(checked) == []
