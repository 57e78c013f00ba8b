"""The story: a snapshot every night by cron, an upgrade that ruins the data, and the way back."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from .clusters import Cluster
from .conftest import ROOT, Guarded
from .test_pages import block


def data_of(own: Cluster) -> list[tuple[object, ...]]:
    """Return every row of the shop, and what its tables look like."""
    return own.run("shop", "SELECT c::text FROM customers c ORDER BY id") + own.run(
        "shop", "SELECT attrelid::regclass::text, attname FROM pg_attribute"
        " WHERE attrelid::regclass::text IN ('customers', 'nothing')"
        " AND attnum > 0 ORDER BY 1, attnum")


@pytest.fixture
def machine(guard: Guarded, own: Cluster) -> Guarded:
    """Give a machine that is set up as the guide says, but for where its directories are."""
    guard.cluster = own
    text = block("guards.md", "toml", "[guard.providers.nightly]")
    for theirs, ours in (("/var/backups/pgmend/receipts", guard.receipts),
                         ("/var/backups/pgmend/snapshots", guard.to),
                         ('dbname = "postgresql:///mastodon"', None)):
        assert theirs in text
        text = text.replace(theirs, str(ours) if ours else f'dbname = "{own.dsn("shop")}"')
    (guard.where / "pgmend.toml").write_text(text)
    guard.install()
    guard.env["PATH"] = f"{own.bindir}:{guard.env['PATH']}"
    return guard


def shell(machine: Guarded, line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("/etc/pgmend", str(machine.where))
    return subprocess.run(
        ["sh", "-c", line], cwd="/", env=machine.env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )


def test_the_story(machine: Guarded, own: Cluster) -> None:
    """Two nights, a bad upgrade on the third day, and everything is as it was."""
    (cron,) = block("guards.md", "text", "guard take").splitlines()
    fields = cron.split(None, 6)
    assert fields[5] == "postgres"
    for _night in (1, 2):
        done = shell(machine, fields[6])
        # cron mails whatever is printed: nothing, when all is well.
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list(machine.to.iterdir())) == 2
    before = data_of(own)
    assert len(before) == 5003
    ruin = (
        "ALTER TABLE customers DROP COLUMN name; DELETE FROM customers WHERE id % 2 = 0;"
        " DROP TABLE nothing"
    )
    upgrade = machine.where / "upgrade.sh"
    upgrade.write_text(
        f"psql -Xq -d {shlex.quote(own.dsn('shop'))} -c {shlex.quote(ruin)}\n"
        "echo 'could not create unique index' >&2\nexit 1\n"
    )
    (line,) = block("guards.md", "sh", "guard run").splitlines()
    assert line.endswith(" -- docker compose up -d")
    failed = shell(machine, line.replace("docker compose up -d", f"sh {upgrade}"))
    assert failed.returncode == 1
    assert data_of(own) != before
    steps = failed.stderr.partition("The way back to ")[2].partition("\n")[2]
    back = subprocess.run(
        ["sh", "-e"], input=steps, capture_output=True, text=True, timeout=120, check=False
    )
    assert back.returncode == 0, back.stderr
    assert data_of(own) == before
    # What the upgrade made of it is kept aside.
    assert len(list(own.root.glob("data.before-*"))) == 1


def test_a_night_that_failed_is_told(machine: Guarded) -> None:
    """Cron mails it, and the next upgrade is refused."""
    (cron,) = block("guards.md", "text", "guard take").splitlines()
    machine.to.write_text("in the way")
    done = shell(machine, cron.split(None, 6)[6])
    assert done.returncode == 5
    assert done.stderr.startswith("pgmend: error: ")
    mark = machine.where / "started"
    (line,) = block("guards.md", "sh", "guard run").splitlines()
    refused = shell(machine, line.replace("--take ", "").replace("docker compose up -d",
                                                                 f"touch {mark}"))
    assert refused.returncode == 4
    assert "pgmend: refused: " in refused.stderr
    assert not mark.exists()


def test_every_example_names_options_that_exist() -> None:
    """Each `pgmend guard` line of the pages is one that the command can read."""
    from cli.commands import load

    guard_command = load("guard")
    assert isinstance(guard_command, click.Group)
    pages = [ROOT / "docs/guards.md", *sorted(Path(ROOT / "docs/guards").glob("*.md"))]
    seen = 0
    for page in pages:
        for line in re.findall(r"^(?:\$ )?pgmend guard (\w+)(.*)$", page.read_text("utf-8"),
                               re.MULTILINE):
            known = {name for parameter in guard_command.commands[line[0]].params
                     for name in parameter.opts}
            words = shlex.split(line[1].partition(" -- ")[0], comments=True)
            unknown = {word for word in words if word.startswith("-")} - known
            assert not unknown, (page.name, line)
            seen += 1
    assert seen > 5
