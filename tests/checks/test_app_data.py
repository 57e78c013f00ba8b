"""The data about Mastodon's releases agrees with itself, and with what is known of them."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from dedupe.errors import UsageError
from migrations_check.releases.data import data, known, new_keys, releases, target

from .apps import migrations

#: first release, schema version, last of db/migrate, last of db/post_migrate, how many of each
FACTS = """
3.0.0 20191001213028 20191001213028 20190927124642 236 8
3.1.0 20200126203551 20200126203551 20190927124642 245 8
3.1.3 20200312185443 20200312185443 20190927124642 250 8
3.2.0 20200628133322 20200628133322 20190927124642 267 8
3.3.0 20201218054746 20201218054746 20201017234926 282 11
3.4.0 20210507001928 20210505174616 20210507001928 291 14
3.4.1 20210526193025 20210505174616 20210526193025 291 15
3.5.0 20220316233212 20220316233212 20220310060959 320 41
3.5.2 20220429101850 20220428114902 20220429101850 324 43
4.0.0 20221104133904 20221104133904 20221101190723 343 51
4.1.0 20221206114142 20221104133904 20221206114142 343 52
4.2.0 20230907150100 20230907150100 20230904134623 365 57
4.3.0 20241007071624 20241007071624 20240916190140 405 67
4.4.0 20250627132728 20250627132728 20250520192024 467 72
4.5.0 20251023210145 20251023210145 20250520192024 482 72
4.6.0 20260611150940 20260611150940 20250520192024 516 72
4.7.0 20260812154114 20260812154114 20260804081821 535 80
"""


@pytest.mark.parametrize("line", FACTS.split("\n")[1:-1])
def test_the_sets_have_the_counts_and_ends_of_the_releases(line: str) -> None:
    first, schema, pre, post, pres, posts = line.split()
    release = next(one for one in releases() if one.first == first)
    assert (max(release.versions), max(release.pre), max(release.post)) == (schema, pre, post)
    assert (len(release.pre), len(release.post)) == (int(pres), int(posts))


def _recipe() -> str:
    return resources.files("dedupe.recipes").joinpath("mastodon.toml").read_text("utf-8")


def test_every_entry_names_what_there_is() -> None:
    assert all(re.fullmatch(r"\d{14}", one) for one in known())
    for entry, release in zip(data()["release"], releases(), strict=True):
        assert entry["counts"] == {"pre": len(release.pre), "post": len(release.post)}
        assert not release.pre & release.post
    for kind in ("key", "built", "oneway", "deleted", "variable"):
        for entry in data()[kind]:
            assert entry.get("migration") in known() | {None}
            assert len(entry.get("index", "").encode()) <= 63
            if "since" in entry and "migration" in entry:
                assert entry["migration"] in migrations(entry["since"])
    assert len({(one.table, one.index, one.migration) for one in new_keys(known())}) == 16
    steps = set(re.findall(r'^index = "(\w+)"', _recipe(), re.MULTILINE))
    assert {one.index for one in new_keys(known()) if one.recipe} <= steps
    assert all(one.message and one.remedy for one in new_keys(known())
               if one.duplicates == "lose")
    assert not {one for entry in data()["fork"] for one in entry["versions"]} & known()


@pytest.mark.parametrize(("text", "first", "name", "seen"), [
    ("4.7.0", "4.7.0", "4.7.0", True),
    ("v4.3.9", "4.3.0", "4.3.9", True),
    ("4.3", "4.3.0", "4.3.23", True),
    ("3.1.2", "3.1.0", "3.1.2", True),
    ("3.1.4", "3.1.4", "3.1.4", True),
    ("4.2.29", "4.2.0", "4.2.29", False),
])
def test_a_target_is_found_by_its_name(text: str, first: str, name: str, seen: bool) -> None:
    found = target(text)
    assert (found.release.first, found.name, found.seen) == (first, name, seen)


@pytest.mark.parametrize(("text", "hint"), [
    ("4.8.0", "newest that is known is 4.7.0"), ("5", "newest that is known is 4.7.0"),
    ("3.6.0", "Did you mean 3.5.3?"), ("2.9.4", "Did you mean 3.0.0?"),
    ("latest", "Known are 3.0.0 to 4.7.0"), ("4.6.0-rc.1", "Did you mean 4.6.0?"),
    ("4." + "9" * 5000, "newest that is known"),
    ("", "Known are 3.0.0 to 4.7.0"), ("4.5.0\n; DROP", "Did you mean 4.5.0?"),
])
def test_an_unknown_target_names_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as told:
        target(text)
    assert hint in str(told.value.hint)
