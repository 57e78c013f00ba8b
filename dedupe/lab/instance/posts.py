"""Scenes around posts: twins with histories of their own, conversations, media and cards."""

from __future__ import annotations

from .manifest import Release
from .scene import Ref, Scene

STATUSES = "statuses", "index_statuses_on_uri", "uri"
CONVERSATIONS = "conversations", "index_conversations_on_uri", "uri"


def scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scenes whose number goes with that of the posts."""
    return (
        _twin_posts(Scene("twin posts", release)),
        _post_without_history(Scene("an empty post and its twin", release)),
        _strangers_posts(Scene("posts of strangers", release)),
        _three_posts(Scene("three posts", release)),
    )


def conversation_scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scenes whose number goes with that of the conversations."""
    found = [
        _conversations(Scene("conversations", release)),
        _three_conversations(Scene("three conversations", release)),
    ]
    if release == "4.7":
        found.append(_parents(Scene("conversations of twin posts", release)))
    return tuple(found)


def media_scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scene of media with one shortcode: nothing of them is deleted."""
    s = Scene("media", release)
    author = s.account("author")
    post = s.status(author, "post")
    media = tuple(
        s.add("media_attachments", shortcode=s.text("code"), status_id=post, account_id=author)
        for _ in range(3)
    )
    s.plant(post, ordered_media_attachment_ids=media)
    s.group(
        "media-attachments", "index_media_attachments_on_shortcode", "shortcode", media,
        media[0], "blanked",
    )
    for one in media[1:]:
        s.becomes(one, shortcode=None)
    return (s,)


def card_scenes(release: Release) -> tuple[Scene, ...]:
    """Tell the scene of preview cards: posts get the one that stays."""
    s = Scene("cards", release)
    author = s.account("author")
    posts = [s.status(author, name) for name in ("one", "both", "other")]
    url = s.text("https://news.example/")
    old = s.add("preview_cards", url=url, title="old")
    new = s.add("preview_cards", url=url, title="new")
    s.group("preview-cards", "index_preview_cards_on_url", "url", (old, new), new)
    s.add("preview_cards_statuses", status_id=posts[0], preview_card_id=old)
    twice = s.add("preview_cards_statuses", status_id=posts[1], preview_card_id=old)
    kept = s.add("preview_cards_statuses", status_id=posts[1], preview_card_id=new)
    s.add("preview_cards_statuses", status_id=posts[2], preview_card_id=new)
    if s.new:
        s.merged(twice, kept)
        trend = s.add("preview_card_trends", preview_card_id=old, score=1)
        s.merged(trend, s.add("preview_card_trends", preview_card_id=new, score=2))
    else:
        # No key forbids a post to have its card twice before 4.2.
        s.several(twice, kept)
    return (s,)


def _twin_posts(s: Scene) -> Scene:
    """Let both of two posts have all that can hang on one."""
    author, b, c = (s.account(name) for name in ("author", "b", "c"))
    uri = s.text("https://elsewhere.example/twin")
    old = s.status(author, "old", uri=uri)
    new = s.status(author, "new", uri=uri, edited_at="2024-02-02 00:00:00")
    s.group(*STATUSES, (old, new), old)
    one, two = _media(s, author, old, new)
    s.plant(old, ordered_media_attachment_ids=(one,))
    s.plant(new, ordered_media_attachment_ids=(two,))
    poll = s.add("polls", account_id=author, status_id=new, options=("a", "b"))
    s.plant(new, poll_id=poll)
    s.becomes(
        old, ordered_media_attachment_ids=(one, two), poll_id=poll,
        edited_at="2024-02-02 00:00:00",
    )
    s.add("poll_votes", account_id=b, poll_id=poll, choice=1)
    s.notice(poll, "Poll", to=b, by=author)
    _hearts(s, author, b, c, old, new)
    _tags_and_cards(s, old, new)
    _moderation(s, author, b, c, old, new)
    for post in (old, new):
        s.status(c, f"reply{post.number}", in_reply_to_id=post, in_reply_to_account_id=author)
        # Nothing forbids to boost a post twice.
        s.status(c, f"boost{post.number}", reblog_of_id=post)
        s.add("status_edits", status_id=post, account_id=author, text=s.text("edit"),
              ordered_media_attachment_ids=(one, two))
    if s.new:
        _newer_things(s, author, b, c, old, new)
    return s


def _media(s: Scene, author: Ref, old: Ref, new: Ref) -> tuple[Ref, Ref]:
    one = s.add("media_attachments", status_id=old, account_id=author, shortcode=None)
    return one, s.add("media_attachments", status_id=new, account_id=author, shortcode=None)


def _hearts(s: Scene, author: Ref, b: Ref, c: Ref, old: Ref, new: Ref) -> None:
    kept = s.add("favourites", account_id=b, status_id=old)
    twice = s.add("favourites", account_id=b, status_id=new)
    s.merged(twice, kept)
    only = s.add("favourites", account_id=c, status_id=new)
    for heart, who in ((kept, b), (twice, b), (only, c)):
        s.notice(heart, "Favourite", to=author, by=who)
    kept = s.add("mentions", account_id=b, status_id=old, silent=True)
    twice = s.add("mentions", account_id=b, status_id=new, silent=False)
    s.merged(twice, kept, silent=False)
    only = s.add("mentions", account_id=c, status_id=new, silent=True)
    for mention, who in ((kept, b), (twice, b), (only, c)):
        s.notice(mention, "Mention", to=who, by=author)
    for table, who in (("bookmarks", b), ("status_pins", author)):
        kept = s.add(table, account_id=who, status_id=old)
        s.merged(s.add(table, account_id=who, status_id=new), kept)
    s.add("bookmarks", account_id=c, status_id=new)
    s.notice(new, "Status", to=b, by=author)
    kept = s.add("status_stats", status_id=old)
    s.merged(s.add("status_stats", status_id=new), kept)


def _tags_and_cards(s: Scene, old: Ref, new: Ref) -> None:
    both, only = s.tag("both"), s.tag("only")
    kept, twice, _ = (*s.post_tags(old, both), *s.post_tags(new, both, only))
    s.merged(twice, kept)
    card = s.add("preview_cards", url=s.text("https://card.example/"))
    kept = s.add("preview_cards_statuses", status_id=old, preview_card_id=card)
    twice = s.add("preview_cards_statuses", status_id=new, preview_card_id=card)
    if s.new:
        s.merged(twice, kept)
    else:
        s.several(kept, twice)


def _moderation(s: Scene, author: Ref, b: Ref, c: Ref, old: Ref, new: Ref) -> None:
    report = s.add("reports", account_id=b, target_account_id=author, status_ids=(old, new))
    s.add("reports", account_id=c, target_account_id=author, status_ids=(new,))
    s.add("account_warnings", account_id=b, target_account_id=author, report_id=report,
          status_ids=(new, old))
    s.add("announcements", text=s.text("news"), status_ids=(new,))
    s.add("admin_action_logs", account_id=b, action="destroy", target_type="Status",
          target_id=new)
    talk = s.add("conversations", uri=None)
    s.add("account_conversations", account_id=b, conversation_id=talk,
          participant_account_ids=(author,), status_ids=(old, new), last_status_id=new)
    s.add("account_conversations", account_id=c, conversation_id=talk,
          participant_account_ids=(author,), status_ids=(new,), last_status_id=new)


def _newer_things(s: Scene, author: Ref, b: Ref, c: Ref, old: Ref, new: Ref) -> None:
    theme = s.add("custom_filters", account_id=b, phrase=s.text("filter"))
    kept = s.add("custom_filter_statuses", custom_filter_id=theme, status_id=old)
    s.merged(s.add("custom_filter_statuses", custom_filter_id=theme, status_id=new), kept)
    quoted = s.status(c, "quoted")
    says = {"account_id": author, "quoted_status_id": quoted, "quoted_account_id": c}
    kept = s.add("quotes", status_id=old, **says)
    twice = s.add("quotes", status_id=new, activity_uri=s.text("quote"), **says)
    s.merged(twice, kept)
    s.notice(twice, "Quote", to=c, by=author)
    s.add("status_edits", status_id=new, account_id=author, quote_id=twice)
    quoting = s.status(b, "quoting")
    s.add("quotes", status_id=quoting, account_id=b, quoted_status_id=new,
          quoted_account_id=author)
    kept = s.add("status_trends", status_id=old, account_id=author)
    s.merged(s.add("status_trends", status_id=new, account_id=author), kept)
    s.add("notification_requests", account_id=b, from_account_id=author, last_status_id=new)
    s.add("conversations", uri=None, parent_status_id=new, parent_account_id=author)
    s.add("tagged_objects", status_id=quoting, object_type="Status", object_id=new)
    kept, twice = (
        s.add("tagged_objects", status_id=post, object_type="Status", object_id=quoted)
        for post in (old, new)
    )
    s.merged(twice, kept)


def _post_without_history(s: Scene) -> Scene:
    """Let everything hang on the post that goes."""
    author, b = s.account("author"), s.account("b")
    uri = s.text("https://elsewhere.example/twin")
    old, new = s.status(author, "old", uri=uri), s.status(author, "new", uri=uri)
    s.group(*STATUSES, (old, new), old)
    s.notice(s.add("favourites", account_id=b, status_id=new), "Favourite", to=author, by=b)
    s.notice(s.add("mentions", account_id=b, status_id=new), "Mention", to=b, by=author)
    s.add("bookmarks", account_id=b, status_id=new)
    s.add("status_stats", status_id=new)
    s.add("media_attachments", status_id=new, account_id=author)
    s.status(b, "reply", in_reply_to_id=new, in_reply_to_account_id=author)
    return s


def _strangers_posts(s: Scene) -> Scene:
    """Let two posts of one uri have authors who are not each other's twins: one post."""
    a, b, c = (s.account(name) for name in "abc")
    uri = s.text("https://elsewhere.example/twin")
    old, new = s.status(a, "old", uri=uri), s.status(b, "new", uri=uri)
    s.group(*STATUSES, (old, new), old)
    s.add("favourites", account_id=c, status_id=new)
    s.notice(s.add("mentions", account_id=c, status_id=new), "Mention", to=c, by=b)
    s.add("status_pins", account_id=b, status_id=new)
    return s


def _three_posts(s: Scene) -> Scene:
    """Let rows of two losers become equal, and boosts of both stay beside each other."""
    a, b = s.account("a"), s.account("b")
    uri = s.text("https://elsewhere.example/twin")
    posts = tuple(s.status(a, name, uri=uri) for name in ("one", "two", "three"))
    s.group(*STATUSES, posts, posts[0])
    hearts = [s.add("favourites", account_id=b, status_id=post) for post in posts[1:]]
    s.open(*hearts)
    s.exists("favourites", account_id=b, status_id=posts[0])
    kept, *twice = (s.add("bookmarks", account_id=b, status_id=post) for post in posts)
    for one in twice:
        s.merged(one, kept)
    first, second = (s.status(b, f"boost{post.number}", reblog_of_id=post) for post in posts[1:])
    s.add("favourites", account_id=a, status_id=first)
    s.add("favourites", account_id=a, status_id=second)
    return s


def _conversations(s: Scene) -> Scene:
    """Let both twins hold posts, mutes and threads; of two threads the latest post decides."""
    a, b, c = (s.account(name) for name in "abc")
    uri = s.text("tag:elsewhere.example:objectType=Conversation")
    old, new = (s.add("conversations", uri=uri) for _ in range(2))
    s.group(*CONVERSATIONS, (old, new), new)
    early, middle, late = (
        s.status(a, name, conversation_id=talk)
        for name, talk in (("early", old), ("middle", new), ("late", old))
    )
    kept = s.add("conversation_mutes", account_id=b, conversation_id=new)
    s.merged(s.add("conversation_mutes", account_id=b, conversation_id=old), kept)
    s.add("conversation_mutes", account_id=c, conversation_id=old)
    # The thread of the conversation that goes has the latest post.
    says = {"account_id": b, "participant_account_ids": (a, c)}
    latest = s.add("account_conversations", conversation_id=old, status_ids=(early, late),
                   last_status_id=late, unread=False, **says)
    other = s.add("account_conversations", conversation_id=new, status_ids=(middle,),
                  last_status_id=middle, unread=True, **says)
    s.merged(other, latest, unread=True, status_ids=(early, middle, late))
    says = {"account_id": c, "participant_account_ids": (a,)}
    other = s.add("account_conversations", conversation_id=old, status_ids=(early,),
                  last_status_id=early, unread=True, **says)
    latest = s.add("account_conversations", conversation_id=new, status_ids=(middle,),
                   last_status_id=middle, **says)
    s.merged(other, latest, unread=True, status_ids=(early, middle))
    # With other participants it is another thread.
    s.add("account_conversations", account_id=c, participant_account_ids=(a, b),
          conversation_id=old, status_ids=(early,), last_status_id=early)
    return s


def _three_conversations(s: Scene) -> Scene:
    """Let three conversations be one, and posts of two of them twins as well."""
    a = s.account("a")
    uri = s.text("tag:elsewhere.example:objectType=Conversation")
    talks = tuple(s.add("conversations", uri=uri) for _ in range(3))
    s.group(*CONVERSATIONS, talks, talks[2])
    post = s.text("https://elsewhere.example/twin")
    old = s.status(a, "old", uri=post, conversation_id=talks[0])
    new = s.status(a, "new", uri=post, conversation_id=talks[1])
    s.group(*STATUSES, (old, new), old)
    s.add("account_conversations", account_id=a, conversation_id=talks[0],
          participant_account_ids=(a,), status_ids=(old, new), last_status_id=new)
    return s


def _parents(s: Scene) -> Scene:
    """Let each of two twin posts begin a conversation: the conversations become one, too."""
    a, b = s.account("a"), s.account("b")
    uri = s.text("https://elsewhere.example/twin")
    old, new = s.status(a, "old", uri=uri), s.status(a, "new", uri=uri)
    s.group(*STATUSES, (old, new), old)
    kept = s.add("conversations", uri=s.text("one"), parent_status_id=old, parent_account_id=a)
    twice = s.add("conversations", uri=s.text("two"), parent_status_id=new, parent_account_id=a)
    s.merged(twice, kept)
    s.status(b, "reply", in_reply_to_id=new, in_reply_to_account_id=a, conversation_id=twice)
    s.add("conversation_mutes", account_id=b, conversation_id=twice)
    return s
