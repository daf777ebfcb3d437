"""What each platform takes, as data, and the one function that holds a post against it.

Numbers come from the platforms' own pages, named beside them; where pages contradict each other the stricter one holds.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.schemas.errors import Code
from penstock.schemas.media_address import address_fault
from penstock.schemas.post_content import ContentFault, Media, MediaKind, PostContent
from penstock.schemas.text import is_storable

#: `#` or `@` at the start or after what is no part of a word, then a word character.
_HASHTAG = re.compile(r"(?<![\w&])#\w")
_MENTION = re.compile(r"(?<![\w.])@\w")
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MediaRule:
    """What one kind of media may be; None where the platform sets no bound that we know.

    `ratio` is width through height, least and greatest; `seconds` the least and greatest duration.
    """

    content_types: frozenset[str]
    max_bytes: int | None = None
    ratio: tuple[float, float] | None = None
    seconds: tuple[float, float] | None = None
    max_width: int | None = None


@dataclass(frozen=True, slots=True)
class ContentRules:
    """What a platform takes of a post.

    Attributes:
        text_limit: of `measure(text)`, in `measured`.
        media: how many, least and greatest.
        mixed: whether pictures and videos may stand in one post.
        videos: how many videos at the most.
        options: name -> what says whether a value is taken.
        text_without: characters that the text may not have.
        together: what is wrong with parts that each are right.
    """

    text_limit: int
    kinds: Mapping[MediaKind, MediaRule]
    media: tuple[int, int]
    measured: str = "characters"
    measure: Callable[[str], int] = len
    hashtags: int | None = None
    mentions: int | None = None
    alt_limit: int = 1_000
    mixed: bool = False
    videos: int = 1
    link: bool = False
    text_without: str = ""
    options: Mapping[str, Callable[[object], bool]] = field(default_factory=dict)
    required_options: Collection[str] = ()
    together: Callable[[PostContent], Iterator[ContentFault]] = lambda _: iter(())


def content_faults(rules: ContentRules, post: PostContent, private_hosts: Collection[str] = ()) -> list[ContentFault]:
    """All that is wrong with a post by these rules, in the order of its fields; empty where nothing is."""
    return [
        *_text_faults(rules, post),
        *_media_faults(rules, post.media),
        *(fault for position, media in enumerate(post.media) for fault in _one(rules, position, media, private_hosts)),
        *_link_faults(rules, post),
        *_option_faults(rules, post.options),
        *rules.together(post),
    ]


def _text_faults(rules: ContentRules, post: PostContent) -> Iterator[ContentFault]:
    if not (post.text.strip() or post.media or post.link):
        yield ContentFault(None, Code.POST_EMPTY, "a post has a text, media or a link")
    length = rules.measure(post.text)
    if length > rules.text_limit:
        told = f"the text has {length:,} {rules.measured}, and may have {rules.text_limit:,}"
        yield ContentFault("text", Code.POST_TEXT_TOO_LONG, told)
    if not is_storable(post.text):
        yield ContentFault("text", Code.POST_TEXT_INVALID, "the text holds U+0000 or an unpaired surrogate")
    for what, pattern, limit in (("hashtags", _HASHTAG, rules.hashtags), ("mentions", _MENTION, rules.mentions)):
        count = len(pattern.findall(post.text))
        if limit is not None and count > limit:
            yield ContentFault("text", Code.POST_TEXT_INVALID, f"the text has {count} {what}, and may have {limit}")
    if any(character in post.text for character in rules.text_without):
        told = f"the text may have none of {' '.join(rules.text_without)}"
        yield ContentFault("text", Code.POST_TEXT_INVALID, told)


def _media_faults(rules: ContentRules, media: tuple[Media, ...]) -> Iterator[ContentFault]:
    least, most = rules.media
    if len(media) < least:
        yield ContentFault("media", Code.POST_EMPTY, f"the platform wants {least} picture or video at least")
    if len(media) > most:
        yield ContentFault("media", Code.POST_MEDIA_INVALID, f"{len(media)} media, and {most} at the most are taken")
    kinds = [one.kind for one in media]
    if not rules.mixed and len(set(kinds)) > 1:
        yield ContentFault("media", Code.POST_MEDIA_INVALID, "pictures and videos can't stand in one post here")
    if kinds.count("video") > rules.videos:
        yield ContentFault("media", Code.POST_MEDIA_INVALID, f"{rules.videos} video at the most is taken")


def _one(rules: ContentRules, position: int, media: Media, private_hosts: Collection[str]) -> Iterator[ContentFault]:
    place = f"media.{position}"
    refused = address_fault(media.url, private_hosts)
    if refused is not None:
        yield ContentFault(f"{place}.url", Code.POST_MEDIA_ADDRESS_REFUSED, refused)
    if media.alt is not None and len(media.alt) > rules.alt_limit:
        told = f"the description has {len(media.alt):,} characters, and may have {rules.alt_limit:,}"
        yield ContentFault(f"{place}.alt", Code.POST_TEXT_TOO_LONG, told)
    rule = rules.kinds.get(media.kind)
    if rule is None:
        yield ContentFault(f"{place}.kind", Code.POST_MEDIA_INVALID, f"the platform takes no {media.kind}")
        return
    for told in (*_format_faults(rule, media), *_shape_faults(rule, media)):
        yield ContentFault(place, Code.POST_MEDIA_INVALID, told)


def _format_faults(rule: MediaRule, media: Media) -> Iterator[str]:
    if media.content_type is not None and media.content_type not in rule.content_types:
        yield f"{media.content_type} is not taken; send {', '.join(sorted(rule.content_types))}"
    if rule.max_bytes is not None and media.size_bytes is not None and media.size_bytes > rule.max_bytes:
        yield f"{media.size_bytes:,} bytes, and {rule.max_bytes:,} at the most are taken"


def _shape_faults(rule: MediaRule, media: Media) -> Iterator[str]:
    if rule.ratio is not None and media.width is not None and media.height is not None:
        least, most = rule.ratio
        if not least <= media.width / media.height <= most:
            yield f"width through height is {media.width / media.height:.2f}, and must be {least} to {most}"
    if rule.seconds is not None and media.duration_seconds is not None:
        shortest, longest = rule.seconds
        if not shortest <= media.duration_seconds <= longest:
            yield f"{media.duration_seconds:g} s long, and must be {shortest:g} to {longest:g} s"
    if rule.max_width is not None and media.width is not None and media.width > rule.max_width:
        yield f"{media.width} pixels wide, and {rule.max_width} at the most are taken"


def _link_faults(rules: ContentRules, post: PostContent) -> Iterator[ContentFault]:
    if post.link is None:
        return
    if not rules.link:
        yield ContentFault(
            "link", Code.POST_OPTION_INVALID, "the platform takes no link beside the text; write it there"
        )
    elif not post.link.startswith(("https://", "http://")):
        yield ContentFault("link", Code.POST_OPTION_INVALID, "a link begins with https:// or http://")


def _option_faults(rules: ContentRules, options: Mapping[str, object]) -> Iterator[ContentFault]:
    for name in rules.required_options:
        if name not in options:
            yield ContentFault(f"options.{name}", Code.POST_OPTION_INVALID, f"the platform wants the option {name}")
    for name, value in options.items():
        taken = rules.options.get(name)
        if taken is None:
            told = f"unknown option; there are {', '.join(sorted(rules.options)) or 'none'}"
            yield ContentFault(f"options.{name}", Code.POST_OPTION_INVALID, told)
        elif not taken(value):
            yield ContentFault(f"options.{name}", Code.POST_OPTION_INVALID, "a value that the platform does not take")


def utf8_bytes(text: str) -> int:
    """How many bytes a text has in UTF-8; unpaired surrogates count three, as they would."""
    return len(text.encode("utf-8", "surrogatepass"))


def _text(least: int, most: int, without: str = "") -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, str) and least <= len(value) <= most and not any(character in value for character in without)
    )


def _one_of(*values: str) -> Callable[[object], bool]:
    return lambda value: value in values


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tags(value: object) -> bool:
    """YouTube: 500 characters in all, commas count, and a tag with a space costs two more."""
    if not isinstance(value, list) or not all(isinstance(tag, str) and tag for tag in value):
        return False
    return sum(len(tag) + 2 * (" " in tag) for tag in value) + max(0, len(value) - 1) <= 500


def _facebook_together(post: PostContent) -> Iterator[ContentFault]:
    has_video = any(media.kind == "video" for media in post.media)
    if post.link is not None and post.media:
        told = "a page's post has either a link or media; write the link into the text"
        yield ContentFault("link", Code.POST_OPTION_INVALID, told)
    if post.options.get("reel") and not has_video:
        yield ContentFault("options.reel", Code.POST_OPTION_INVALID, "a reel has one video")
    if has_video and "scheduled_publish_time" in post.options:
        told = "videos are published when they are due, and not by the platform's own schedule"
        yield ContentFault("options.scheduled_publish_time", Code.POST_OPTION_INVALID, told)


def _youtube_together(post: PostContent) -> Iterator[ContentFault]:
    if post.options.get("publish_at") is not None and post.options.get("privacy") != "private":
        told = "publish_at goes with privacy private alone"
        yield ContentFault("options.publish_at", Code.POST_OPTION_INVALID, told)


_JPEG = frozenset({"image/jpeg"})
_MP4_MOV = frozenset({"video/mp4", "video/quicktime"})
_VIDEOS = _MP4_MOV | {"video/webm", "video/mpeg", "video/x-msvideo", "video/x-matroska", "video/3gpp"}

#: developers.facebook.com: docs/instagram-platform/content-publishing and instagram-graph-api/reference/ig-user/media.
INSTAGRAM = ContentRules(
    text_limit=2_200,
    kinds={
        "image": MediaRule(_JPEG, 8 * _MEBIBYTE, (0.8, 1.91)),
        "video": MediaRule(_MP4_MOV, 300 * _MEBIBYTE, (0.01, 10.0), (3, 900), 1_920),
    },
    media=(1, 10),
    hashtags=30,
    mentions=20,
    mixed=True,
    videos=10,
    options={"share_to_feed": _flag, "location_id": _text(1, 50), "thumb_offset_ms": _whole},
)
#: developers.facebook.com: docs/graph-api/reference/page/feed, page/photos, page/videos; video-api/guides.
FACEBOOK = ContentRules(
    text_limit=63_206,
    kinds={
        "image": MediaRule(_JPEG | {"image/png", "image/gif", "image/bmp", "image/tiff"}, 4 * _MEBIBYTE),
        "video": MediaRule(_MP4_MOV, 10 * 1024 * _MEBIBYTE, None, (1, 4 * 3_600)),
    },
    media=(0, 10),
    link=True,
    options={"reel": _flag, "title": _text(1, 255), "scheduled_publish_time": _whole},
    together=_facebook_together,
)
#: developers.google.com: youtube/v3/docs/videos.
YOUTUBE = ContentRules(
    text_limit=5_000,
    measured="bytes",
    measure=utf8_bytes,
    kinds={"video": MediaRule(_VIDEOS, 256 * 1024 * _MEBIBYTE, None, (0.1, 12 * 3_600))},
    media=(1, 1),
    text_without="<>",
    options={
        "title": _text(1, 100, "<>"),
        "privacy": _one_of("private", "public", "unlisted"),
        "tags": _tags,
        "category_id": _text(1, 4),
        "publish_at": _text(20, 40),
        "made_for_kids": _flag,
        "synthetic_media": _flag,
        "notify_subscribers": _flag,
    },
    required_options=("title",),
    together=_youtube_together,
)
#: docs.joinmastodon.org: methods/statuses and user/posting. A server may allow more than the usual 500 characters.
MASTODON = ContentRules(
    text_limit=500,
    kinds={
        "image": MediaRule(_JPEG | {"image/png", "image/gif", "image/webp"}, 16 * _MEBIBYTE),
        "video": MediaRule(_VIDEOS, 99 * _MEBIBYTE),
    },
    media=(0, 4),
    alt_limit=1_500,
    options={
        "visibility": _one_of("public", "unlisted", "private"),
        "sensitive": _flag,
        "spoiler_text": _text(1, 500),
        "language": _text(2, 3),
    },
)
#: By the names that accounts have.
RULES: Mapping[str, ContentRules] = {
    "facebook": FACEBOOK,
    "instagram": INSTAGRAM,
    "mastodon": MASTODON,
    "youtube": YOUTUBE,
}
