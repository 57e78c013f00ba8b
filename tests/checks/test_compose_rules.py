from __future__ import annotations

from pathlib import Path

import pytest

from dedupe.lab import Server
from migrations_check import Finding, check_compose

from .deployment import data, put, story

DATA = "/var/lib/postgresql/data"


def found(where: Path, rule: str, services: str, **asked: str) -> list[Finding]:
    """Give what a rule says of services, each line one of them."""
    lines = "".join(f"  {line.strip()}\n" for line in services.strip().splitlines())
    file = put(where, compose=f"services:\n{lines}")
    report = check_compose([file], {}, **asked).report  # type: ignore[arg-type]
    return [one for one in report.findings if one.rule == rule]


def severities(findings: list[Finding]) -> list[str]:
    return [one.severity for one in findings]


@pytest.mark.parametrize(("image", "volume", "there", "blocked"), [
    ("postgres:14", DATA, "9.6", True), ("postgres:9.6", DATA, "9.6", False),
    ("postgres:9.6.24-alpine", DATA, "9.6", False), ("postgres:9.5", DATA, "9.6", True),
    ("postgres:14.5", DATA, "14", False), ("postgres:15", DATA, "14", True),
    ("docker.io/library/postgres:15", DATA, "14", True),
    ("postgis/postgis:15-3.4", DATA, "15", False),
    ("pgvector/pgvector:pg16", DATA, "16", False), ("pgvector/pgvector:pg17", DATA, "16", True),
    ("timescale/timescaledb:2.14-pg15", DATA, "15", False),
    ("pgautoupgrade/pgautoupgrade:17-alpine", DATA, "14", False),
    ("mariadb:10", DATA, "14", False),
])
def test_major_of_the_image_and_of_the_data(
    tmp_path: Path, image: str, volume: str, there: str, *, blocked: bool
) -> None:
    data(tmp_path / "pg", there)
    said = found(tmp_path, "compose-database-major",
                 f"db: {{image: '{image}', volumes: ['./pg:{volume}']}}")
    assert severities(said) == (["blocker"] if blocked else [])
    assert all(there in one.message and "pg_upgrade" in one.remedy for one in said)


def test_data_is_found_below_the_volume(tmp_path: Path) -> None:
    data(tmp_path / "a" / "18" / "docker", "18")
    data(tmp_path / "b" / "data", "14")
    data(tmp_path / "c" / "pgdata", "14")
    said = found(tmp_path, "compose-database-major", f"""
        a: {{image: 'postgres:18', volumes: ['./a:/var/lib/postgresql']}}
        b: {{image: 'postgres:18', volumes: ['./b:/var/lib/postgresql']}}
        c: {{image: 'postgres:15', volumes: ['./c:{DATA}'], environment: {{PGDATA: {DATA}/pgdata}}}}
        d: {{image: 'postgres:14', volumes: ['./c:{DATA}'], environment: [PGDATA={DATA}/pgdata]}}
        """)
    assert [one.object.split()[-1] for one in said] == ["(b)", "(c)"]
    assert severities(said) == ["blocker", "blocker"]


def test_data_that_cannot_be_seen_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    said = found(tmp_path, "compose-database-major", f"""
        named: {{image: 'postgres:14', volumes: ['pg:{DATA}']}}
        missing: {{image: 'postgres:14', volumes: ['./nowhere:{DATA}']}}
        other: {{image: 'postgres:14', volumes: ['./other:{DATA}']}}
        fresh: {{image: 'postgres:14', volumes: ['./empty:{DATA}']}}
        none: {{image: 'postgres:14'}}
        """)
    assert severities(said) == ["warning"] * 3
    assert [one.object.split()[-1] for one in said] == ["(named)", "(missing)", "(other)"]


def test_a_volume_that_is_a_directory_under_a_name_is_read(tmp_path: Path) -> None:
    data(tmp_path / "pg", "14")
    file = put(tmp_path, compose=f"""\
        services:
          db:
            image: postgres:15
            volumes:
              - {{type: volume, source: pg, target: {DATA}}}
        volumes:
          pg: {{driver_opts: {{type: none, o: bind, device: '{tmp_path}/pg'}}}}
        """)
    said = check_compose([file], {}).report.blockers
    assert [one.rule for one in said] == ["compose-database-major"]


def test_a_data_directory_and_a_server_of_the_lab(tmp_path: Path, own_server: Server) -> None:
    """Scenario: a real cluster, once under its own major and once under another."""
    major = own_server.version // 10000
    assert own_server.data is not None
    for image, blocked in ((major, False), (major - 1, True)):
        target = "/var/lib/postgresql" if image >= 18 else DATA
        line = (f"db: {{image: 'postgres:{image}', environment: {{PGDATA: {target}/x}},"
                f" volumes: ['{own_server.data}:{target}/x']}}")
        said = found(tmp_path, "compose-database-major", line)
        assert severities(said) == (["blocker"] if blocked else [])
        line = f"db: {{image: 'postgres:{image}', volumes: ['pg:{target}']}}"
        said = found(tmp_path, "compose-database-major", line, dsn=own_server.dsn())
        assert severities(said) == (["blocker"] if blocked else [])


@pytest.mark.parametrize(("old", "new", "severity"), [
    ("14-alpine", "14", "blocker"), ("14", "14-alpine3.20", "blocker"),
    ("14-bullseye", "14-bookworm", "blocker"), ("14-alpine3.19", "14-alpine3.20", None),
    ("14.5-bookworm", "14.6-bookworm", None), ("14.5", "14.6", None),
    ("14.5", "14.5-bookworm", "warning"),
])
def test_another_c_library_under_the_same_data(
    tmp_path: Path, old: str, new: str, severity: str | None
) -> None:
    data(tmp_path / "pg", "14")
    said = found(tmp_path, "compose-libc",
                 f"db: {{image: 'postgres:{old}', volumes: ['./pg:{DATA}']}}", old=old, new=new)
    assert severities(said) == ([severity] if severity else [])


def test_two_c_libraries_on_one_volume(tmp_path: Path) -> None:
    said = found(tmp_path, "compose-libc", f"""
        a: {{image: 'postgres:14-alpine', volumes: ['pg:{DATA}']}}
        b: {{image: 'postgres:14-bookworm', volumes: ['pg:{DATA}']}}
        c: {{image: 'postgres:14-bookworm', volumes: ['other:{DATA}']}}
        """)
    assert severities(said) == ["blocker"]
    assert said[0].object.endswith("(b)")


@pytest.mark.parametrize(("image", "severity"), [
    ("postgres", "blocker"), ("postgres:latest", "blocker"), ("postgres:alpine", "blocker"),
    ("postgres:bookworm", "blocker"), ("mariadb:latest", "blocker"), ("redis", "warning"),
    ("app:latest", "warning"), ("app", "warning"), ("postgres:14", None), ("app:v1", None),
    ("r.example:5000/app", "warning"), ("app@sha256:" + "0" * 64, None), ("app:edge", None),
])
def test_latest(tmp_path: Path, image: str, severity: str | None) -> None:
    said = found(tmp_path, "compose-latest", f"db: {{image: '{image}'}}")
    assert severities(said) == ([severity] if severity else [])


def test_latest_of_what_is_built_here_is_the_one_of_its_dockerfile(tmp_path: Path) -> None:
    put(tmp_path, dockerfile="FROM app:v1\n")
    services = "web: {build: ., image: mine}"
    assert found(tmp_path, "compose-latest", services) == []
    put(tmp_path, dockerfile="FROM app\n")
    assert severities(found(tmp_path, "compose-latest", services)) == ["warning"]
    put(tmp_path, dockerfile="FROM postgres\n")
    assert severities(found(tmp_path, "compose-latest", services)) == ["blocker"]


def test_a_tag_that_only_the_build_knows_is_no_latest(tmp_path: Path) -> None:
    put(tmp_path, dockerfile="ARG V\nARG BASE\nFROM node:${V} AS a\nFROM ${BASE}\n")
    services = "web: {build: {context: ., args: {V: 16, BASE: 'app:v1'}}}"
    assert found(tmp_path, "compose-latest", services) == []


@pytest.mark.parametrize(("image", "target", "blocked"), [
    ("postgres:18", DATA, True), ("postgres:18", "/var/lib/postgresql", False),
    ("postgres:17", DATA, False), ("postgres:17", "/var/lib/postgresql", True),
    ("postgres:17", "/docker-entrypoint-initdb.d", False), ("app:18", DATA, False),
])
def test_a_volume_path_that_moved_between_majors(
    tmp_path: Path, image: str, target: str, *, blocked: bool
) -> None:
    said = found(tmp_path, "compose-volume-path",
                 f"db: {{image: '{image}', volumes: ['pg:{target}']}}")
    assert severities(said) == (["blocker"] if blocked else [])


def test_a_volume_that_holds_pgdata_is_where_it_belongs(tmp_path: Path) -> None:
    line = (f"db: {{image: 'postgres:18', volumes: ['pg:{DATA}'],"
            f" environment: {{PGDATA: {DATA}/x}}}}")
    assert found(tmp_path, "compose-volume-path", line) == []


@pytest.mark.parametrize(("services", "many"), [
    ("a: {image: 'x/app:v1'}\nb: {image: 'x/app:v2'}", True),
    ("a: {image: 'x/app:v1'}\nb: {image: 'x/app:1'}", False),
    ("a: {image: 'x/app:v1'}\nb: {image: 'y/app:v2'}", False),
    ("a: {image: 'x/masto:v1'}\nb: {image: 'y/masto:v2'}", True),
    ("a: {image: 'x/masto:v1'}\nb: {image: 'x/masto-streaming:v2'}", True),
    ("a: {image: 'grafana/grafana:v1'}\nb: {image: 'grafana/loki:v2'}", False),
    ("a: {image: 'postgres:14'}\nb: {image: 'postgres:15'}", False),
    ("a: {image: 'masto:v1', build: {context: no, args: {MASTO_VERSION: v2}}}", True),
    ("a: {image: 'masto:v1', build: {context: no, args: {RUBY_VERSION: v2}}}", False),
])
def test_services_of_one_application_on_different_versions(
    tmp_path: Path, services: str, *, many: bool
) -> None:
    said = found(tmp_path, "compose-versions", services)
    assert severities(said) == (["warning"] if many else [])


def test_the_sound_story_raises_no_alarm(tmp_path: Path) -> None:
    data(tmp_path / "data", "9.6")
    assert check_compose([story(tmp_path)], {}).report.findings == ()
