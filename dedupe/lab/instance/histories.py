"""What can hang on an account: on one of two twins, and on both so that rows become equal."""

from __future__ import annotations

from .manifest import Lines
from .scene import Ref, Scene


def both_sides(s: Scene, b: Ref, c: Ref, x: Ref, y: Ref) -> None:
    """Let twins ``x``, which goes, and ``y`` have what only one of them can keep."""
    _relations(s, b, c, x, y)
    _threads(s, b, c, x, y)
    post = s.status(b, "liked by both")
    for table in ("mentions", "favourites", "bookmarks"):
        kept = s.add(table, account_id=y, status_id=post)
        twice = s.add(table, account_id=x, status_id=post)
        s.merged(twice, kept)
        if table == "favourites":
            s.notice(twice, "Favourite", to=b, by=x)
    pinned = s.status(x, "pinned by both")
    kept = s.add("status_pins", account_id=y, status_id=pinned)
    s.merged(s.add("status_pins", account_id=x, status_id=pinned), kept)
    kept = s.add("account_stats", account_id=y, last_status_at="2024-01-02 00:00:00")
    twice = s.add("account_stats", account_id=x, last_status_at="2024-01-05 00:00:00")
    s.merged(twice, kept, last_status_at="2024-01-05 00:00:00")
    news = s.add("announcements", text=s.text("news"))
    single: list[tuple[str, dict[str, object]]] = [
        ("account_domain_blocks", {"domain": s.text("blocked")}),
        ("announcement_mutes", {"announcement_id": news}),
        ("announcement_reactions", {"announcement_id": news, "name": "smile"}),
        ("follow_recommendation_suppressions", {}),
        ("accounts_tags", {"tag_id": s.tag("both")}),
    ]
    if s.new:
        event = s.add("relationship_severance_events", type=0, target_name=s.text("event"))
        collection = s.add("collections", account_id=c, name=s.text("c"), local=False)
        severed: dict[str, object] = {"relationship_severance_event_id": event}
        single += [
            ("notification_requests", {"from_account_id": b}),
            ("notification_policies", {}),
            ("severed_relationships", severed | {
                "local_account_id": b, "remote_account_id": None, "direction": 0,
            }),
            ("account_relationship_severance_events", severed),
            ("tag_follows", {"tag_id": s.tag("followed")}),
            ("featured_tags", {"tag_id": s.tag("featured")}),
            ("account_aliases", {"uri": s.text("alias")}),
            ("collection_items", {"collection_id": collection}),
            ("annual_report_statuses_per_account_counts", {"year": 2024, "statuses_count": 1}),
            ("email_subscriptions", {"email": s.text("mail"), "locale": "en"}),
            ("global_follow_recommendations", {"rank": 1}),
        ]
    for table, columns in single:
        name = "remote_account_id" if "remote_account_id" in columns else "account_id"
        kept = s.add(table, **(columns | {name: y}))
        s.merged(s.add(table, **(columns | {name: x})), kept)
    if s.new:
        kept = s.add("keypairs", account_id=y, uri=s.text("y"), local_fragment="main",
                     public_key="key")
        twice = s.add("keypairs", account_id=x, uri=s.text("x"), local_fragment="main",
                      public_key="key")
        s.merged(twice, kept)


def _relations(s: Scene, b: Ref, c: Ref, x: Ref, y: Ref) -> None:
    folder = s.add("lists", account_id=b, title=s.text("list"))
    kept = s.add("follows", account_id=b, target_account_id=y, notify=False)
    twice = s.add("follows", account_id=b, target_account_id=x, notify=True)
    s.merged(twice, kept, notify=True)
    for follow in (kept, twice):
        s.notice(follow, "Follow", to=x, by=b)
    listed = s.add("list_accounts", list_id=folder, account_id=y, follow_id=kept)
    s.merged(s.add("list_accounts", list_id=folder, account_id=x, follow_id=twice), listed)
    kept = s.add("follows", account_id=y, target_account_id=b)
    s.merged(s.add("follows", account_id=x, target_account_id=b), kept)
    only = s.add("follows", account_id=c, target_account_id=x)
    s.notice(only, "Follow", to=x, by=c)
    s.add("follows", account_id=x, target_account_id=c)
    for table in ("follow_requests", "blocks", "account_pins"):
        kept = s.add(table, account_id=b, target_account_id=y)
        twice = s.add(table, account_id=b, target_account_id=x)
        s.merged(twice, kept)
        if table == "follow_requests":
            s.notice(twice, "FollowRequest", to=x, by=b)
    kept = s.add("mutes", account_id=b, target_account_id=y, hide_notifications=False)
    twice = s.add("mutes", account_id=b, target_account_id=x, hide_notifications=True)
    s.merged(twice, kept, hide_notifications=True)
    kept = s.add("account_notes", account_id=b, target_account_id=y, comment="first")
    twice = s.add("account_notes", account_id=b, target_account_id=x, comment="second")
    s.merged(twice, kept, comment=Lines(("first", "second")))
    own = s.add("lists", account_id=x, title=s.text("own"))
    selves = []
    for one, other in ((x, y), (y, x)):
        pair = {"account_id": one, "target_account_id": other}
        follow = s.add("follows", **pair)
        selves += [
            follow, s.notice(follow, "Follow", to=other, by=one),
            *(s.add(table, **pair) for table in
              ("follow_requests", "blocks", "mutes", "account_pins")),
            s.add("account_notes", comment="me", **pair),
        ]
        if one == x:
            selves.append(s.add("list_accounts", list_id=own, account_id=y, follow_id=follow))
    s.gone(*selves, because="nobody follows himself")


def _threads(s: Scene, b: Ref, c: Ref, x: Ref, y: Ref) -> None:
    """Let threads become equal: the twins' own, and those of others with them."""
    talk = s.add("conversations", uri=s.text("talk"))
    early, late = (s.status(b, name, conversation_id=talk) for name in ("early", "late"))
    kept = s.add("conversation_mutes", account_id=y, conversation_id=talk)
    s.merged(s.add("conversation_mutes", account_id=x, conversation_id=talk), kept)
    says = {"conversation_id": talk, "participant_account_ids": (b,)}
    other = s.add("account_conversations", account_id=y, status_ids=(early,),
                  last_status_id=early, unread=True, **says)
    latest = s.add("account_conversations", account_id=x, status_ids=(late,),
                   last_status_id=late, **says)
    s.merged(other, latest, unread=True, status_ids=(early, late))
    says = {"conversation_id": talk, "account_id": c}
    other = s.add("account_conversations", participant_account_ids=(x,), status_ids=(early,),
                  last_status_id=early, **says)
    latest = s.add("account_conversations", participant_account_ids=(y,), status_ids=(late,),
                   last_status_id=late, **says)
    s.merged(other, latest, status_ids=(early, late))
    # The two of them with another one: one participant less.
    s.add("account_conversations", participant_account_ids=(b, x, y), status_ids=(late,),
          last_status_id=late, **says)


def hanging(s: Scene, b: Ref, c: Ref, x: Ref) -> None:
    """Let only the twin that goes have what any number of rows can say."""
    post = s.status(x, "own")
    s.status(b, "reply", in_reply_to_id=post, in_reply_to_account_id=x)
    s.add("mentions", account_id=x, status_id=s.status(c, "mentioning"))
    s.add("media_attachments", account_id=x, status_id=post)
    s.add("status_edits", account_id=x, status_id=post)
    poll = s.add("polls", account_id=x, status_id=post)
    s.plant(post, poll_id=poll)
    s.add("poll_votes", account_id=x, poll_id=poll)
    s.account("moved", moved_to_account_id=x)
    report = s.add("reports", account_id=b, target_account_id=x, assigned_account_id=x,
                   action_taken_by_account_id=x, status_ids=(post,))
    s.add("reports", account_id=x, target_account_id=b)
    s.add("report_notes", account_id=x, report_id=report, content="note")
    warning = s.add("account_warnings", account_id=b, target_account_id=x, report_id=report,
                    status_ids=(post,))
    s.add("account_warnings", account_id=x, target_account_id=b)
    s.add("appeals", account_id=x, account_warning_id=warning, approved_by_account_id=x)
    s.add("account_moderation_notes", account_id=x, target_account_id=b, content="one")
    s.add("account_moderation_notes", account_id=b, target_account_id=x, content="two")
    s.add("tombstones", account_id=x, uri=s.text("tombstone"))
    s.add("scheduled_statuses", account_id=x)
    s.add("custom_filters", account_id=x, phrase="word")
    s.add("featured_tags", account_id=x, tag_id=s.tag("own"))
    s.add("admin_action_logs", account_id=x, action="suspend", target_type="Account",
          target_id=b)
    s.add("admin_action_logs", account_id=b, action="suspend", target_type="Account",
          target_id=x)
    s.add("account_aliases", account_id=x, uri=s.text("own alias"))
    s.add("account_migrations", account_id=x, target_account_id=b)
    s.add("account_migrations", account_id=b, target_account_id=x)
    s.add("canonical_email_blocks", reference_account_id=x, canonical_email_hash=s.text("hash"))
    s.add("account_deletion_requests", account_id=x)
    s.add("account_statuses_cleanup_policies", account_id=x)
    s.add("imports", account_id=x, type=1)
    s.notice(s.add("mentions", account_id=b, status_id=post), "Mention", to=b, by=x)
    if s.new:
        _newer(s, b, x, post)
    else:
        device = s.add("devices", account_id=x)
        s.add("encrypted_messages", device_id=device, from_account_id=x)


def _newer(s: Scene, b: Ref, x: Ref, post: Ref) -> None:
    s.add("notification_permissions", account_id=b, from_account_id=x)
    s.add("notification_permissions", account_id=x, from_account_id=b)
    s.add("notification_requests", account_id=b, from_account_id=x, last_status_id=post)
    s.add("bulk_imports", account_id=x, type=1, state=1)
    s.add("quotes", account_id=x, status_id=post)
    s.add("quotes", account_id=b, status_id=s.status(b, "quoting"), quoted_account_id=x,
          quoted_status_id=post)
    s.add("collections", account_id=x, name=s.text("x"), local=False)
    s.add("follow_recommendation_mutes", account_id=b, target_account_id=x)
    s.add("fasp_follow_recommendations", requesting_account_id=b, recommended_account_id=x)
    s.add("fasp_follow_recommendations", requesting_account_id=x, recommended_account_id=b)
    s.add("generated_annual_reports", account_id=x, year=2024, data="{}")
    s.add("instance_moderation_notes", account_id=x, domain="a.example")
    s.add("status_trends", account_id=x, status_id=post)
    s.add("preview_cards", url=s.text("https://card.example/"), author_account_id=x,
          unverified_author_account_id=x)
    s.add("conversations", parent_account_id=x)
    s.add("tagged_objects", status_id=s.status(b, "tagging"), object_type="Account",
          object_id=x)
