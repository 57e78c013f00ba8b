"""Files of Rails' migrations, held against the database that they are for."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from dedupe.errors import UnknownObject, UsageError
from migrations_check import Migrated, check_rails

from .apps import Instance

BODY = "class {name} < ActiveRecord::Migration[7.1]\n  def change\n    {body}\n  end\nend\n"


def write(directory: Path, *names: str, body: str = "add_column :a, :b, :text") -> Path:
    """Write migrations: ``1_name``, ``2_name``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / f"{name}.rb").write_text(BODY.format(name=name, body=body))
    return directory


def told(found: Migrated) -> list[tuple[str, str]]:
    """Return severity and object of what was found."""
    return [(one.severity, one.object) for one in found.report.findings]


@pytest.fixture
def rails(instance: Instance) -> Instance:
    """Give a database where the migrations 10, 20 and 30 ran."""
    instance.ran(["10", "20", "30"])
    return instance


def test_what_the_upgrade_will_run_is_pending_and_no_finding(
    rails: Instance, tmp_path: Path
) -> None:
    """Scenario: two directories, of which the second one is for after the deployment."""
    old = write(tmp_path / "old", "10_a", "20_b", "30_c")
    new = write(tmp_path / "new", "10_a", "20_b", "30_c", "40_d")
    post = write(tmp_path / "post" / "deep", "0035_e").parent
    found = check_rails(rails.dsn, [new, post], [old])
    assert (found.report.findings, found.report.unseen) == ((), ())
    assert (found.table, found.pending, found.unknown) == (
        "public.schema_migrations", ("0035", "40"), ())
    found = check_rails(rails.dsn, [new, post])
    assert found.report.findings == ()
    (unseen,) = found.report.unseen
    assert "--installed DIR" in unseen.reason


def test_what_was_left_out_is_told(rails: Instance, tmp_path: Path) -> None:
    new = write(tmp_path / "new", "10_a", "15_x", "20_b", "30_c", "40_d")
    found = check_rails(rails.dsn, [new])
    assert told(found) == [("warning", "public.schema_migrations")]
    assert "older than 30, which did: 15;" in found.report.findings[0].message
    old = write(tmp_path / "old", "10_a", "15_x", "20_b", "30_c")
    found = check_rails(rails.dsn, [new], [old])
    assert "1 (15) of the migrations of the installed release" in found.report.findings[0].message
    # What the target adds in between is none of the installed release's.
    (old / "15_x.rb").unlink()
    assert check_rails(rails.dsn, [new], [old]).report.findings == ()


def test_what_ran_and_has_no_file_is_told_unless_it_was_squashed(
    rails: Instance, tmp_path: Path
) -> None:
    new = write(tmp_path / "new", "20_b", "40_d")
    found = check_rails(rails.dsn, [new])
    assert found.unknown == ("10", "30")
    assert "1 (30) of its migrations have no file" in found.report.findings[0].message
    old = write(tmp_path / "old", "10_a", "20_b", "30_c")
    found = check_rails(rails.dsn, [new], [old])
    assert "1 (30) of its migrations have a file in the installed" in (
        found.report.findings[0].message)
    write(new, "30_c")
    assert check_rails(rails.dsn, [new], [old]).report.findings == ()


def test_an_edited_migration_is_told_and_its_looks_are_not(
    rails: Instance, tmp_path: Path
) -> None:
    old = write(tmp_path / "old", "10_a", "20_b", "30_c", "40_d")
    new = write(tmp_path / "new", "10_a", "20_b", "30_c", "40_d", body="drop_table :a")
    for name in ("10_a", "20_b"):
        text = (old / f"{name}.rb").read_text()
        (new / f"{name}.rb").write_bytes(
            b"\xef\xbb\xbf# frozen_string_literal: true\r\n\r\n"
            + text.replace("\n", "\r\n").replace("  ", "\t").encode())
    rails.run("DELETE FROM schema_migrations WHERE version = '40'")
    found = check_rails(rails.dsn, [new], [old])
    assert told(found) == [
        ("warning", "public.schema_migrations"), ("warning", str(new / "30_c.rb"))]
    assert f"diff {old / '30_c.rb'} {new / '30_c.rb'}" in found.report.findings[1].remedy


@pytest.mark.parametrize(("name", "severity", "says"), [
    ("30_again", "blocker", "it shares the version 30 with"),
    ("0030_again", "blocker", "it shares the version 0030 with"),
    ("50_c", "blocker", "it shares its class with"),
    ("50_CamelCase", "blocker", "Rails takes it for a migration and refuses its name"),
    ("50_with-dash", "blocker", "refuses its name"),
    ("2024-01-01_dated", "blocker", "refuses its name"),
    ("add_users", "warning", "Rails passes over it"),
    ("50", "warning", "Rails passes over it"),
])
def test_names_that_rails_does_not_take(
    rails: Instance, tmp_path: Path, name: str, severity: str, says: str
) -> None:
    old = write(tmp_path / "old", "10_a", "20_b", "30_c")
    new = write(tmp_path / "new", "10_a", "20_b", "30_c")
    write(new / "sub", name)
    (new / "README.md").write_text("not for Rails")
    (new / ".rubocop.yml").write_text("")
    found = check_rails(rails.dsn, [new], [old])
    assert told(found) == [(severity, str(new / "sub" / f"{name}.rb"))]
    assert says in found.report.findings[0].message


def test_a_directory_named_twice_is_read_once(rails: Instance, tmp_path: Path) -> None:
    new = write(tmp_path / "new", "10_a_bc", "20_ab_c", "30_c")
    other = tmp_path / "x" / ".." / "new"
    (tmp_path / "x").mkdir()
    assert check_rails(rails.dsn, [new, new, other, tmp_path], [new]).report.findings == ()


def test_rows_that_are_no_numbers_are_told(rails: Instance, tmp_path: Path) -> None:
    rails.run("INSERT INTO schema_migrations VALUES ('twenty'), (''), (repeat('1', 2000))")
    new = write(tmp_path / "new", "10_a", "20_b", "30_c")
    found = check_rails(rails.dsn, [new], [new])
    assert told(found) == [("warning", "public.schema_migrations")]
    assert found.unknown == ("", "1" * 2000, "twenty")


def test_a_directory_without_migrations_is_unseen(rails: Instance, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = check_rails(rails.dsn, [tmp_path / "empty"], [tmp_path / "empty"])
    assert found.report.findings[:0] == ()
    assert "there is no migration in it" in found.report.unseen[0].reason


def forbidden(path: Path) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_what_cannot_be_read_is_one_error(
    rails: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="cannot list"):
        check_rails(rails.dsn, [tmp_path / "none"])
    new = write(tmp_path / "new", "10_a")
    (new / "20_b.rb").write_bytes(b"# caf\xe9\n")
    with pytest.raises(UsageError, match="not text in UTF-8: byte 6"):
        check_rails(rails.dsn, [new])
    (new / "20_b.rb").unlink()
    # The superuser of the machine may read everything.
    for name, says in (("read_bytes", "cannot read"), ("iterdir", "cannot list")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, forbidden)
            with pytest.raises(UsageError, match=f"{says} .*: Permission denied"):
                check_rails(rails.dsn, [new])
    rails.run("DROP TABLE schema_migrations")
    with pytest.raises(UnknownObject, match="no table schema_migrations"):
        check_rails(rails.dsn, [tmp_path / "new"])
