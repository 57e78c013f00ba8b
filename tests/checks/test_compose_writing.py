from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dedupe.errors import LocalStorageError, RefusedError, UsageError
from migrations_check import check_compose, revert_compose, write_compose

from .deployment import put, story, tree

ODD = {
    "windows": b"services:\r\n  a:\r\n    image: app:v1 # v1\r\n",
    "no final newline": b"services: {a: {image: app:v1}}",
    "byte order mark": b"\xef\xbb\xbfservices:\n  a: {image: 'app:v1'}\n",
    "mark and windows": b'\xef\xbb\xbfservices:\r\n  \xc3\xa9: {image: "app:v1"}\r\n',
    "tabs and blanks": b"services:  \n  a:   \n    image:    app:v1   \n\n\n",
    "folded": b"services:\n  a:\n    image: &i\n      app:v1\n  b: {image: *i}\n",
}


@pytest.mark.parametrize("name", ODD)
def test_only_the_version_changes_in_odd_files(tmp_path: Path, name: str) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_bytes(ODD[name])
    before = tree(tmp_path)
    write_compose(check_compose([file], {}, new="v2.0"))
    assert file.read_bytes() == ODD[name].replace(b"app:v1", b"app:v2.0")
    revert_compose([file])
    assert tree(tmp_path) == before


@pytest.mark.parametrize("content", [b"A=1\r\nTAG=v1\r\nB='x v1'\r\n", b"\xef\xbb\xbfTAG='v1'",
                                     b'# v1\nexport TAG="v1" # v1\n'])
def test_only_the_version_changes_in_odd_env_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    file = put(tmp_path, compose="services:\n  a: {image: 'app:${TAG}'}\n")
    before = tree(tmp_path)
    found = check_compose([file], {}, old="v1", new="v2")
    write_compose(found)
    there = (tmp_path / ".env").read_bytes()
    assert [str(one.image) for one in check_compose([file], {}).project.services] == ["app:v2"]
    assert there.replace(b"v2", b"v1") == content
    revert_compose([file])
    assert tree(tmp_path) == before


def test_two_writes_are_taken_back_one_by_one(tmp_path: Path) -> None:
    file = story(tmp_path)
    before = tree(tmp_path)
    write_compose(check_compose([file], {}, new="v3.5.4"))
    between = {name: text for name, text in tree(tmp_path).items() if ".pgmend" not in name}
    write_compose(check_compose([file], {}, new="v3.5.5"))
    revert_compose([file])
    assert {n: text for n, text in tree(tmp_path).items() if ".pgmend" not in n} == between
    revert_compose([file])
    assert tree(tmp_path) == before
    with pytest.raises(UsageError, match="nothing to take back"):
        revert_compose([file])


def test_links_stay_links_and_modes_stay(tmp_path: Path) -> None:
    real, here = tmp_path / "real", tmp_path / "here"
    real.mkdir()
    here.mkdir()
    story(real)
    (real / ".env").chmod(0o600)
    for name in ("docker-compose.yml", ".env", "Dockerfile"):
        (here / name).symlink_to(f"../real/{name}")
    file = here / "docker-compose.yml"
    write_compose(check_compose([file], {}, new="v4.0.0"))
    assert file.is_symlink()
    assert (real / ".env").read_text() == "TAG=v4.0.0\nDB_PASS=hush-hush\n"
    assert (real / ".env").stat().st_mode & 0o777 == 0o600
    for path in (here / ".pgmend-compose").rglob("*"):
        assert not (here / ".pgmend-compose").stat().st_mode & 0o077
        assert path.is_dir() or path.name == ".gitignore" or not path.stat().st_mode & 0o077
    revert_compose([file])
    assert (real / ".env").read_text() == "TAG=v3.5.3\nDB_PASS=hush-hush\n"
    assert (real / ".env").stat().st_mode & 0o777 == 0o600


def test_one_read_only_file_keeps_all_from_being_written(tmp_path: Path) -> None:
    file = story(tmp_path)
    (tmp_path / "Dockerfile").chmod(0o444)
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="read-only"):
        write_compose(check_compose([file], {}, new="v4.0.0"))
    assert tree(tmp_path) == before


def test_a_file_that_changed_since_it_was_read_keeps_all_from_being_written(
    tmp_path: Path,
) -> None:
    file = story(tmp_path)
    found = check_compose([file], {}, new="v4.0.0")
    with (tmp_path / "Dockerfile").open("a") as other:
        other.write("USER bots\n")
    before = tree(tmp_path)
    with pytest.raises(RefusedError, match="meanwhile"):
        write_compose(found)
    assert tree(tmp_path) == before


def test_a_failure_at_one_file_leaves_all_as_they_were(tmp_path: Path) -> None:
    """Scenario: the place beside one file, where its new contents go, is taken."""
    file = story(tmp_path)
    (tmp_path / ".docker-compose.yml.pgmend-new").mkdir()
    before = tree(tmp_path)
    with pytest.raises(LocalStorageError):
        write_compose(check_compose([file], {}, new="v4.0.0"))
    assert tree(tmp_path) == before
    with pytest.raises(UsageError, match="nothing to take back"):
        revert_compose([file])


def test_a_file_that_was_edited_after_the_write_is_not_taken_back(tmp_path: Path) -> None:
    file = story(tmp_path)
    write_compose(check_compose([file], {}, new="v4.0.0"))
    with file.open("a") as other:
        other.write("# mine\n")
    before = tree(tmp_path)
    with pytest.raises(RefusedError, match="was changed since"):
        revert_compose([file])
    assert tree(tmp_path) == before


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    file = story(tmp_path)
    write_compose(check_compose([file], {}, new="v4.0.0"))
    handle = os.open(tmp_path / ".pgmend-compose", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RefusedError, match="another process"):
            revert_compose([file])
    finally:
        os.close(handle)


def test_after_a_kill_at_any_moment_revert_gives_back_every_byte(tmp_path: Path) -> None:
    """Scenario: many files, and SIGKILL at moments spread over the write.
    Outcome: all old, or after --revert all old again; what is half done is refused.
    """
    files = []
    for number in range(30):
        files.append(tmp_path / f"c{number}.yml")
        files[-1].write_text(f"services:\n  s{number}: {{image: 'app:v1'}}\n")
    before = tree(tmp_path)
    code = ("import sys; from pathlib import Path;"
            "from migrations_check import check_compose, write_compose;"
            "f = [Path(a) for a in sys.argv[1:]]; c = check_compose(f, {}, new='v2');"
            "print('go', flush=True); write_compose(c); print('done', flush=True)")
    new = tmp_path / ".pgmend-compose" / "1"
    moments = [
        (tmp_path / ".pgmend-compose").exists,
        new.exists,
        (tmp_path / ".c7.yml.pgmend-new").exists,
        *(lambda n=n: b"v2" in files[n].read_bytes() for n in (0, 3, 9, 12, 20)),
    ]
    cut = 0
    for moment in moments:
        child = subprocess.Popen([sys.executable, "-c", code, *map(str, files)],
                                 stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        while child.poll() is None and not moment():
            pass
        child.kill()
        child.communicate()
        if new.exists():
            if not json.loads((new / "list.json").read_text())["done"]:
                cut += 1
                with pytest.raises((RefusedError, UsageError)):
                    write_compose(check_compose(files, {}, old="v1", new="v3"))
            revert_compose(files)
        assert {n: t for n, t in tree(tmp_path).items() if ".pgmend-compose" not in n} == before
    assert cut


NAMES = st.sampled_from(["web", "db", "redis", "a", "worker"])
VERSIONS = st.sampled_from(["v1.2", "v1.20", "v1.2.3", "1.2", "7", "v1.2-rc1", "latest"])
IMAGES = st.sampled_from(["app", "postgres", "redis", "r.example:5000/x/app", "v1.2/app"])
STYLES = st.sampled_from(["{}", "'{}'", '"{}"', "'{}' # v1.2", "&anchor{n} {}"])
NOISE = st.sampled_from(["    command: run v1.2\n", "    # v1.2\n", "", "    labels: {x: v1.2}\n",
                         "    environment: {APP_VERSION: v1.2}\n"])


@st.composite
def composes(draw: st.DrawFn) -> str:
    """Make a compose file of services, quoted in many ways, with lines that are no places."""
    lines = ["services:\n  first:\n    image: app:v1.2\n"]
    for number in range(draw(st.integers(1, 6))):
        tag = draw(VERSIONS)
        tag = draw(st.sampled_from([tag, f"${{T{number}:-{tag}}}", "${TAG}"]))
        style = draw(STYLES).replace("{n}", str(number))
        image = style.replace("{}", f"{draw(IMAGES)}:{tag}")
        lines += [f"  {draw(NAMES)}{number}:\n", draw(NOISE), f"    image: {image}\n", draw(NOISE)]
    text = "".join(lines)
    return draw(st.sampled_from(["", "\ufeff"])) + draw(
        st.sampled_from([text, text.replace("\n", "\r\n"), text.rstrip("\n")]))


@pytest.mark.grows
@settings(max_examples=150 if os.environ.get("PGMEND_SLOW") != "1" else 3000, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(composes(), st.sampled_from(["TAG=v1.2\n", "TAG=v1.20\r\n", "", "TAG='7' # 7\nX=v1.2"]))
def test_laws_of_write_and_revert(tmp_path: Path, text: str, env: str) -> None:
    """Replaced is what the change lists and nothing else; write, then revert, is no change."""
    file = tmp_path / "docker-compose.yml"
    file.write_bytes(text.encode())
    (tmp_path / ".env").write_bytes(env.encode())
    before = tree(tmp_path)
    found = check_compose([file], {}, old="v1.2", new="v9.9.9")
    write_compose(found)
    assert found.change is not None
    after = tree(tmp_path)
    for name in before:
        old, new = before[name].decode(), after[name].decode()
        edits = sorted((span.start, span.end, text)
                       for span, text in found.change.edits.items() if span.real.name == name)
        at, rebuilt = 0, ""
        for start, end, put_in in edits:
            assert old[start:end] in {"v1.2", "1.2"}
            assert put_in == old[start:end].replace("1.2", "9.9.9")
            assert old[end : end + 2] != "-r"
            assert not old[end : end + 1].isdigit()
            rebuilt += old[at:start] + put_in
            at = end
        assert new == rebuilt + old[at:]
    changed = [line for line in after["docker-compose.yml"].decode().split("\n") if "9.9.9" in line]
    assert all("image:" in line.partition("9.9.9")[0] for line in changed)
    assert not any(name in line for line in changed for name in ("postgres:", "redis:"))
    revert_compose([file])
    assert tree(tmp_path) == before
