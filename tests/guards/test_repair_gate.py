"""``repair --execute`` and ``recipe run --execute`` take a receipt for an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .clusters import Cluster
from .conftest import Guarded

RECIPE = """
format = 1
name = "shop"
title = "A shop"

[schema]
tables = ["mails"]

[[index]]
name = "mails_mail"
table = "mails"
key = ["mail"]

[[step]]
id = "mails"
table = "mails"
index = "mails_mail"
case = [{ keep = ["oldest"] }]
"""


def pgmend(guard: Guarded, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "cli", *words], cwd=guard.where, env=guard.env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )


@pytest.fixture
def planned(guard: Guarded, own: Cluster) -> Guarded:
    """Give a production server with a table of twins, and a plan for it."""
    guard.cluster = own
    own.run("shop", "CREATE TABLE mails (id int PRIMARY KEY, mail text)",
            "INSERT INTO mails VALUES (1, 'a'), (2, 'a'), (3, 'b')")
    dsn = own.dsn("shop")
    scanned = pgmend(guard, "scan", "mails", "--key", "mail", "--run", "r", "-d", dsn)
    assert scanned.returncode == 1, scanned.stderr
    assert pgmend(guard, "plan", "r", "--keep", "oldest").returncode == 0
    return guard


def test_a_repair_takes_a_receipt(planned: Guarded, own: Cluster) -> None:
    """Refused without, refused unproved, done with a proved one that the journal names."""
    write = ("repair", "r", "--execute", "-q")
    gate = ("--receipts", str(planned.receipts))
    rows = "SELECT array_agg(id ORDER BY id) FROM mails"
    assert pgmend(planned, *write).returncode == 4
    assert pgmend(planned, *write, *gate).returncode == 4
    receipt = planned.take("pg_basebackup")
    refused = pgmend(planned, *write, *gate)
    assert refused.returncode == 4
    assert "it was never verified" in refused.stderr
    assert planned("verify", str(receipt)).returncode == 0
    refused = pgmend(planned, *write, *gate, "--drilled")
    assert (refused.returncode, "never drilled" in refused.stderr) == (4, True)
    assert own.run("shop", rows) == [([1, 2, 3],)]
    done = pgmend(planned, *write, *gate)
    assert done.returncode == 0, done.stderr
    assert own.run("shop", rows) == [([1, 3],)]
    journal = pgmend(planned, "journal", "list", "-d", own.dsn("shop"), "--json")
    (run,) = json.loads(journal.stdout)["runs"]
    assert run["reason"].startswith(f"receipt {receipt.name.removesuffix('.receipt.json')} ")
    # The way back asks nothing.
    shutil.rmtree(planned.receipts)
    undone = pgmend(planned, "undo", "r", "--execute", "-q")
    assert undone.returncode == 0, undone.stderr
    assert own.run("shop", rows) == [([1, 2, 3],)]


def test_the_settings_file_says_where_receipts_are(planned: Guarded) -> None:
    planned.taken("pg_basebackup")
    (planned.where / "pgmend.toml").write_text(
        f'[guard]\nreceipts = "{planned.receipts}"\nmax_age = "1s"\n'
    )
    refused = pgmend(planned, "repair", "r", "--execute", "-q")
    assert refused.returncode == 4
    assert "at most 1 s is asked for" in refused.stderr
    done = pgmend(planned, "repair", "r", "--execute", "-q", "--max-age", "1h")
    assert done.returncode == 0, done.stderr


def test_a_recipe_takes_a_receipt(planned: Guarded, own: Cluster) -> None:
    recipe = Path(planned.where / "shop.toml")
    recipe.write_text(RECIPE)
    write = ("recipe", "run", str(recipe), "--run", "fix", "--defaults", "--live", "--execute",
             "-q", "-d", own.dsn("shop"), "--receipts", str(planned.receipts))
    refused = pgmend(planned, *write)
    assert refused.returncode == 4
    there = f"there is no receipt in {planned.receipts}, for there is no such directory"
    assert f"/shop counts: {there}" in refused.stderr
    planned.taken("pg_dump")
    done = pgmend(planned, *write)
    assert done.returncode == 0, done.stderr
    assert own.run("shop", "SELECT count(*) FROM mails") == [(2,)]
    journal = pgmend(planned, "journal", "list", "-d", own.dsn("shop"), "--json")
    assert all("(pg_dump, taken " in run["reason"] for run in json.loads(journal.stdout)["runs"])
