"""The rows, files and programs that a release of Mastodon breaks at."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from dedupe import Run
from dedupe.errors import NotARunDirectory, RunMismatch, UsageError
from migrations_check.releases.rules import app_requirements

from .apps import Instance, migrations

#: accounts that share a URI, and some that have none
ACCOUNTS = (
    "CREATE TABLE accounts (id bigint PRIMARY KEY, username varchar, domain varchar, uri varchar)",
    ("INSERT INTO accounts VALUES (1, 'a', NULL, ''), (2, 'b', NULL, ''),"
    " (3, 'c', 'x.example', 'https://x.example/3'), (4, 'd', 'x.example', 'https://x.example/4'),"
    " (5, 'e', 'x.example', 'https://x.example/3')"),
)
SECRETS = "".join(
    f"ACTIVE_RECORD_ENCRYPTION_{name}=hush\r\n"
    for name in ("DETERMINISTIC_KEY", "KEY_DERIVATION_SALT", "PRIMARY_KEY")
)


def test_duplicates_of_a_key_to_come_are_blockers(instance: Instance) -> None:
    """Scenario: 4.6 to 4.7, whose migration merges accounts with one URI on its own."""
    instance.ran(migrations("4.6.0"))
    instance.run(*ACCOUNTS)
    (found,) = instance.check("4.7.0").report.blockers
    assert (found.rule, found.object) == ("app-keys", "public.index_accounts_on_uri")
    assert "2 rows of public.accounts share 1 key (uri)" in found.message
    (run,) = [one for one in (instance.where / "keys").iterdir() if one.is_dir()]
    assert f"pgmend plan {run} --key index_accounts_on_uri" in found.remedy
    assert [member.pk for group in Run.open(run).groups() for member in group.members] == [
        {"id": "3"}, {"id": "5"}]
    instance.run("DELETE FROM accounts WHERE id = 5")
    assert instance.check("4.7.0").report.blockers == ()
    # Nothing of it is to come where it ran.
    instance.run(ACCOUNTS[1].replace("VALUES", "SELECT 9, 'e', 'x', 'https://x.example/3' --"))
    instance.ran(migrations("4.7.0"))
    assert instance.check("4.7.0").report.findings == ()


@pytest.mark.parametrize(("before", "to", "table", "rows", "severity", "index"), [
    ("3.1.4", "3.2.2", "accounts (username varchar, domain varchar)",
     "('Anna', NULL), ('anna', '')", "blocker", "index_accounts_on_username_and_domain_lower"),
    ("3.3.0", "3.4.1", "tags (name varchar)", "('Cats'), ('cats')", "blocker",
     "index_tags_on_name_lower_btree"),
    ("3.4.1", "3.5.3", "statuses (uri varchar)", "('x'), ('x'), (NULL), (NULL)", "blocker",
     "index_statuses_on_uri"),
    ("4.2.0", "4.3.0", "webauthn_credentials (user_id bigint, nickname varchar)",
     "(1, 'key'), (1, 'key'), (2, 'key')", "blocker",
     "index_webauthn_credentials_on_user_id_and_nickname"),
    ("4.2.0", "4.3.0", "account_aliases (account_id bigint, uri varchar)",
     "(1, 'u'), (1, 'u')", "warning", "index_account_aliases_on_account_id_and_uri"),
    ("4.3.0", "4.4.0", "settings (var varchar, thing_type varchar, thing_id bigint)",
     ("('a', NULL, NULL), ('a', NULL, NULL), ('b', 'User', 1), ('b', 'User', 2),"
     " ('boost_modal', NULL, NULL), ('boost_modal', NULL, NULL)"), "blocker",
     "index_settings_on_var"),
])
def test_each_key_counts_the_rows_that_its_index_would(
    instance: Instance, before: str, to: str, table: str, rows: str, severity: str, index: str
) -> None:
    instance.ran(migrations(before))
    instance.run(f"CREATE TABLE {table}", f"INSERT INTO {table.partition(' ')[0]} VALUES {rows}")
    ((told, what, message),) = instance.told(to, "app-keys")
    assert (told, what) == (severity, f"public.{index}")
    assert "2 rows" in message


def test_what_is_not_there_yet_is_no_finding(instance: Instance) -> None:
    """Scenario: a table without the column that the key will be of, and no other table."""
    instance.ran(migrations("4.3.0"))
    instance.run("CREATE TABLE settings (var varchar)", "INSERT INTO settings VALUES ('a'), ('a')")
    assert instance.told("4.4.1", "app-keys") == []
    assert not (instance.where / "keys").exists()


def test_quick_reads_no_rows_and_says_so(instance: Instance) -> None:
    instance.ran(migrations("4.6.0"))
    instance.run(*ACCOUNTS)
    report = instance.check("4.7.0", quick=True).report
    assert report.blockers == ()
    assert [(one.rule, one.left_out) for one in report.unseen] == [
        ("app-keys", True), ("app-steps", True)]
    assert not (instance.where / "keys").exists()


def test_a_table_that_may_not_be_read_is_unseen(instance: Instance) -> None:
    instance.ran(migrations("4.6.0"))
    instance.run(*ACCOUNTS, "CREATE ROLE half_reader LOGIN",
                 "GRANT SELECT ON schema_migrations TO half_reader")
    try:
        dsn = psycopg.conninfo.make_conninfo(instance.dsn, user="half_reader")
        from migrations_check import AppAsked, check_mastodon

        report = check_mastodon(dsn, "4.7.0", AppAsked(run=instance.where / "keys")).report
        assert [one.rule for one in report.unseen] == ["app-keys", "app-steps"]
        assert all("accounts" in one.reason for one in report.unseen)
        assert report.blockers == ()
    finally:
        instance.run("DROP OWNED BY half_reader", "DROP ROLE half_reader")


def test_rows_that_the_release_deletes_are_counted(instance: Instance) -> None:
    instance.ran(migrations("4.6.0"))
    instance.run(*ACCOUNTS, "DELETE FROM accounts WHERE id = 5",
                 "INSERT INTO accounts VALUES (6, 'f', 'x', ''), (7, 'g', 'x', NULL)")
    told = [message for _, what, message in instance.told("4.7.0", "app-steps")
            if what == "public.accounts"]
    assert told == [("2 rows: remote accounts without a URI are deleted, with all that hangs on"
                    " them, by the migration 20260720124731")]


@pytest.mark.parametrize(("text", "blocked"), [
    (f"OTP_SECRET=hush\r\n{SECRETS}", []),
    (f"\ufeff# comment\nexport OTP_SECRET='hush'\n= 1\nBAD LINE\n{SECRETS}X='open", []),
    (SECRETS, ["it does not set OTP_SECRET: the migration 20240307180905 fails"]),
    ("OTP_SECRET=hush\nACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY=\n", [
        ("it does not set ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY,"
        " ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT, ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY:"
        " Mastodon 4.4.1 does not start")]),
    (f"OTP_SECRET=hush\n{SECRETS}REDIS_NAMESPACE=hush\n", [
        "it sets REDIS_NAMESPACE: Mastodon 4.4.1 does not start"]),
])
def test_secrets_are_looked_for_and_never_shown(
    instance: Instance, tmp_path: Path, text: str, blocked: list[str]
) -> None:
    file = tmp_path / ".env.production"
    file.write_bytes(text.encode())
    instance.ran(migrations("4.2.0"))
    found = instance.check("4.4.1", env=file)
    assert [one.message for one in found.report.blockers] == blocked
    assert "hush" not in repr(found)
    assert not any(one.rule == "app-steps" for one in found.report.unseen)
    unseen = instance.check("4.4.1").report.unseen
    assert [one.object for one in unseen if one.rule == "app-steps"] == [
        "ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY, …", "OTP_SECRET", "REDIS_NAMESPACE"]


def test_a_file_of_variables_that_cannot_be_read_is_one_error(
    instance: Instance, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        instance.check("4.4.1", env=tmp_path / "none")
    with pytest.raises(UsageError, match="cannot read"):
        instance.check("4.4.1", env=tmp_path)
    (tmp_path / "env").write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match="not text in UTF-8: byte 3"):
        instance.check("4.4.1", env=tmp_path / "env")


def test_steps_are_told_once_they_are_to_come(instance: Instance) -> None:
    instance.ran(migrations("4.1.0"))
    told = instance.told("4.4.0", "app-steps")
    assert [what for _, what, _ in told] == [
        "Mastodon 4.4.0", "Mastodon 4.4.0", "Mastodon 4.3.0", "Mastodon 4.4.0"]
    assert "from before 4.2.0 there is no upgrade to it without downtime" in told[0][2]
    assert "advise against this patch release" in told[1][2]
    instance.ran(migrations("4.4.0"))
    assert instance.told("4.4.1", "app-steps") == []


@pytest.mark.parametrize(("version", "blocked"), [
    ("6.0.16", True), ("6.2.0", False), ("7.2.4", False), ("10.0", False)])
def test_redis_is_asked_for_its_version(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, version: str, blocked: bool
) -> None:
    monkeypatch.setattr(app_requirements, "redis_version", lambda _: version)
    instance.ran(migrations("4.3.0"))
    assert bool(instance.told("4.4.1", "app-requirements", redis="redis://r")) is blocked
    assert "Redis" in [one.object for one in instance.check("4.4.1").report.unseen]


def test_a_redis_that_does_not_answer_is_unseen(instance: Instance, tmp_path: Path) -> None:
    instance.ran(migrations("4.3.0"))
    for url in (f"unix://:hush@{tmp_path}/none.sock", "http://hush"):
        report = instance.check("4.3.0", redis=url).report
        assert report.findings == ()
        (unseen,) = report.unseen
        assert (unseen.rule, "hush" in unseen.reason) == ("app-requirements", False)


def test_the_excluded_minor_versions_are_told(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migrations_check.server.catalog import Catalog

    begin = Catalog.__init__

    def older(self: Catalog, *given: str) -> None:
        begin(self, *given)
        self.version, self.major = 140003, 14

    monkeypatch.setattr(Catalog, "__init__", older)
    instance.ran(migrations("4.3.0"))
    ((severity, _, message),) = instance.told("4.3.0", "app-requirements")
    assert severity == "warning"
    assert "excludes PostgreSQL 14.3" in message
    assert {one for one, _, _ in instance.told("4.4.1", "app-requirements")} == {"blocker"}


def test_an_unfinished_scan_goes_on_only_towards_the_same_release(instance: Instance) -> None:
    instance.ran(migrations("4.6.0"))
    instance.run(*ACCOUNTS)
    state = instance.where / "keys" / "check.json"
    assert len(instance.check("4.7.0").report.blockers) == 1
    state.write_text(state.read_text().replace("finished", "scanning"))
    instance.run("DELETE FROM accounts WHERE id = 5")
    assert len(instance.check("4.7.0").report.blockers) == 1
    assert instance.check("4.7.0").report.blockers == ()
    state.write_text(state.read_text().replace("finished", "scanning").replace("4.7.0", "4.6.0"))
    with pytest.raises(RunMismatch, match="unfinished check"):
        instance.check("4.7.0")
    state.unlink()
    with pytest.raises(NotARunDirectory):
        instance.check("4.7.0")
