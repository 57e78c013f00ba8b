"""Slots and subscriptions: what an upgrade loses, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from dedupe.lab import Server
from migrations_check import Asked, Finding, check_server

from .servers import of_major, run


@pytest.fixture(params=[18, 17, 15, 13, 10], ids=str, scope="module")
def publisher(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server whose slots and subscriptions work; 17 is the first that keeps them."""
    with of_major(request.param, {"wal_level": "logical", "max_wal_senders": "8"}) as started:
        yield started


def told(server: Server, **asked: Any) -> list[Finding]:
    report = check_server(server.dsn(), Asked(**{"to": 18, "quick": True, **asked})).report
    assert not [one for one in report.unseen if one.rule == "replication"]
    return [one for one in report.findings if one.rule == "replication"]


def found(server: Server, **asked: Any) -> list[tuple[str, str]]:
    return [(one.object, one.severity) for one in told(server, **asked)]


def test_slots_and_subscriptions(publisher: Server) -> None:
    assert found(publisher) == []
    run(publisher.dsn(), "SELECT pg_create_physical_replication_slot('standby')",
        "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')",
        "CREATE SUBSCRIPTION taken CONNECTION 'dbname=nowhere' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE)")
    physical = ("standby", "warning")
    logical = [("feed", "warning"), physical, ("postgres/taken", "warning")]
    said = told(publisher)
    expected = {18: [], 17: [physical]}.get(publisher.version // 10000, logical)
    assert [(one.object, one.severity) for one in said] == expected
    assert found(publisher, to=publisher.version // 10000) == []
    run(publisher.dsn(), "DROP SUBSCRIPTION taken",
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    for one in said:
        if "SELECT pg_create" in one.remedy:
            run(publisher.dsn(), one.remedy.partition("after it: ")[2])
    assert found(publisher) == [one for one in expected if one[0] != "postgres/taken"]
    run(publisher.dsn(), "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_slots_that_lost_their_log(publisher: Server) -> None:
    """Scenario: the server may keep 1 MB for slots, writes more, and checkpoints."""
    major = publisher.version // 10000
    if major not in {17, 15, 13}:
        pytest.skip("slots keep their log before 13, and nothing is newer than 18")
    dsn = publisher.dsn()
    run(dsn, "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')",
        "SELECT pg_create_physical_replication_slot('standby', true)",
        "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    for _ in range(3):
        run(dsn, "SELECT pg_logical_emit_message(false, 'x', repeat('y', 1000))",
            "SELECT pg_switch_wal()", "CHECKPOINT")
    assert run(dsn, "SELECT DISTINCT wal_status FROM pg_replication_slots") == [("lost",)]
    said = told(publisher)
    logical = "blocker" if major == 17 else "warning"
    assert [(one.object, one.severity) for one in said] == [
        ("feed", logical), ("standby", "warning")]
    assert all("lost its write-ahead log" in one.message for one in said)
    run(dsn, *(one.remedy.partition(", and")[0] for one in said),
        "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
    assert found(publisher) == []


def test_subscriptions_that_pg_upgrade_refuses(publisher: Server) -> None:
    """Scenario: one has no origin, one cannot end its first copy, for a row is there already."""
    if publisher.version // 10000 != 17:
        pytest.skip("subscriptions are carried over from 17 on, and nothing is newer than 18")
    here, there = publisher.dsn(), publisher.create_database("published")
    table = "CREATE TABLE copied (id int PRIMARY KEY)"
    run(there, table, "INSERT INTO copied VALUES (1)", "CREATE PUBLICATION p FOR TABLE copied",
        "SELECT pg_create_logical_replication_slot('fed', 'pgoutput')")
    run(here, table, "INSERT INTO copied VALUES (1)",
        f"CREATE SUBSCRIPTION fed CONNECTION '{there}' PUBLICATION p WITH (create_slot = false)",
        "CREATE SUBSCRIPTION lost CONNECTION 'dbname=nowhere' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE)",
        "SELECT pg_replication_origin_drop('pg_' || oid) FROM pg_subscription"
        " WHERE subname = 'lost'")
    wait(here, "SELECT srsubstate = 'd' FROM pg_subscription_rel")
    said = told(publisher)
    assert [(one.object, one.severity) for one in said] == [
        ("postgres/lost", "blocker"), ("postgres/fed", "blocker")]
    assert "replication origin" in said[0].message
    assert "copied" in said[1].message
    run(here, *said[0].remedy.partition("before: ")[2].split("; "), "TRUNCATE copied")
    wait(here, "SELECT srsubstate = 'r' FROM pg_subscription_rel")
    assert found(publisher) == []
    run(here, "DROP SUBSCRIPTION fed", "DROP TABLE copied")
    publisher.drop_database("published")


def wait(dsn: str, question: str) -> None:
    """Wait until a question is answered with yes."""
    for _ in range(300):
        if run(dsn, question) == [(True,)]:
            return
        time.sleep(0.1)
    pytest.fail(f"never true: {question}")
