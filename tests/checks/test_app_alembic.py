"""Files of Alembic's revisions, held against the database that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe.errors import UnknownObject, UsageError
from migrations_check import Migrated, check_alembic

from .apps import Instance


def write(directory: Path, **revisions: object) -> Path:
    """Write revisions: the name of each, and what it follows, or the whole text of the file."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, down in revisions.items():
        text = down if isinstance(down, str) and "\n" in down else (
            f'"""{name}\n\nCreate Date: 2024-01-01\n"""\nfrom typing import Union\n'
            "raise SystemExit('this file must not be run')\n"
            f"revision: str = {name!r}\ndown_revision: Union[str, None] = {down!r}\n"
            "branch_labels = None\ndepends_on = None\n\n\ndef upgrade() -> None:\n    pass\n"
        )
        (directory / f"{name}_x.py").write_text(text)
    return directory


def told(found: Migrated) -> list[tuple[str, str]]:
    """Return severity and object of what was found."""
    return [(one.severity, one.object) for one in found.report.findings]


@pytest.fixture
def alembic(instance: Instance) -> Instance:
    """Give a database at the revision b."""
    instance.run("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
                 "INSERT INTO alembic_version VALUES ('b')")
    return instance


def test_what_lies_between_the_row_and_the_heads_is_pending(
    alembic: Instance, tmp_path: Path
) -> None:
    old = write(tmp_path / "old", a=None, b="a")
    new = write(tmp_path / "new", a=None, b="a", c="b", d="b", e=("c", "d"))
    (new / "__init__.py").write_text("")
    found = check_alembic(alembic.dsn, [new], [old])
    assert (found.report.findings, found.report.unseen) == ((), ())
    assert (found.table, set(found.pending), found.pending[-1]) == (
        "public.alembic_version", {"c", "d", "e"}, "e")
    (unseen,) = check_alembic(alembic.dsn, [new]).report.unseen
    assert "--installed DIR" in unseen.reason
    alembic.run("DELETE FROM alembic_version")
    assert check_alembic(alembic.dsn, [new]).pending[:2] == ("a", "b")


def test_several_rows_and_what_they_depend_on_have_run(alembic: Instance, tmp_path: Path) -> None:
    """Scenario: two branches with labels, of which one depends on the other by its label."""
    new = write(
        tmp_path / "new", a=None, b="a",
        x="revision = 'x'\ndown_revision = None\nbranch_labels = ('side',)\n",
        y="revision = 'y'\ndown_revision = 'x'\n",
        z="revision = 'z'\ndown_revision = 'y'\ndepends_on = ['b']\n",
        c="revision, other = 'no', 1\nrevision = 'c'\ndown_revision = 'b'\ndepends_on = 'side'\n"
          "branch_labels = 'main'\n",
    )
    found = check_alembic(alembic.dsn, [new], [new])
    assert (sorted(found.pending), told(found)) == (
        ["c", "x", "y", "z"], [("warning", "public.alembic_version")])
    alembic.run("INSERT INTO alembic_version VALUES ('y')")
    assert sorted(check_alembic(alembic.dsn, [new]).pending) == ["c", "z"]
    alembic.run("UPDATE alembic_version SET version_num = 'z' WHERE version_num = 'y'",
                "UPDATE alembic_version SET version_num = 'c' WHERE version_num = 'b'")
    found = check_alembic(alembic.dsn, [new], [new])
    assert (found.pending, found.report.findings, found.report.unseen) == ((), (), ())


def test_heads_without_labels_are_told(alembic: Instance, tmp_path: Path) -> None:
    new = write(tmp_path / "new", a=None, b="a", c="b", d="b")
    found = check_alembic(alembic.dsn, [new])
    assert told(found) == [("warning", "heads")]
    assert "alembic merge heads" in found.report.findings[0].remedy


def test_a_row_behind_another_is_told(alembic: Instance, tmp_path: Path) -> None:
    alembic.run("INSERT INTO alembic_version VALUES ('a')")
    new = write(tmp_path / "new", a=None, b="a")
    found = check_alembic(alembic.dsn, [new], [new])
    assert told(found) == [("blocker", "public.alembic_version")]
    assert "version_num = 'a'" in found.report.findings[0].remedy


def test_a_revision_that_no_file_has_is_a_blocker(alembic: Instance, tmp_path: Path) -> None:
    old = write(tmp_path / "old", a=None, b="a")
    new = write(tmp_path / "new", a=None)
    found = check_alembic(alembic.dsn, [new])
    assert told(found) == [("blocker", "public.alembic_version")]
    assert (found.pending, found.unknown) == ((), ("b",))
    assert "of a fork" in found.report.findings[0].message
    found = check_alembic(alembic.dsn, [new], [old])
    assert "of the installed release, and has no file in that one" in (
        found.report.findings[0].message)


def test_an_installed_release_that_was_not_migrated_is_told(
    alembic: Instance, tmp_path: Path
) -> None:
    old = write(tmp_path / "old", a=None, b="a", c="b")
    new = write(tmp_path / "new", a=None, b="a", c="b", d="c")
    found = check_alembic(alembic.dsn, [new], [old])
    assert told(found) == [("warning", "public.alembic_version")]
    assert "1 of the revisions of the installed release did not run (c)" in (
        found.report.findings[0].message)


def test_an_edited_revision_is_told_and_its_looks_are_not(
    alembic: Instance, tmp_path: Path
) -> None:
    old = write(tmp_path / "old", a=None, b="a")
    new = write(tmp_path / "new", a=None, b="a", c="b")
    (new / "a_x.py").write_bytes(
        (old / "a_x.py").read_text().replace("2024", "2025").replace("\n", "\r\n")
        .replace("def upgrade", "# why\r\ndef upgrade").encode())
    text = (old / "b_x.py").read_text()
    (new / "b_x.py").write_text(text.replace("    pass", "    print('more')"))
    found = check_alembic(alembic.dsn, [new], [old])
    assert told(found) == [("warning", str(new / "b_x.py"))]


@pytest.mark.parametrize(("files", "says"), [
    ({"a": "b", "b": "a"}, "in a circle: "),
    ({"a": "a"}, "in a circle: a -> a"),
    ({"b": "zzz"}, "follows the revision zzz, and no file has that"),
    ({"b": "revision = 'b'\ndepends_on = 'gone'\n"}, "depends on the revision gone"),
    ({"b": "revision = 'b'\ndown_revision = str(1)\n"}, "computes its down_revision"),
    ({"b": "revision = 1\n"}, "a revision that is no name: 1"),
    ({"b": "revision = None\n"}, "names no single revision"),
    ({"b": "revision = 'b'\ndef upgrade(:\n"}, "is no Python in line 2"),
    ({"b": "revision = 'b'\x00\n"}, "is no Python"),
    ({}, "there is no revision in"),
])
def test_files_that_make_no_history_are_one_error(
    alembic: Instance, tmp_path: Path, files: dict[str, str], says: str
) -> None:
    new = write(tmp_path / "new", **files)
    with pytest.raises(UsageError) as error:
        check_alembic(alembic.dsn, [new])
    assert says in error.value.message


def test_the_directory_of_the_environment_is_not_that_of_the_revisions(
    alembic: Instance, tmp_path: Path
) -> None:
    write(tmp_path / "alembic" / "versions", a=None)
    (tmp_path / "alembic" / "alembic.ini").write_text("")
    with pytest.raises(UsageError) as error:
        check_alembic(alembic.dsn, [tmp_path / "alembic"])
    assert f"Did you mean {tmp_path / 'alembic' / 'versions'}?" == error.value.hint


def test_files_that_are_no_revision_or_one_twice_are_told(
    alembic: Instance, tmp_path: Path
) -> None:
    new = write(tmp_path / "new", a=None, b="a", help="import os\nprint(1)\n",
                twice="revision = 'b'\ndown_revision = 'a'\npath = '\\d'\n")
    found = check_alembic(alembic.dsn, [new], [write(tmp_path / "old", a=None, b="a")])
    assert told(found) == [
        ("blocker", str(new / "help_x.py")), ("warning", str(new / "twice_x.py"))]


def test_a_long_history_is_read_at_once(alembic: Instance, tmp_path: Path) -> None:
    chain = {f"r{n}": f"revision = 'r{n}'\ndown_revision = {f'r{n - 1}' if n else None!r}\n"
             for n in range(1000)}
    new = write(tmp_path / "new", **chain)
    alembic.run("UPDATE alembic_version SET version_num = 'r499'")
    assert len(check_alembic(alembic.dsn, [new], [new]).pending) == 500


def test_what_cannot_be_read_is_one_error(alembic: Instance, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot list"):
        check_alembic(alembic.dsn, [tmp_path / "none"])
    new = write(tmp_path / "new", a=None)
    (new / "b.py").write_bytes(b"# \xff\n")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        check_alembic(alembic.dsn, [new])
    (new / "b.py").unlink()
    alembic.run("DROP TABLE alembic_version")
    with pytest.raises(UnknownObject, match="no table alembic_version"):
        check_alembic(alembic.dsn, [new])
