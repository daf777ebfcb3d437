"""What posts may hold: addresses of media, limits of each platform, and that all faults are told."""

from typing import Any

import pytest

from penstock.schemas.errors import Code
from penstock.schemas.media_address import address_fault
from penstock.schemas.post_content import Media, PostContent
from penstock.schemas.post_rules import FACEBOOK, INSTAGRAM, MASTODON, YOUTUBE, ContentRules, content_faults

GOOD = (
    "https://cdn.penstock.io/a.jpg",
    "https://93.184.216.34/a",
    "https://a.b.c.io:443/x?y=1",
    "https://[2606:4700::1]/a",
)
BAD = (
    "http://cdn.penstock.io/a.jpg", "ftp://cdn.penstock.io/a", "https://user@cdn.penstock.io/a", "https://u:p@a.io/a",
    "https://cdn.penstock.io:8443/a", "https://localhost/a", "https://intranet/a", "https://db.internal/a",
    "https://printer.local/a", "https://127.0.0.1/a", "https://127.1/a", "https://2130706433/a", "https://0x7f000001/a",
    "https://0177.0.0.1/a", "https://10.0.0.1/a", "https://192.168.1.1/a", "https://172.16.0.1/a",
    "https://169.254.169.254/latest", "https://100.64.0.1/a", "https://0.0.0.0/a", "https://224.0.0.1/a",
    "https://[::1]/a", "https://[fe80::1]/a", "https://[fd00::1]/a", "https://[::ffff:127.0.0.1]/a",
    "https://[64:ff9b::7f00:1]/a", "https://[2002:7f00:1::]/a", "https://cdn.penstock.io/ü.jpg",
    "https://ex ample.io/a",
    "https://cdn.penstock.io\\@127.0.0.1/a", "https:///a", "https://a..io/a", "javascript:alert(1)", "https://[::1/a",
    "https://cdn.penstock.io:99999/a", "https://localhost./a",
)  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_a_public_address_is_taken(url: str) -> None:
    assert address_fault(url) is None


@pytest.mark.parametrize("url", BAD)
def test_an_address_that_is_not_https_or_not_public_is_refused(url: str) -> None:
    assert address_fault(url) is not None


def test_a_private_host_is_taken_where_it_is_named() -> None:
    assert address_fault("http://127.0.0.1:8080/a", {"127.0.0.1"}) is None
    assert address_fault("http://127.0.0.2:8080/a", {"127.0.0.1"}) is not None


def picture(**more: Any) -> Media:
    return Media(url="https://cdn.penstock.io/a.jpg", **more)


def video(**more: Any) -> Media:
    return Media(url="https://cdn.penstock.io/a.mp4", kind="video", **more)


def post(text: str = "t", *media: Media, link: str | None = None, **options: Any) -> PostContent:
    return PostContent(text=text, media=media, link=link, options=options)


#: Rules, a post that just passes, one that just does not, and the field and code of its only fault.
EDGES: dict[str, tuple[ContentRules, PostContent, PostContent, str | None, Code]] = {
    "instagram-text": (
        INSTAGRAM,
        post("x" * 2_200, picture()),
        post("x" * 2_201, picture()),
        "text",
        Code.POST_TEXT_TOO_LONG,
    ),
    "instagram-hashtags": (
        INSTAGRAM,
        post("#a " * 30, picture()),
        post("#a " * 31, picture()),
        "text",
        Code.POST_TEXT_INVALID,
    ),
    "instagram-mentions": (
        INSTAGRAM,
        post("@a " * 20, picture()),
        post("@a " * 21, picture()),
        "text",
        Code.POST_TEXT_INVALID,
    ),
    "instagram-no-media": (INSTAGRAM, post("t", picture()), post("t"), "media", Code.POST_EMPTY),
    "instagram-ten": (
        INSTAGRAM,
        post("t", *[picture()] * 10),
        post("t", *[picture()] * 11),
        "media",
        Code.POST_MEDIA_INVALID,
    ),
    "instagram-jpeg": (
        INSTAGRAM,
        post("t", picture(content_type="image/jpeg")),
        post("t", picture(content_type="image/png")),
        "media.0",
        Code.POST_MEDIA_INVALID,
    ),
    "instagram-bytes": (
        INSTAGRAM,
        post("t", picture(size_bytes=8 * 2**20)),
        post("t", picture(size_bytes=8 * 2**20 + 1)),
        "media.0",
        Code.POST_MEDIA_INVALID,
    ),
    "instagram-ratio": (
        INSTAGRAM,
        post("t", picture(width=800, height=1_000)),
        post("t", picture(width=799, height=1_000)),
        "media.0",
        Code.POST_MEDIA_INVALID,
    ),
    "instagram-reel": (
        INSTAGRAM,
        post("t", video(duration_seconds=900)),
        post("t", video(duration_seconds=901)),
        "media.0",
        Code.POST_MEDIA_INVALID,
    ),
    "instagram-option": (
        INSTAGRAM,
        post("t", video(), share_to_feed=True),
        post("t", video(), share_to_feed="yes"),
        "options.share_to_feed",
        Code.POST_OPTION_INVALID,
    ),
    "facebook-empty": (FACEBOOK, post(" x "), post(" \n "), None, Code.POST_EMPTY),
    "facebook-mixed": (
        FACEBOOK,
        post("t", picture(), picture()),
        post("t", picture(), video()),
        "media",
        Code.POST_MEDIA_INVALID,
    ),
    "facebook-link": (
        FACEBOOK,
        post(link="https://a.io"),
        post(link="javascript:x"),
        "link",
        Code.POST_OPTION_INVALID,
    ),
    "youtube-bytes": (
        YOUTUBE,
        post("ü" * 2_500, video(), title="t"),
        post("ü" * 2_501, video(), title="t"),
        "text",
        Code.POST_TEXT_TOO_LONG,
    ),
    "youtube-title": (
        YOUTUBE,
        post("t", video(), title="x" * 100),
        post("t", video()),
        "options.title",
        Code.POST_OPTION_INVALID,
    ),
    "youtube-angle": (
        YOUTUBE,
        post("t", video(), title="t"),
        post("a<b", video(), title="t"),
        "text",
        Code.POST_TEXT_INVALID,
    ),
    "youtube-tags": (
        YOUTUBE,
        post("t", video(), title="t", tags=["x" * 497, "y"]),
        post("t", video(), title="t", tags=["x" * 497, "a b"]),
        "options.tags",
        Code.POST_OPTION_INVALID,
    ),
    "youtube-picture": (
        YOUTUBE,
        post("t", video(), title="t"),
        post("t", picture(), title="t"),
        "media.0.kind",
        Code.POST_MEDIA_INVALID,
    ),
    "mastodon-text": (MASTODON, post("x" * 500), post("x" * 501), "text", Code.POST_TEXT_TOO_LONG),
    "facebook-link-or-media": (
        FACEBOOK,
        post("x", picture()),
        post("x", picture(), link="https://a.io"),
        "link",
        Code.POST_OPTION_INVALID,
    ),
    "facebook-reel": (
        FACEBOOK,
        post("x", video(), reel=True),
        post("x", picture(), reel=True),
        "options.reel",
        Code.POST_OPTION_INVALID,
    ),
    "facebook-own-schedule": (
        FACEBOOK,
        post("x", scheduled_publish_time=1),
        post("x", video(), scheduled_publish_time=1),
        "options.scheduled_publish_time",
        Code.POST_OPTION_INVALID,
    ),
    "youtube-own-schedule": (
        YOUTUBE,
        post("x", video(), title="t", publish_at="2027-01-01T09:00:00Z", privacy="private"),
        post("x", video(), title="t", publish_at="2027-01-01T09:00:00Z", privacy="public"),
        "options.publish_at",
        Code.POST_OPTION_INVALID,
    ),
    "mastodon-link": (MASTODON, post("x"), post("x", link="https://a.io"), "link", Code.POST_OPTION_INVALID),
    "mastodon-unknown": (
        MASTODON,
        post("x", visibility="public"),
        post("x", reel=True),
        "options.reel",
        Code.POST_OPTION_INVALID,
    ),
    "unstorable": (MASTODON, post("x"), post("x\x00"), "text", Code.POST_TEXT_INVALID),
    "address": (
        MASTODON,
        post("x", picture()),
        post("x", Media(url="https://10.0.0.1/a.jpg")),
        "media.0.url",
        Code.POST_MEDIA_ADDRESS_REFUSED,
    ),
}


@pytest.mark.parametrize("edge", EDGES)
def test_a_limit_lets_its_last_one_through_and_no_more(edge: str) -> None:
    rules, within, beyond, field, code = EDGES[edge]
    assert content_faults(rules, within) == []
    assert [(fault.field, fault.code) for fault in content_faults(rules, beyond)] == [(field, code)]


def test_all_faults_are_told_at_once_and_none_quotes_the_post() -> None:
    broken = post(
        "secret" * 1_000 + " #a" * 31, Media(url="http://10.0.0.1/secret.png", content_type="image/png"), reel="secret"
    )
    faults = content_faults(INSTAGRAM, broken)
    assert [fault.field for fault in faults] == ["text", "text", "media.0.url", "media.0", "options.reel"]
    assert all("secret" not in str(fault.as_dict()) for fault in faults)
