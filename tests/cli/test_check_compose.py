"""``pgmend check compose`` as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from dedupe.lab import Server

from .conftest import Command

COMPOSE = """\
# v3.5.3 since spring
services:
  db:
    image: postgres:9.6
    volumes: ['./data:/var/lib/postgresql/data']
  redis: {image: redis:6-alpine}
  web: {build: ., image: 'bots/mastodon:v3.5.3'}
  streaming: {build: ., image: 'bots/mastodon:${TAG}'}
  sidekiq: {extends: web, command: sidekiq}
"""


@pytest.fixture
def story(offline: Command) -> Command:
    """Give the command in the story's directory."""
    where = offline.where
    (where / "docker-compose.yml").write_text(COMPOSE)
    (where / "Dockerfile").write_text("FROM tootsuite/mastodon:v3.5.3\nCOPY files /opt/mastodon/\n")
    (where / ".env").write_text("TAG=v3.5.3\nSECRET=hush-hush\n")
    (where / "data").mkdir()
    (where / "data" / "PG_VERSION").write_text("9.6\n")
    return offline


def contents(where: Path) -> dict[str, bytes]:
    return {str(path.relative_to(where)): path.read_bytes()
            for path in where.rglob("*") if path.is_file() and ".pgmend" not in str(path)}


def test_the_story_bumped_in_all_places_at_once_and_taken_back(story: Command) -> None:
    before = contents(story.where)
    shown = story("check", "compose", "docker-compose.yml")
    assert shown.returncode == 0, shown.stderr
    assert "the places agree: yes" in shown.stdout
    shown = story("check", "compose", "docker-compose.yml", "--to", "v4.0.2")
    assert shown.returncode == 0, shown.stderr
    assert "+FROM tootsuite/mastodon:v4.0.2" in shown.stdout
    assert "not changed: docker-compose.yml:1 comment # v3.5.3 since spring" in shown.stdout
    assert "hush" not in shown.stdout
    assert contents(story.where) == before
    wrote = story("check", "compose", "docker-compose.yml", "--to", "v4.0.2", "--write")
    assert wrote.returncode == 0, wrote.stderr
    assert {name: text.decode() for name, text in contents(story.where).items()} == {
        "docker-compose.yml": COMPOSE.replace("mastodon:v3.5.3", "mastodon:v4.0.2"),
        "Dockerfile": "FROM tootsuite/mastodon:v4.0.2\nCOPY files /opt/mastodon/\n",
        ".env": "TAG=v4.0.2\nSECRET=hush-hush\n",
        "data/PG_VERSION": "9.6\n",
    }
    back = story("check", "compose", "docker-compose.yml", "--revert")
    assert back.returncode == 0, back.stderr
    assert contents(story.where) == before
    assert not (story.where / ".pgmend-compose").exists()


def test_the_database_of_the_story_is_not_moved_to_14_on_its_old_volume(story: Command) -> None:
    before = contents(story.where)
    refused = story("check", "compose", "docker-compose.yml", "--from", "9.6", "--to", "14",
                    "--write")
    assert refused.returncode == 4
    assert "blocker: docker-compose.yml:4 (db) [compose-database-major]" in refused.stdout
    assert "is of 9.6" in refused.stdout
    assert "nothing was written: the change makes a blocker" in refused.stdout
    assert contents(story.where) == before
    shutil.rmtree(story.where / "data")
    (story.where / "data").mkdir()
    wrote = story("check", "compose", "docker-compose.yml", "--from", "9.6", "--to", "14",
                  "--write")
    assert wrote.returncode == 0, wrote.stdout
    assert "image: postgres:14\n" in (story.where / "docker-compose.yml").read_text()


def test_a_blocker_that_was_there_before_is_told_and_stops_no_bump(story: Command) -> None:
    (story.where / "data" / "PG_VERSION").write_text("14\n")
    shown = story("check", "compose", "docker-compose.yml")
    assert shown.returncode == 4
    wrote = story("check", "compose", "docker-compose.yml", "--to", "v4.0.2", "--write")
    assert wrote.returncode == 0, wrote.stdout
    assert "blocker:" in wrote.stdout
    assert "mastodon:v4.0.2" in (story.where / "docker-compose.yml").read_text()


def test_the_volume_and_the_server_of_a_real_cluster(story: Command, lab: Server) -> None:
    """Scenario: the lab's running server, whose data directory the service mounts."""
    major = lab.version // 10000
    compose = story.where / "docker-compose.yml"
    if lab.data is not None:
        line = f"{lab.data}:/var/lib/postgresql/x"
        settings = "environment: {PGDATA: /var/lib/postgresql/x}"
    else:
        line, settings = "pg:/x", "environment: {PGDATA: /x}"
    for image, code in ((major, 0), (major + 1, 4)):
        compose.write_text(f"services:\n  db:\n    image: postgres:{image}\n    {settings}\n"
                           f"    volumes: ['{line}']\n")
        if lab.data is not None:
            assert story("check", "compose", compose.name).returncode == code
        ran = story("check", "compose", compose.name, "-d", lab.dsn())
        assert ran.returncode == code, ran.stdout + ran.stderr
    assert f"the running server is {major}" in ran.stdout


def test_json_is_one_object(story: Command) -> None:
    ran = story("check", "compose", "docker-compose.yml", "--to", "v4.0.2", "--json", "--write")
    facts = json.loads(ran.stdout)
    assert facts["format_version"] == 1
    assert facts["findings"] == facts["unseen"] == []
    assert (facts["old"], facts["new"], facts["agree"]) == ("v3.5.3", "v4.0.2", True)
    assert sorted(facts["written"]) == [".env", "Dockerfile", "docker-compose.yml"]
    assert {"at": ".env:1", "kind": ".env", "owner": "TAG", "value": "v3.5.3"} in facts["places"]
    assert [one["at"] for one in facts["mentions"]] == ["docker-compose.yml:1"]
    ran = story("check", "compose", "docker-compose.yml", "--json", "--revert")
    assert len(json.loads(ran.stdout)["reverted"]) == 3


def test_a_warning_ends_with_1_and_can_be_ignored(story: Command) -> None:
    with (story.where / "docker-compose.yml").open("a") as file:
        file.write("  proxy: {image: nginx}\n")
    assert story("check", "compose", "docker-compose.yml").returncode == 1
    ran = story("check", "compose", "docker-compose.yml", "--ignore", "compose-latest")
    assert ran.returncode == 0


@pytest.mark.parametrize(("arguments", "says"), [
    (["nothing.yml"], "cannot read nothing.yml"),
    ([], "Missing argument"),
    (["docker-compose.yml", "--write"], "need --to"),
    (["docker-compose.yml", "--from", "v3.5.3"], "need --to"),
    (["docker-compose.yml", "--revert", "--to", "v4"], "stands alone"),
    (["docker-compose.yml", "--revert"], "nothing to take back"),
    (["docker-compose.yml", "--to", "v4 2"], "cannot be the tag"),
    (["docker-compose.yml", "--from", "v3.5", "--to", "v4"], "no place that may be changed"),
    (["data"], "cannot read data"),
    (["bad.yml"], "bad.yml:2 is no valid YAML"),
    (["binary.yml"], "not text in UTF-8"),
])
def test_what_cannot_be_done_as_asked_ends_with_2(
    story: Command, arguments: list[str], says: str
) -> None:
    (story.where / "bad.yml").write_text("services: {\n  ]")
    (story.where / "binary.yml").write_bytes(b"\xff\xfe\x00")
    ran = story("check", "compose", *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert "HINT:" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_read_only_files_are_named_and_nothing_is_written(story: Command) -> None:
    (story.where / "Dockerfile").chmod(0o444)
    before = contents(story.where)
    ran = story("check", "compose", "docker-compose.yml", "--to", "v4", "--write")
    assert ran.returncode == 2
    assert "Dockerfile is read-only" in ran.stderr
    assert contents(story.where) == before


def test_the_environment_is_that_of_compose(story: Command) -> None:
    ran = story("check", "compose", "docker-compose.yml", "--to", "v4",
                env={**os.environ, **story.env, "TAG": "v3.5.3"})
    assert ran.returncode == 1
    assert "docker-compose.yml:8 (streaming) [compose-versions]: v3.5.3 stays" in ran.stdout
