"""What a check of compose files cannot read is said, and never passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe.lab import Server
from migrations_check import Unseen, check_compose

from .deployment import put

DATA = "/var/lib/postgresql/data"


def unseen(where: Path, text: str, **asked: str) -> list[Unseen]:
    return list(check_compose([put(where, compose=text)], {}, **asked).report.unseen)  # type: ignore[arg-type]


def one_service(line: str) -> str:
    return f"services:\n  a: {line}\n"


@pytest.mark.parametrize(("line", "told"), [
    ("{build: {dockerfile_inline: 'FROM app:v1'}}", "dockerfile_inline"),
    ("{image: 'app:v1', build: {context: ., dockerfile_inline: 'FROM app:v1'}}",
     "dockerfile_inline"),
    ("{build: 'https://git.example.org/app.git#v1'}", "https://git.example.org/app.git#v1"),
    ("{build: {context: 'ssh://git@example.org/app.git'}}", "not on this machine"),
    ("{build: 'git@example.org:app.git', image: 'app:v1'}", "git@example.org:app.git"),
    ("{build: 'github.com/example/app'}", "not on this machine"),
    ("{build: elsewhere}", "there is no"),
    ("{build: '${WHERE}'}", "WHERE has no value"),
    ("{image: 'app:${TAG}'}", "TAG has no value"),
    ("{image: 'app:${TAG:?say it}'}", "TAG has no value"),
    ("{image: 'app:${EMPTY:?say it}'}", "EMPTY has no value"),
    ("{image: '${NAME}:${TAG:-v1}'}", "NAME has no value"),
    ("{image: 'postgres:${MAJOR:?}'}", "MAJOR has no value"),
    ("{extends: {file: 'https://example.org/base.yml', service: base}, image: 'app:v1'}",
     "https://example.org/base.yml"),
])
def test_what_is_elsewhere_or_has_no_value(tmp_path: Path, line: str, told: str) -> None:
    put(tmp_path, env="EMPTY=\n")
    (one,) = unseen(tmp_path, one_service(line))
    assert (one.rule, told in one.reason) == ("compose-versions", True)
    assert "docker-compose.yml:2 (a" in one.object


@pytest.mark.parametrize("line", [
    "{image: 'app:v1'}", "{image: 'app:${TAG:-v1}'}", "{image: 'app:${SET}'}",
    "{image: 'app:${SET:?say it}'}", "{image: 'app:v1${TAG:+-x}'}", "{build: .}",
    "{build: elsewhere, image: 'app:v1'}", "{build: {context: ., args: {V: v1}}}",
    "{image: 'app:v1', volumes: ['${MEDIA}:/media'], environment: {A: '${B:?}'}}",
    "{extends: {file: base.yml, service: base}}",
])
def test_what_can_be_read_is_not_told(tmp_path: Path, line: str) -> None:
    put(tmp_path, env="SET=v1\n", dockerfile="ARG V=v0\nFROM app:$V\n", base=one_service(
        "{image: 'app:v1'}").replace("a:", "base:", 1))
    assert unseen(tmp_path, one_service(line)) == []


def test_a_version_that_only_the_build_knows(tmp_path: Path) -> None:
    put(tmp_path, dockerfile="ARG V\nFROM app:${V}\n")
    (one,) = unseen(tmp_path, one_service("{build: .}"))
    assert "only the build is given" in one.reason
    assert unseen(tmp_path, one_service("{build: {context: ., args: {V: v1}}}")) == []


def test_the_volume_of_a_database_behind_a_variable(tmp_path: Path) -> None:
    line = f"{{image: 'postgres:14', volumes: ['${{ROOT:?}}/pg:{DATA}']}}"
    (one,) = unseen(tmp_path, one_service(line))
    assert one.rule == "compose-database-major"
    assert "ROOT has no value" in one.reason
    put(tmp_path, env=f"ROOT={tmp_path}\n")
    assert unseen(tmp_path, one_service(line)) == []


@pytest.mark.parametrize(("image", "doubt"), [
    ("postgres:main", True), (f"postgres@sha256:{'0' * 64}", True), ("postgres:14", False),
    ("postgres", False), ("mariadb:main", False),
])
def test_a_database_whose_tag_tells_no_major(tmp_path: Path, image: str, doubt: bool) -> None:
    said = unseen(tmp_path, one_service(f"{{image: '{image}'}}"))
    assert [one.rule for one in said] == ["compose-database-major"] * doubt


def test_files_that_are_included_from_elsewhere(tmp_path: Path) -> None:
    text = "include:\n  - oci://example.org/app:v1\n  - path: https://example.org/app.git\n"
    said = unseen(tmp_path, f"{text}services: {{a: {{image: 'app:v1'}}}}\n")
    assert ["oci://" in one.reason or "https://" in one.reason for one in said] == [True, True]


def test_variables_of_an_included_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub", compose=one_service("{image: 'app:v1'}"))
    text = "include: [sub/docker-compose.yml]\n"
    assert unseen(tmp_path, text) == []
    put(tmp_path / "sub", env="TAG=v1\n")
    (one,) = unseen(tmp_path, text)
    assert "of its own" in one.reason


def test_a_server_that_may_be_any_of_several_databases(tmp_path: Path, own_server: Server) -> None:
    major = own_server.version // 10000
    asked = {"dsn": own_server.dsn()}
    one = f"services:\n  a: {{image: 'postgres:{major}'}}\n"
    assert unseen(tmp_path, one, **asked) == []
    (said,) = unseen(tmp_path, f"{one}  b: {{image: 'postgres:{major}'}}\n", **asked)
    assert (said.rule, said.object) == ("compose-database-major", "the running server")
    assert "a, b" in said.reason
    (said,) = unseen(tmp_path, one_service("{image: 'app:v1'}"), **asked)
    assert "no service" in said.reason
