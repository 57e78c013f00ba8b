"""Where a Mastodon's database stands, and what its next release breaks at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from dedupe.errors import PermissionDenied, UnknownObject, UsageError
from dedupe.lab import Server
from dedupe.lab.instance import create_schema
from migrations_check.releases.data import data, releases

from .apps import Instance, migrations

RULE = "app-migrations"


def test_no_false_alarm_on_the_newest(instance: Instance) -> None:
    create_schema(instance.dsn, "4.7")
    found = instance.check("4.7.0")
    assert (found.installed, found.pending, found.unknown) == ("4.7.0", (), ())
    assert (found.report.findings, found.report.unseen) == ((), ())


def test_no_false_alarm_on_3_5_3(instance: Instance) -> None:
    create_schema(instance.dsn, "3.5.3")
    found = instance.check("3.5.3")
    assert (found.installed, found.pending) == ("3.5.2 to 3.5.3", ())
    assert (found.report.findings, found.report.unseen) == ((), ())
    found = instance.check("4.0.2")
    assert (found.report.findings, len(found.pending)) == ((), 27)
    assert [one.object for one in found.report.unseen] == ["programs"]
    found = instance.check("4.7.0")
    assert {(one.rule, one.severity) for one in found.report.findings} == {
        ("app-steps", "warning")}


def test_every_release_is_known_by_its_set(instance: Instance) -> None:
    for release in releases():
        instance.ran(release.versions)
        found = instance.check(release.first)
        assert found.installed == release.name
        assert found.report.findings == () or release.first == "4.4.0"
        assert found.report.unseen == ()


def test_post_deployment_migrations_that_were_left_out_are_told(instance: Instance) -> None:
    """Scenario: 3.5.0, whose newest post-deployment migration is older than its newest one."""
    at = next(one for one in releases() if one.first == "3.5.0")
    instance.ran(at.versions - (at.post - migrations("3.4.1")))
    found = instance.check("3.5.1")
    assert found.installed == "3.5.0 to 3.5.1"
    ((severity, what, message),) = instance.told("3.5.1", RULE)
    assert (severity, what) == ("warning", "public.schema_migrations")
    assert message.startswith("26 (20210616214135 to 20220310060959) of the post-deployment")
    assert len(found.pending) == 26


def test_an_upgrade_that_stopped_in_the_middle_is_told(instance: Instance) -> None:
    instance.ran(migrations("4.2.0") - {"20230907150100", "20230904134623"})
    told = instance.told("4.2.0", RULE)
    assert [message.partition(" of ")[0] for _, _, message in told] == [
        "1 (20230904134623)", "1 (20230907150100)"]


def test_migrations_of_forks_are_told_apart_and_held_against_nobody(instance: Instance) -> None:
    fork = data()["fork"][0]["versions"]
    instance.ran([*migrations("4.3.0"), *fork, "20990101000000", "20200202020202"])
    found = instance.check("4.3.5")
    assert found.report.findings == ()
    assert found.report.unseen == ()
    assert set(found.unknown) == {*fork, "20990101000000", "20200202020202"}
    assert found.forks == {"glitch-soc": len(fork)}


def test_what_is_newer_than_all_that_is_known_is_unseen(instance: Instance) -> None:
    instance.ran([*migrations("4.7.0"), "20990101000000"])
    report = instance.check("4.7.0").report
    assert report.findings == ()
    assert ["newer than Mastodon 4.7.0" in one.reason for one in report.unseen] == [True]


def test_a_patch_release_that_was_not_looked_at_is_unseen(instance: Instance) -> None:
    instance.ran(migrations("4.2.0"))
    (unseen,) = instance.check("4.2.20").report.unseen
    assert unseen.object == "Mastodon 4.2.20"


def test_a_half_run_concurrent_migration_is_a_blocker_until_its_remedy(
    instance: Instance
) -> None:
    """Scenario: the build of a unique index of 4.0 met duplicates, or was stopped."""
    instance.ran(migrations("3.5.2"))
    instance.run(
        "CREATE TABLE ip_blocks (ip inet, severity int, created_at timestamp,"
        " updated_at timestamp)",
        "INSERT INTO ip_blocks (ip, severity, created_at, updated_at)"
        " SELECT '10.0.0.1', 0, now(), now() FROM generate_series(1, 2)",
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        instance.run("CREATE UNIQUE INDEX CONCURRENTLY index_ip_blocks_on_ip ON ip_blocks (ip)")
    instance.run("TRUNCATE ip_blocks")
    report = instance.check("4.0.2").report
    (found,) = report.blockers
    assert (found.rule, found.object) == (RULE, "public.index_ip_blocks_on_ip")
    assert "20221025171544 is half run: its invalid index is there" in found.message
    remedy = found.remedy.partition(";")[0]
    assert remedy == 'DROP INDEX CONCURRENTLY "public"."index_ip_blocks_on_ip"'
    # What Rails would do fails now, and works after the remedy.
    make = "CREATE UNIQUE INDEX index_ip_blocks_on_ip ON ip_blocks (ip)"
    with pytest.raises(psycopg.errors.DuplicateTable):
        instance.run(make)
    instance.run(remedy)
    assert instance.check("4.0.2").report.findings == ()
    instance.run(make)
    (found,) = instance.check("4.0.2").report.blockers
    assert "its index is there" in found.message
    instance.run("INSERT INTO schema_migrations VALUES ('20221025171544')")
    # Of 4.0 something ran now, and the rest did not.
    assert {severity for severity, _, _ in instance.told("4.0.2", RULE)} == {"warning"}


def test_an_index_that_became_a_constraint_is_only_written_down(instance: Instance) -> None:
    """Scenario: both migrations ran, and the row of the first one got lost."""
    instance.ran(migrations("4.2.0") - {"20230803082451"})
    instance.run("CREATE TABLE preview_cards_statuses (status_id bigint, preview_card_id bigint,"
                 " CONSTRAINT preview_cards_statuses_pkey"
                 " PRIMARY KEY (status_id, preview_card_id))")
    (found,) = instance.check("4.2.0").report.findings
    assert "its constraint is there" in found.message
    instance.run(found.remedy.partition("; then")[0])
    assert instance.check("4.2.0").report.findings == ()


def test_a_column_that_a_half_run_migration_left_is_a_blocker(instance: Instance) -> None:
    instance.ran(migrations("3.5.2"))
    instance.run("CREATE TABLE users (id bigint, role_id bigint)")
    (found,) = instance.check("4.0.2").report.blockers
    assert found.object == "public.users.role_id"
    instance.run(found.remedy.partition(" (look")[0])
    assert instance.check("4.0.2").report.findings == ()


def test_a_hostile_schema_is_only_a_name(instance: Instance) -> None:
    name = 'a"; DROP SCHEMA public; --%s $1'
    instance.ran(migrations("4.2.0") - {"20230803082451"}, name)
    quoted = '"' + name.replace('"', '""') + '"'
    instance.run(
        f"CREATE TABLE {quoted}.preview_cards_statuses (status_id bigint, preview_card_id bigint)",
        f"CREATE INDEX preview_cards_statuses_pkey ON {quoted}.preview_cards_statuses (status_id)",
        f"INSERT INTO {quoted}.preview_cards_statuses VALUES (1, 1), (1, 1)",
    )
    found = instance.check("4.2.0", schema=name)
    assert found.table == f"{name}.schema_migrations"
    assert [(one.rule, one.severity) for one in found.report.findings] == [
        (RULE, "blocker"), ("app-keys", "warning")]
    instance.run(found.report.findings[0].remedy.partition("; then")[0].replace(
        "CONCURRENTLY ", ""))
    assert instance.check("4.2.0", schema=name).report.blockers == ()


def test_the_schema_is_that_of_the_search_path(instance: Instance) -> None:
    instance.ran(migrations("4.1.0"), "mastodon")
    assert instance.check("4.1.0").table == "mastodon.schema_migrations"
    instance.ran(migrations("4.2.0"), "other")
    with pytest.raises(UsageError, match="several schemas have a table schema_migrations"):
        instance.check("4.2.0")
    instance.run(f"ALTER DATABASE {instance.dbname} SET search_path = other, public")
    assert instance.check("4.2.0").table == "other.schema_migrations"
    assert instance.check("4.2.0", schema="mastodon").installed == "4.1.0 to 4.1.1"


def test_what_is_no_mastodon_is_said_to_be_none(instance: Instance) -> None:
    with pytest.raises(UnknownObject, match="there is no table schema_migrations"):
        instance.check("4.7.0")
    instance.ran(["20240101000000"])
    with pytest.raises(UsageError, match="none of Mastodon's migrations"):
        instance.check("4.7.0")
    instance.run("ALTER TABLE schema_migrations RENAME COLUMN version TO number")
    with pytest.raises(UnknownObject, match="has no column version"):
        instance.check("4.7.0")


def test_a_mastodon_before_3_0_has_to_get_there_first(instance: Instance) -> None:
    instance.ran(one for one in migrations("3.0.0") if one < "20190901")
    with pytest.raises(UsageError, match=r"has not reached Mastodon 3\.0\.0") as told:
        instance.check("4.7.0")
    assert "Upgrade to 3.0.0 first" in str(told.value.hint)


def test_there_is_no_way_down(instance: Instance) -> None:
    instance.ran(migrations("4.2.0"))
    with pytest.raises(UsageError, match=r"at Mastodon 4\.2\.0, and 4\.1\.0 is older"):
        instance.check("4.1.0")


def test_a_migration_that_a_fork_took_over_is_no_release(instance: Instance) -> None:
    """Scenario: a fork of 4.2 with one migration of 4.3."""
    instance.ran([*migrations("4.2.0"), "20231018192110"])
    found = instance.check("4.2.0")
    assert [one.severity for one in found.report.findings] == ["warning", "warning"]
    assert found.report.blockers == ()
    with pytest.raises(UsageError, match="there is no way down"):
        instance.check("4.1.0")


def test_a_role_without_the_right_is_told_which(instance: Instance) -> None:
    instance.ran(migrations("4.2.0"), "app")
    instance.run("CREATE ROLE reader_of_app LOGIN")
    dsn = psycopg.conninfo.make_conninfo(instance.dsn, user="reader_of_app")
    from migrations_check import AppAsked, check_mastodon

    asked = AppAsked(run=instance.where / "keys")
    try:
        with pytest.raises(PermissionDenied, match=r"may not read app\.schema_migrations") as told:
            check_mastodon(dsn, "4.2.0", asked)
        assert told.value.hint is not None
        for statement in told.value.hint.removeprefix("As its owner: ").split("; "):
            instance.run(statement)
        assert check_mastodon(dsn, "4.2.0", asked).report.findings == ()
    finally:
        instance.run("DROP OWNED BY reader_of_app", "DROP ROLE reader_of_app")


@pytest.mark.parametrize(("major", "to", "needed"), [
    (13, "4.4.22", None), (13, "4.5.0", 14)])
def test_the_server_is_held_against_the_release(
    servers: Callable[[int], Server], tmp_path: Path, major: int, to: str, needed: int | None
) -> None:
    at = Instance(servers(major), "postgres", tmp_path)
    at.ran(migrations("4.2.0"))
    try:
        told = at.told(to, "app-requirements")
        assert [(one, what) for one, what, _ in told] == (
            [("blocker", "PostgreSQL")] if needed else [])
        assert not needed or f"needs PostgreSQL {needed} or later" in told[0][2]
    finally:
        at.run("DROP TABLE schema_migrations")
