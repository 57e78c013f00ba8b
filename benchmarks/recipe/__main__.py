"""``python -m benchmarks.recipe``: the recipe for Mastodon beside its predecessor's queries.

``tootctl maintenance fix-duplicates`` finds the duplicates of each table by a GROUP BY, and in
the end builds each unique index anew. That much it takes at least, without the repair itself:
it is measured here, in the same run, on the same rows, at the server's default settings.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import sql

from dedupe.lab import Server, server
from dedupe.lab.instance import Manifest, check, make_instance

from .. import machine
from ..command import Code, run, tell
from ..failure import BenchmarkFailed
from ..measure import OWN_NAME, measured

#: table, key as the tool groups by it, condition, and the index that it builds anew
QUERIES: tuple[tuple[str, str, str | None, str], ...] = (
    ("users", "email", None, "index_users_on_email"),
    ("users", "confirmation_token", "confirmation_token IS NOT NULL",
     "index_users_on_confirmation_token"),
    ("users", "reset_password_token", "reset_password_token IS NOT NULL",
     "index_users_on_reset_password_token"),
    ("account_domain_blocks", "account_id, domain", None,
     "index_account_domain_blocks_on_account_id_and_domain"),
    ("announcement_reactions", "account_id, announcement_id, name", None,
     "index_announcement_reactions_on_account_id_and_announcement_id"),
    ("conversations", "uri", "uri IS NOT NULL", "index_conversations_on_uri"),
    ("custom_emojis", "shortcode, domain", None, "index_custom_emojis_on_shortcode_and_domain"),
    ("custom_emoji_categories", "name", None, "index_custom_emoji_categories_on_name"),
    ("domain_allows", "domain", None, "index_domain_allows_on_domain"),
    ("domain_blocks", "domain", None, "index_domain_blocks_on_domain"),
    ("unavailable_domains", "domain", None, "index_unavailable_domains_on_domain"),
    ("email_domain_blocks", "domain", None, "index_email_domain_blocks_on_domain"),
    ("media_attachments", "shortcode", "shortcode IS NOT NULL",
     "index_media_attachments_on_shortcode"),
    ("preview_cards", "url", None, "index_preview_cards_on_url"),
    ("statuses", "uri", "uri IS NOT NULL", "index_statuses_on_uri"),
    ("accounts", "lower(username), COALESCE(lower(domain), '')", None,
     "index_accounts_on_username_and_domain_lower"),
    ("tags", "lower(name)", None, "index_tags_on_name_lower_btree"),
    ("webauthn_credentials", "external_id", None, "index_webauthn_credentials_on_external_id"),
)
#: wanted: no longer than that at 0.1 % of twins; milliseconds a duplicate post at 10 %; bytes
RATIO, EACH, MEMORY = 1.0, 1.0, 150_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured on one instance."""

    statuses: int
    rate: float
    #: rows that have to go or to change, and those of them that are posts
    losers: int
    posts: int
    database_bytes: int
    #: seconds of the predecessor's queries, and of building its indexes anew
    detection: float
    rebuild: float
    #: of pgmend: all of it, and by step and phase
    seconds: float
    phases: Mapping[str, float]
    rss_bytes: int
    #: what deviates from the manifest
    wrong: tuple[str, ...]


@click.command()
@click.option("--statuses", type=click.IntRange(min=1000), default=5_000_000, show_default=True)
@click.option("--rate", type=click.FloatRange(0, 0.5), default=0.001, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--check", "strict", is_flag=True, help="Exit with 1 if a wanted figure is missed.")
def benchmark(*, statuses: int, rate: float, as_json: bool, strict: bool) -> Code:
    """Measure the recipe for Mastodon on a damaged instance of 3.5.3."""
    machine.check_space(statuses, statuses * 3500)
    load = os.getloadavg()[0]
    settings = None if os.environ.get("PGMEND_LAB_DSN") else machine.SETTINGS
    with (
        tempfile.TemporaryDirectory(prefix="pgmend-benchmark-") as place,
        server(settings=settings) as lab,
        _database(lab) as dsn,
    ):
        described = machine.describe(lab, load)
        tell(f"making an instance of {statuses:,} posts, {rate:.1%} of them with twins")
        manifest = make_instance(dsn, "3.5.3", statuses=statuses, seed=1, duplicate_rate=rate)
        figures = _measure(dsn, Path(place), manifest, statuses, rate)
    if as_json:
        print(json.dumps({"machine": described.processor, **_facts(figures)}))
    else:
        print(f"{described.processor}, {described.cores} cores, PostgreSQL {described.postgresql}")
        for line in _lines(figures):
            print(line)
    if figures.wrong:
        return Code.FAILURE
    missed = any(not met for _, met in _verdicts(figures))
    return Code.MISSED if strict and missed else Code.MEASURED


@contextmanager
def _database(lab: Server) -> Iterator[str]:
    name = "pgmend_benchmark_recipe"
    lab.drop_database(name)
    yield lab.create_database(name)
    lab.drop_database(name)


def _measure(
    dsn: str, scratch: Path, manifest: Manifest, statuses: int, rate: float
) -> Figures:
    with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:
        # As whoever suspects an index has it; without it indexes are proved by counting.
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        # What building has left unwritten is nobody's to pay for.
        connection.execute("CHECKPOINT")
        ((size,),) = connection.execute(
            "SELECT pg_database_size(current_database())"
        ).fetchall()
        tell("the queries that the predecessor finds duplicates by")
        started = time.monotonic()
        for table, key, where, _ in QUERIES:
            connection.execute(
                f"SELECT string_agg(id::text, ',') FROM {table}"
                f"{f' WHERE {where}' if where else ''} GROUP BY {key} HAVING count(*) > 1"
            ).fetchall()
        detection = time.monotonic() - started
    tell("pgmend: scan, plan, repair, indexes, counters")
    ran = measured(
        [sys.executable, "-m", "benchmarks.recipe.step", dsn, str(scratch / "run")],
        dsn=dsn, scratch=scratch,
    )
    told: dict[str, Any] = json.loads(ran.output)
    if told["status"] != "repaired":
        raise BenchmarkFailed(f"pgmend left groups: {told['steps']}")
    with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:
        connection.execute("CHECKPOINT")
        tell("the same unique indexes, built anew")
        started = time.monotonic()
        for *_, index in QUERIES:
            connection.execute(sql.SQL("REINDEX INDEX {}").format(sql.Identifier(index)))
        rebuild = time.monotonic() - started
    tell("is all as the manifest says?")
    return Figures(
        statuses=statuses,
        rate=rate,
        losers=sum(losers for _, losers, _ in told["steps"].values()),
        posts=told["steps"]["statuses"][1],
        database_bytes=size,
        detection=detection,
        rebuild=rebuild,
        seconds=told["seconds"],
        phases=told["phases"],
        rss_bytes=ran.rss_bytes,
        wrong=tuple(check(dsn, manifest)),
    )


def _facts(figures: Figures) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in Figures.__slots__}


def _verdicts(figures: Figures) -> Iterator[tuple[str, bool]]:
    """Say what is wanted, and whether it is met."""
    peer = figures.detection + figures.rebuild
    each = 1000 * figures.seconds / max(1, figures.posts)
    if figures.rate < 0.01:
        yield (
            f"{figures.seconds / peer:.2f} times those queries and builds (wanted: {RATIO})",
            figures.seconds <= RATIO * peer,
        )
    else:
        yield f"{each:.2f} ms for each duplicate post (wanted: {EACH})", each <= EACH
    yield f"{figures.rss_bytes / 1e6:.0f} MB (wanted: 150)", figures.rss_bytes <= MEMORY


def _lines(figures: Figures) -> Iterator[str]:
    yield (
        f"{figures.statuses:,} posts, {figures.database_bytes / 1e9:.1f} GB,"
        f" {figures.losers:,} duplicates, {figures.posts:,} of them posts"
    )
    yield f"{len(QUERIES)} GROUP BY queries   {figures.detection:8.2f} s"
    yield f"{len(QUERIES)} indexes built      {figures.rebuild:8.2f} s"
    yield f"pgmend, all of it    {figures.seconds:8.2f} s"
    of_posts = sum(took for phase, took in figures.phases.items() if phase.startswith("statuses:"))
    yield (
        f"of it for posts      {of_posts:8.2f} s,"
        f" {1000 * of_posts / max(1, figures.posts):.2f} ms for each duplicate one"
    )
    for phase, seconds in sorted(figures.phases.items(), key=lambda one: -one[1])[:12]:
        yield f"    {seconds:8.2f} s  {phase}"
    for text, met in _verdicts(figures):
        yield f"{'PASS' if met else 'MISS'}  {text}"
    for text in figures.wrong:
        yield f"WRONG  {text}"


if __name__ == "__main__":
    sys.exit(run(benchmark))
