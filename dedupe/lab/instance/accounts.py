"""Scenes around accounts: who is the same person, and what becomes of the others."""

from __future__ import annotations

from .histories import both_sides, hanging
from .manifest import Release, Renamed
from .others import user
from .posts import STATUSES
from .scene import Ref, Scene

NAMES = "accounts", "index_accounts_on_username_and_domain_lower", "username domain"
URIS = "accounts.uri", "index_accounts_on_uri", "uri"
_STALE, _FRESH, _FRESHEST = (f"2024-01-0{day} 00:00:00" for day in (2, 3, 4))


def scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scenes of accounts."""
    found = [
        _one_key(Scene("accounts of one key", release)),
        _other_keys(Scene("accounts of different keys", release)),
        _no_keys(Scene("accounts without keys", release)),
        _local(Scene("local accounts", release)),
        _some_same(Scene("two of three accounts the same", release)),
        _posts_too(Scene("twins with twin posts", release)),
    ]
    if release == "4.7":
        found += [
            _other_names(Scene("accounts of one uri", release)),
            _two_keys(Scene("accounts by two keys", release)),
            _local_uri(Scene("local and remote of one uri", release)),
        ]
    return tuple(found)


def _cased(s: Scene, name: str, number: int) -> str:
    """Write a name in another case for every second row: the key does not mind."""
    text = s.text(name)
    return text.upper().replace("{N}", "{n}") if number % 2 else text


def _named(s: Scene, number: int, *, key: str, updated: str, **columns: object) -> Ref:
    """Plant one of several accounts of one name."""
    return s.account(f"twin{number}", **({
        "username": _cased(s, "twin", number), "public_key": key, "updated_at": updated,
        "domain": "Twins.example" if number % 2 else "twins.example",
    } | columns))


def _one_key(s: Scene) -> Scene:
    """Let both twins have a history, and everything of it go to the one updated last."""
    b, c = s.account("b"), s.account("c")
    key = s.text("key")
    fresh = _named(s, 0, key=key, updated=_FRESH)
    stale = _named(s, 1, key=key, updated=_STALE, silenced_at="2024-01-01 10:00:00")
    s.group(*NAMES, (fresh, stale), fresh)
    s.becomes(fresh, silenced_at="2024-01-01 10:00:00")
    both_sides(s, b, c, stale, fresh)
    hanging(s, b, c, stale)
    return s


def _other_keys(s: Scene) -> Scene:
    """Let the staler one go with all that hangs on it, and nothing else."""
    b, c = s.account("b"), s.account("c")
    fresh = _named(s, 0, key=s.text("key one"), updated=_FRESH)
    stale = _named(s, 1, key=s.text("key other"), updated=_STALE)
    s.gone(stale, because="another person, updated longer ago")
    s.group(*NAMES, (fresh, stale), fresh)
    _taken_along(s, b, c, stale)
    # What the other one has stays his own.
    post = s.status(fresh, "fresh")
    s.add("favourites", account_id=b, status_id=post)
    s.add("follows", account_id=b, target_account_id=fresh)
    s.add("account_stats", account_id=fresh)
    return s


def _taken_along(s: Scene, b: Ref, c: Ref, stale: Ref) -> None:
    """Let all that can hang on an account go with it, or forget it where that is the rule."""
    post = s.status(stale, "stale")
    heart = s.add("favourites", account_id=b, status_id=post)
    gone = [
        post, heart,
        s.notice(heart, "Favourite", to=stale, by=b),
        s.add("mentions", account_id=stale, status_id=s.status(b, "mentioning")),
        s.add("mentions", account_id=b, status_id=post),
        s.add("follows", account_id=b, target_account_id=stale),
        s.add("follows", account_id=stale, target_account_id=c),
        s.add("account_stats", account_id=stale),
        s.add("status_stats", status_id=post),
        s.add("account_moderation_notes", account_id=b, target_account_id=stale, content="?"),
        s.add("reports", account_id=b, target_account_id=stale, status_ids=(post,)),
        s.add("account_notes", account_id=b, target_account_id=stale, comment="who?"),
        s.status(b, "boost", reblog_of_id=post),
        s.notice(post, "Status", to=b, by=stale),
        *s.post_tags(post, s.tag("tag")),
        s.add("accounts_tags", account_id=stale, tag_id=s.tag("own")),
    ]
    card = s.add("preview_cards", url=s.text("https://card.example/"))
    gone.append(s.add("preview_cards_statuses", status_id=post, preview_card_id=card))
    if s.new:
        gone += [
            s.add("quotes", account_id=stale, status_id=post),
            s.add("collections", account_id=stale, name=s.text("list"), local=False),
        ]
        quoting = s.add("quotes", account_id=b, status_id=s.status(b, "quoting"),
                        quoted_status_id=post, quoted_account_id=stale)
        s.becomes(quoting, quoted_status_id=None, quoted_account_id=None)
    s.gone(*gone, because="it hangs on an account that goes")
    reply = s.status(b, "reply", in_reply_to_id=post, in_reply_to_account_id=stale)
    s.becomes(reply, in_reply_to_id=None, in_reply_to_account_id=None)
    picture = s.add("media_attachments", account_id=stale, status_id=post)
    s.becomes(picture, account_id=None, status_id=None)
    warning = s.add("account_warnings", account_id=stale, target_account_id=c)
    s.becomes(warning, account_id=None)
    other = s.status(c, "other")
    report = s.add("reports", account_id=b, target_account_id=c, status_ids=(other, post))
    s.becomes(report, status_ids=(other,))
    s.open(s.add("admin_action_logs", account_id=b, action="suspend", target_type="Account",
                 target_id=stale))


def _no_keys(s: Scene) -> Scene:
    """Let two accounts without keys be the same by their uri, and a third one not."""
    b = s.account("b")
    uri = s.text("https://twins.example/users/twin")
    fresh = _named(s, 0, key="", updated=_FRESH, uri=uri)
    stale = _named(s, 1, key="", updated=_STALE, uri=uri)
    s.group(*NAMES, (fresh, stale), fresh)
    if s.new:
        s.group(*URIS, (fresh, stale), fresh)
    s.status(stale, "post")
    s.add("follows", account_id=b, target_account_id=stale)
    return s


def _local(s: Scene) -> Scene:
    """Let nothing local be deleted: the newest keeps the name."""
    b = s.account("b")
    uri = None if s.new else ""
    old = _named(s, 0, key=s.text("one"), updated=_FRESH, domain=None, uri=uri)
    middle = _named(s, 1, key=s.text("two"), updated=_STALE, domain="", uri=uri)
    new = _named(s, 0, key=s.text("three"), updated=_STALE, domain=None, uri=uri)
    s.group(*NAMES, (old, middle, new), new, "renamed")
    s.becomes(old, username=Renamed(_cased(s, "twin", 0)))
    s.becomes(middle, username=Renamed(_cased(s, "twin", 1)))
    for number, account in enumerate((old, middle, new)):
        user(s, f"user{number}", account)
        s.status(account, f"post{number}", uri=None)
        s.add("follows", account_id=b, target_account_id=account)
        s.add("account_stats", account_id=account)
    return s


def _some_same(s: Scene) -> Scene:
    """Let of three accounts one be merged, and one, of another key, be deleted."""
    b = s.account("b")
    key = s.text("key")
    same = _named(s, 0, key=key, updated=_FRESH)
    best = _named(s, 1, key=key, updated=_FRESHEST)
    other = _named(s, 0, key=s.text("other key"), updated=_STALE)
    s.gone(other, because="another person, updated longer ago")
    s.group(*NAMES, (same, best, other), best)
    s.status(same, "same")
    s.add("follows", account_id=b, target_account_id=same)
    s.gone(s.status(other, "other"), s.add("follows", account_id=b, target_account_id=other),
           because="it hangs on an account that goes")
    return s


def _posts_too(s: Scene) -> Scene:
    """Let each of two twins have written the same post: posts become one before accounts."""
    b = s.account("b")
    key, uri = s.text("key"), s.text("https://twins.example/statuses/twin")
    stale = _named(s, 0, key=key, updated=_STALE)
    fresh = _named(s, 1, key=key, updated=_FRESH)
    s.group(*NAMES, (stale, fresh), fresh)
    old, new = s.status(stale, "old", uri=uri), s.status(fresh, "new", uri=uri)
    s.group(*STATUSES, (old, new), old)
    kept = s.add("favourites", account_id=b, status_id=old)
    s.merged(s.add("favourites", account_id=b, status_id=new), kept)
    kept = s.add("status_pins", account_id=fresh, status_id=new)
    s.merged(s.add("status_pins", account_id=stale, status_id=old), kept)
    s.add("mentions", account_id=b, status_id=new)
    # Each twin liked the post of the other: one heart of one for his own.
    hearts = (
        s.add("favourites", account_id=stale, status_id=new),
        s.add("favourites", account_id=fresh, status_id=old),
    )
    s.merged(hearts[0], hearts[1])
    twice, kept = (s.add("account_stats", account_id=one) for one in (stale, fresh))
    s.merged(twice, kept)
    return s


def _other_names(s: Scene) -> Scene:
    """Let accounts of different names have one uri: the same person."""
    b = s.account("b")
    uri = s.text("https://elsewhere.example/users/same")
    stale = s.account("stale", uri=uri, updated_at=_STALE)
    fresh = s.account("fresh", uri=uri, updated_at=_FRESH)
    s.group(*URIS, (stale, fresh), fresh)
    s.status(stale, "post")
    kept = s.add("follows", account_id=b, target_account_id=fresh)
    s.merged(s.add("follows", account_id=b, target_account_id=stale), kept)
    return s


def _two_keys(s: Scene) -> Scene:
    """Let an account have one twin by its name and another one by its uri."""
    b = s.account("b")
    key, uri = s.text("key"), s.text("https://elsewhere.example/users/same")
    by_name = _named(s, 0, key=key, updated=_STALE)
    middle = _named(s, 1, key=key, updated=_FRESH, uri=uri)
    by_uri = s.account("by-uri", uri=uri, updated_at=_FRESHEST)
    s.group(*URIS, (middle, by_uri), by_uri)
    s.group(*NAMES, (by_name, middle), middle)
    for number, account in enumerate((by_name, middle, by_uri)):
        s.status(account, f"post{number}")
    first, *others = (
        s.add("follows", account_id=b, target_account_id=account)
        for account in (by_uri, by_name, middle)
    )
    for one in others:
        s.merged(one, first)
    return s


def _local_uri(s: Scene) -> Scene:
    """Let the local one of two keep the uri, and nothing be deleted."""
    uri = s.text("https://here.example/users/same")
    local = s.account("local", domain=None, uri=uri, updated_at=_STALE)
    remote = s.account("remote", uri=uri, updated_at=_FRESH)
    s.group(*URIS, (local, remote), local, "blanked")
    s.becomes(remote, uri=None)
    s.status(remote, "post")
    return s
