from __future__ import annotations

from pathlib import Path

import pytest

from dedupe.errors import UsageError
from migrations_check import Composed, check_compose

from .deployment import put, story


def replaced(found: Composed) -> dict[str, list[str]]:
    """Give the lines that a change puts in, by the name of the file."""
    assert found.change is not None
    return {
        real.name: [line for line, old in zip(
            content.decode().splitlines(), found.project.sources[real].text.splitlines(),
            strict=True) if line != old]
        for real, content in found.change.contents.items()
    }


def test_every_place_of_the_story_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    found = check_compose([story(tmp_path)], {}, new="v4.0.0")
    assert found.agree
    assert found.change is not None
    assert found.change.old == "v3.5.3"
    assert replaced(found) == {
        ".env": ["TAG=v4.0.0"],
        "docker-compose.yml": [
            "    args: {MASTODON_VERSION: v4.0.0}",
            "  image: registry.example.org:5000/bots/mastodon:${TAG:-v4.0.0}",
            '    image: "registry.example.org:5000/bots/mastodon:v4.0.0"',
        ],
        "Dockerfile": ["ARG MASTODON_VERSION=v4.0.0", "ENV BOTS_VERSION=4.0.0 \\"],
    }
    comments = [(Path(one.at).name, one.text) for one in found.change.mentions
                if one.kind == "comment"]
    assert comments == [
        ("docker-compose.yml:1", "# The bots' instance, v3.5.3 since spring"),
        ("docker-compose.yml:14", "# 6, not v3.5.3"),
        ("Dockerfile:8", "# over the files of v3.5.3"),
    ]
    assert "hush" not in found.change.diff(found.project)


def test_the_new_version_is_written_as_the_files_write_the_old_one(tmp_path: Path) -> None:
    """Scenario: NEW without the ``v`` of the files' tags; OLD said as well; NEW as another tag."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = story(tmp_path / "a")
    plain, usual = (check_compose([files], {}, new=new) for new in ("4.0.0", "v4.0.0"))
    assert plain.change is not None
    assert usual.change is not None
    assert (plain.change.new, plain.change.contents) == ("v4.0.0", usual.change.contents)
    file = put(tmp_path / "b", compose="services: {a: {image: 'app:v3.5.3'}}\n")
    for old, new, line in (
        ("v3.5.3", "4.0.0", "app:4.0.0"), (None, "edge", "app:edge"), (None, "4", "app:v4"),
    ):
        assert line in "".join(*replaced(check_compose([file], {}, old=old, new=new)).values())


def test_a_version_is_not_found_in_one_that_it_begins(tmp_path: Path) -> None:
    """v3.5.3 stands in v3.5.30, in v3.5.3-rc1, in v3.5.3.1, and as another release in 1.3.5.3."""
    file = put(tmp_path, compose="""\
        services:
          a: {image: 'app:v3.5.3'}
          b: {image: 'app:v3.5.30'}
          c: {image: 'app:v3.5.3-rc1'}
          d: {image: 'app:v3.5.3.1'}
          e: {image: 'app:1.3.5.3'}
          f: {image: 'app:v3.5.3-alpine'}
          g: {image: 'v3.5.3/app:x'}
        """)
    found = check_compose([file], {}, old="v3.5.3", new="v3.5.4")
    assert replaced(found) == {"docker-compose.yml": [
        "  a: {image: 'app:v3.5.4'}", "  f: {image: 'app:v3.5.4-alpine'}",
    ]}


def test_the_old_version_is_asked_for_where_images_name_several(tmp_path: Path) -> None:
    file = put(tmp_path, compose="""\
        services:
          a: {image: 'app:v1.2'}
          b: {image: 'proxy:v2.0'}
          db: {image: 'postgres:14'}
        """)
    with pytest.raises(UsageError) as raised:
        check_compose([file], {}, new="v3")
    assert raised.value.candidates == ("v1.2", "v2.0")


def test_what_is_built_here_is_the_application(tmp_path: Path) -> None:
    put(tmp_path, dockerfile="FROM app:v1.2\n")
    file = put(tmp_path, compose="""\
        services:
          a: {build: .}
          b: {image: 'proxy:v2.0'}
        """)
    found = check_compose([file], {}, new="v3")
    assert replaced(found) == {"Dockerfile": ["FROM app:v3"]}


def test_databases_and_caches_never_take_the_applications_version(tmp_path: Path) -> None:
    """Scenario: all of them are at 7, two of them by one variable.
    Outcome: only the application changes; where the variable is shared, it is said.
    """
    put(tmp_path, env="SHARED=7\nREDIS_VERSION=7\n")
    file = put(tmp_path, compose="""\
        services:
          web: {image: 'app:7'}
          worker: {image: 'app:${SHARED}'}
          db: {image: 'postgres:7'}
          redis: {image: 'redis:${SHARED}'}
          cache: {image: 'redis:${REDIS_VERSION}'}
        """)
    found = check_compose([file], {}, new="8")
    assert replaced(found) == {"docker-compose.yml": ["  web: {image: 'app:8'}"]}
    assert found.change is not None
    ((place, why),) = found.change.left
    assert place.owner == "worker"
    assert "database or a cache" in why


def test_a_database_is_changed_if_its_version_is_the_one_that_was_said(tmp_path: Path) -> None:
    found = check_compose([story(tmp_path)], {}, old="9.6", new="14")
    assert replaced(found) == {"docker-compose.yml": ["    image: postgres:14"]}


def test_a_number_in_a_variable_is_a_version_only_if_its_name_says_so(tmp_path: Path) -> None:
    put(tmp_path, env="APP_TAG=7\nWEB_CONCURRENCY=7\nHOST=10.0.0.7\nUSED=7\n")
    file = put(tmp_path, compose="""\
        services:
          a: {image: 'app:7'}
          b: {image: 'app:${USED}'}
        """)
    found = check_compose([file], {}, new="8")
    assert replaced(found)[".env"] == ["APP_TAG=8", "USED=8"]


def test_the_environment_wins_over_the_file_and_is_said_to_stay(tmp_path: Path) -> None:
    put(tmp_path, env="TAG=v1\n")
    file = put(tmp_path, compose="services:\n  a: {image: 'app:${TAG}'}\n  b: {image: 'app:v2'}\n")
    found = check_compose([file], {"TAG": "v2"}, new="v3")
    assert replaced(found) == {"docker-compose.yml": ["  b: {image: 'app:v3'}"]}
    left = [one.object for one in found.report.findings if "the environment or" in one.message]
    assert left == [f"{file}:2 (a)"]


def test_a_digest_decides_before_the_tag(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    file = put(tmp_path, compose=f"services:\n  a: {{image: 'app:v1@{digest}'}}\n"
               "  b: {image: 'app:v1'}\n")
    found = check_compose([file], {}, new="v2")
    assert replaced(found) == {"docker-compose.yml": ["  b: {image: 'app:v2'}"]}
    assert any("digest" in one.message for one in found.report.findings)


@pytest.mark.parametrize(("written", "value"), [
    ("${A:-v1}", "v1"), ("${A-v1}", "v1"), ("${E:-v1}", "v1"), ("${E-v1}", ""), ("${S}", "v7"),
    ("$S", "v7"), ("${S:-v1}", "v7"), ("${S:+v2}", "v2"), ("${A:+v2}", ""), ("${A:-${S}}", "v7"),
    ("${A:-${B:-v3}}", "v3"), ("${S:?must be}", "v7"), ("v$${S}", "v${S}"), ("${S}.1", "v7.1"),
])
def test_variables_are_resolved_as_compose_does(tmp_path: Path, written: str, value: str) -> None:
    put(tmp_path, env="S=v7\nE=\n")
    file = put(tmp_path, compose=f"services:\n  a: {{image: 'app:{written}'}}\n")
    found = check_compose([file], {})
    assert [str(one.image) for one in found.project.services] == [f"app:{value}"]


def test_later_files_and_extended_ones_are_joined(tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    put(tmp_path / "common", compose="services:\n  base: {image: 'app:v1', volumes: ['./x:/x']}\n")
    first = put(tmp_path, compose="""\
        services:
          web: {extends: {file: common/docker-compose.yml, service: base}}
          db: {image: 'postgres:14', volumes: ['./a:/var/lib/postgresql/data']}
        """, override="""\
        services:
          db: {image: 'postgres:15'}
        """)
    found = check_compose([first, tmp_path / "override.yml"], {})
    services = {one.name: one for one in found.project.services}
    assert str(services["web"].image) == "app:v1"
    assert services["web"].mounts[0].source == str(tmp_path / "common" / "x")
    assert str(services["db"].image) == "postgres:15"
    assert services["db"].mounts[0].source == str(tmp_path / "a")


def test_stages_are_followed_to_the_image_under_them(tmp_path: Path) -> None:
    put(tmp_path, dockerfile="""\
        ARG V=v1
        FROM node:16 AS build
        FROM app:${V} AS base
        FROM base AS final
        FROM build
        """)
    file = put(tmp_path, compose="""\
        services:
          a: {build: {context: ., target: final, args: [V=v2]}}
          b: {build: .}
        """)
    found = check_compose([file], {})
    assert [str(one.image) for one in found.project.services] == ["app:v2", "node:16"]


@pytest.mark.parametrize(("content", "says"), [
    ("services: [", "is no valid YAML"),
    ("a: 1\n", "it has no services"),
    ("- a\n", "is no compose file"),
    ("", "is no compose file"),
    ("services: {a: {extends: {service: a}}}\n", "in a circle"),
    ("services: {a: {extends: b}}\n", "has no service b"),
    ("a: *b\n", "is no valid YAML"),
    ("include: [docker-compose.yml]\n", "in a circle"),
    ("\x07", "is no valid YAML"),
])
def test_files_that_are_no_compose_files(tmp_path: Path, content: str, says: str) -> None:
    file = put(tmp_path, compose=content)
    with pytest.raises(UsageError, match=says) as raised:
        check_compose([file], {})
    assert raised.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    with pytest.raises(UsageError, match="cannot read"):
        check_compose([file], {})
    file.write_bytes(b"services: \xff")
    with pytest.raises(UsageError, match="UTF-8"):
        check_compose([file], {})
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(UsageError, match="cannot read"):
        check_compose([file], {})
    (tmp_path / "Dockerfile").write_text("RUN true\n")
    with pytest.raises(UsageError, match="no FROM"):
        check_compose([tmp_path / "Dockerfile"], {})


@pytest.mark.parametrize(("old", "new", "says"), [
    ("v3.5.3", "v3.5.3", "the same"), ("v3.5.3", "3.5.3", "the same"), (None, "", "cannot be"),
    (None, "v4/x", "cannot be"), (None, "v4 x", "cannot be"), ("v9", "v10", "no place"),
    (None, "v4\n", "cannot be"),
])
def test_versions_that_cannot_be_replaced(
    tmp_path: Path, old: str | None, new: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        check_compose([story(tmp_path)], {}, old=old, new=new)


def test_beside_an_old_version_the_new_one_is_taken_as_it_is_said(tmp_path: Path) -> None:
    put(tmp_path, dockerfile="FROM app:v1.0\nENV APP_VERSION=1.0\n")
    file = put(tmp_path, compose="services:\n  a: {build: .}\n")
    found = check_compose([file], {}, old="v1.0", new="2.0")
    assert replaced(found) == {"Dockerfile": ["FROM app:2.0"]}
    assert found.change is not None
    assert [one.at for one in found.change.mentions] == [f"{tmp_path / 'Dockerfile'}:2"]


def test_a_file_that_is_named_twice_is_one_file(tmp_path: Path) -> None:
    file = story(tmp_path)
    (tmp_path / "link.yml").symlink_to("docker-compose.yml")
    names = [file, tmp_path / "Dockerfile", file, tmp_path / "link.yml", tmp_path / ".env"]
    once, more = (check_compose(files, {}, new="v4") for files in ([file], names))
    assert once.change is not None
    assert more.change is not None
    assert dict(once.change.contents) == dict(more.change.contents)


def test_500_services(tmp_path: Path) -> None:
    lines = "".join(f"  s{n}:\n    image: app:v1.{n % 2}\n" for n in range(500))
    file = put(tmp_path, compose=f"services:\n{lines}")
    found = check_compose([file], {}, old="v1.0", new="v2.0")
    assert len(replaced(found)["docker-compose.yml"]) == 250
    assert len(found.project.services) == 500
