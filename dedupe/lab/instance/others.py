"""Scenes around users, tags, emojis, and the tables in which little hangs on a row."""

from __future__ import annotations

from typing import Any, Literal

from .manifest import Release, Renamed
from .scene import Ref, Scene


def user_scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scenes of users: nobody is deleted, keys are changed."""
    return _users(Scene("users", release)), _users_by_two_keys(Scene("users by two keys", release))


def tag_scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scenes of tags of one name in different case."""
    return _tags(Scene("tags", release)), _three_tags(Scene("three tags", release))


def small_scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scenes of small tables."""
    return (
        _emojis(Scene("emojis", release)),
        _categories(Scene("emoji categories", release)),
        _announcements(Scene("announcements", release)),
        _domains(Scene("domains", release)),
        _email_domains(Scene("email domains", release)),
        _credentials(Scene("credentials", release)),
    )


def user(s: Scene, name: str, account: Ref, **columns: Any) -> Ref:
    """Plant a user of an account."""
    return s.add("users", **({
        "account_id": account, "email": f"{s.text(name)}@mail.example",
    } | columns))


def _locals(s: Scene, *names: str) -> list[Ref]:
    # An account of the instance itself has no uri; the column could not be NULL once.
    return [s.account(name, domain=None, uri=None if s.new else "") for name in names]


def _users(s: Scene) -> Scene:
    """Let users share an address, and others a token each."""
    a, b, c, d, e, f = _locals(s, *"abcdef")
    mail = f"{s.text('mail')}@mail.example"
    stale = user(s, "a", a, email=mail, updated_at="2024-01-02 00:00:00")
    fresh = user(s, "b", b, email=mail, updated_at="2024-01-03 00:00:00")
    s.group("users.email", "index_users_on_email", "email", (stale, fresh), fresh, "renamed")
    s.becomes(stale, email=Renamed(mail))
    token = s.text("confirm")
    younger = user(s, "c", c, confirmation_token=token, created_at="2024-01-03 00:00:00")
    older = user(s, "d", d, confirmation_token=token, created_at="2024-01-02 00:00:00")
    s.group("users.confirmation-token", "index_users_on_confirmation_token",
            "confirmation_token", (younger, older), younger, "blanked")
    s.becomes(older, confirmation_token=None)
    token = s.text("reset")
    stale = user(s, "e", e, reset_password_token=token, updated_at="2024-01-02 00:00:00")
    fresh = user(s, "f", f, reset_password_token=token, updated_at="2024-01-03 00:00:00")
    s.group("users.reset-password-token", "index_users_on_reset_password_token",
            "reset_password_token", (stale, fresh), fresh, "blanked")
    s.becomes(stale, reset_password_token=None)
    return s


def _users_by_two_keys(s: Scene) -> Scene:
    """Let the same two users share an address and a token, and a third one the token."""
    a, b, c = _locals(s, *"abc")
    mail, token = f"{s.text('mail')}@mail.example", s.text("confirm")
    old = user(s, "a", a, email=mail, confirmation_token=token,
               created_at="2024-01-02 00:00:00", updated_at="2024-01-09 00:00:00")
    new = user(s, "b", b, email=mail, confirmation_token=token,
               created_at="2024-01-03 00:00:00", updated_at="2024-01-08 00:00:00")
    third = user(s, "c", c, confirmation_token=token, created_at="2024-01-01 00:00:00")
    s.group("users.email", "index_users_on_email", "email", (old, new), old, "renamed")
    s.becomes(new, email=Renamed(mail))
    s.group("users.confirmation-token", "index_users_on_confirmation_token",
            "confirmation_token", (old, new, third), new, "blanked")
    s.becomes(old, confirmation_token=None)
    s.becomes(third, confirmation_token=None)
    return s


def _spellings(s: Scene) -> tuple[str, str, str]:
    name = s.text("tag")
    return name.lower(), name.upper().replace("{N}", "{n}"), name.title().replace("{N}", "{n}")


TAGS = "tags", "index_tags_on_name_lower_btree", "name"


def _tags(s: Scene) -> Scene:
    """Let a tag that was looked at stay, though the other one is younger."""
    a, b = s.account("a"), s.account("b")
    low, high, _ = _spellings(s)
    seen = s.tag("", name=low, usable=True, listable=False, reviewed_at="2024-01-05 00:00:00",
                 last_status_at="2024-01-06 00:00:00")
    young = s.tag("", name=high, requested_review_at="2024-01-07 00:00:00",
                  last_status_at="2024-01-08 00:00:00")
    s.group(*TAGS, (seen, young), seen)
    s.becomes(seen, requested_review_at="2024-01-07 00:00:00",
              last_status_at="2024-01-08 00:00:00")
    both, only = s.status(a, "both"), s.status(a, "only")
    kept, twice = s.post_tags(both, seen, young)
    s.merged(twice, kept)
    s.post_tags(only, young)
    kept = s.add("accounts_tags", account_id=a, tag_id=seen)
    s.merged(s.add("accounts_tags", account_id=a, tag_id=young), kept)
    s.add("accounts_tags", account_id=b, tag_id=young)
    kept = s.add("featured_tags", account_id=a, tag_id=seen)
    twice = s.add("featured_tags", account_id=a, tag_id=young)
    s.add("featured_tags", account_id=b, tag_id=young)
    if s.new:
        s.merged(twice, kept)
        kept = s.add("tag_follows", account_id=b, tag_id=seen)
        s.merged(s.add("tag_follows", account_id=b, tag_id=young), kept)
        s.add("tag_follows", account_id=a, tag_id=young)
        kept = s.add("tag_trends", tag_id=seen, language="en", score=1)
        s.merged(s.add("tag_trends", tag_id=young, language="en", score=2), kept)
        s.add("tag_trends", tag_id=young, language="de", score=2)
        s.add("collections", account_id=a, tag_id=young, name=s.text("list"), local=False)
    return s


def _three_tags(s: Scene) -> Scene:
    """Let of three tags the one with most permissions stay."""
    a = s.account("a")
    low, high, title = _spellings(s)
    says = {"trendable": False, "listable": True}
    tags = (
        s.tag("", name=low, usable=False, **says), s.tag("", name=high, usable=True, **says),
        s.tag("", name=title),
    )
    s.group(*TAGS, tags, tags[1])
    for number, tag in enumerate(tags):
        s.post_tags(s.status(a, f"post{number}"), tag)
    return s


def _emojis(s: Scene) -> Scene:
    """Let emojis of another server have one name; those of the instance itself are no twins."""
    a = s.account("a")
    says = {"shortcode": s.text("smile"), "domain": "elsewhere.example"}
    old, new = (s.add("custom_emojis", **says) for _ in range(2))
    s.group("custom-emojis", "index_custom_emojis_on_shortcode_and_domain", "shortcode domain",
            (old, new), new)
    for _ in range(2):
        s.add("custom_emojis", shortcode=s.text("local"), domain=None)
    news = s.add("announcements", text=s.text("news"))
    s.add("announcement_reactions", account_id=a, announcement_id=news, name="smile",
          custom_emoji_id=old)
    s.add("admin_action_logs", account_id=a, action="update", target_type="CustomEmoji",
          target_id=old)
    if s.new:
        s.add("custom_emoji_categories", name=s.text("featuring"), featured_emoji_id=old)
    return s


def _categories(s: Scene) -> Scene:
    name = s.text("category")
    old, new = (s.add("custom_emoji_categories", name=name) for _ in range(2))
    s.group("custom-emoji-categories", "index_custom_emoji_categories_on_name", "name",
            (old, new), new)
    for category in (old, new):
        s.add("custom_emojis", shortcode=s.text(f"emoji{category.number}"), category_id=category)
    return s


def _announcements(s: Scene) -> Scene:
    a = s.account("a")
    says = {"account_id": a, "announcement_id": s.add("announcements", text=s.text("news"))}
    old, new = (s.add("announcement_reactions", name="smile", **says) for _ in range(2))
    s.group("announcement-reactions",
            "index_announcement_reactions_on_account_id_and_announcement_id",
            "account_id announcement_id name", (old, new), new)
    return s


def _domains(s: Scene) -> Scene:
    """Let every table of domains have twins; of blocks the most severe one stays."""
    a = s.account("a")
    domain = s.text("domain")
    old, new = (s.add("account_domain_blocks", account_id=a, domain=domain) for _ in range(2))
    s.group("account-domain-blocks", "index_account_domain_blocks_on_account_id_and_domain",
            "account_id domain", (old, new), old)
    for table, step in (("domain_allows", "domain-allows"),
                        ("unavailable_domains", "unavailable-domains")):
        old, new = (s.add(table, domain=domain) for _ in range(2))
        s.group(step, f"index_{table}_on_domain", "domain", (old, new), new)
    severe = s.add("domain_blocks", domain=domain, severity=1, reject_media=False,
                   public_comment=None, private_comment="seen")
    silent = s.add("domain_blocks", domain=domain, severity=0, reject_media=True,
                   reject_reports=True, public_comment="spam", private_comment="other")
    noop = s.add("domain_blocks", domain=domain, severity=2, obfuscate=True)
    s.group("domain-blocks", "index_domain_blocks_on_domain", "domain",
            (severe, silent, noop), severe)
    s.becomes(severe, reject_media=True, reject_reports=True, obfuscate=True,
              public_comment="spam", private_comment="seen")
    for gone in (silent, noop):
        s.add("admin_action_logs", account_id=a, action="create", target_type="DomainBlock",
              target_id=gone)
    return s


def _email_domains(s: Scene) -> Scene:
    """Let a block without a parent stay, and take the blocks below the other one."""
    a = s.account("a")
    domain = s.text("mail")
    top = s.add("email_domain_blocks", domain=s.text("top"))
    root = s.add("email_domain_blocks", domain=domain, parent_id=None)
    leaf = s.add("email_domain_blocks", domain=domain, parent_id=top)
    s.group("email-domain-blocks", "index_email_domain_blocks_on_domain", "domain",
            (root, leaf), root)
    s.add("email_domain_blocks", domain=s.text("below"), parent_id=leaf)
    s.add("admin_action_logs", account_id=a, action="create", target_type="EmailDomainBlock",
          target_id=leaf)
    return s


def _newest(s: Scene, step: str, index: str, column: str, *members: Ref) -> None:
    s.group(step, index, column, members, members[-1])


def _credentials(s: Scene) -> Scene:
    """Let keys of users, refresh tokens, webhooks and known updates have twins."""
    (a,) = _locals(s, "a")
    who = user(s, "a", a)
    keys = [
        s.add("webauthn_credentials", external_id=s.text("key"), public_key="key",
              nickname=s.text(name), user_id=who)
        for name in ("old", "new")
    ]
    _newest(s, "webauthn-credentials", "index_webauthn_credentials_on_external_id",
            "external_id", *keys)
    tokens = [
        s.add("oauth_access_tokens", token=s.text(name), refresh_token=s.text("refresh"),
              resource_owner_id=who)
        for name in ("old", "new")
    ]
    for token in tokens:
        s.add("session_activations", session_id=s.text(f"session{token.number}"), user_id=who,
              access_token_id=token)
    fate: Literal["blanked"] = "blanked"
    s.group("oauth-access-tokens.refresh-token", "index_oauth_access_tokens_on_refresh_token",
            "refresh_token", (tokens[0], tokens[1]), tokens[1], fate)
    s.becomes(tokens[0], refresh_token=None)
    if s.new:
        hooks = [s.add("webhooks", url=s.text("https://hook.example/")) for _ in range(2)]
        _newest(s, "webhooks", "index_webhooks_on_url", "url", *hooks)
        updates = [s.add("software_updates", version=s.text("4.8")) for _ in range(2)]
        _newest(s, "software-updates", "index_software_updates_on_version", "version", *updates)
    return s
