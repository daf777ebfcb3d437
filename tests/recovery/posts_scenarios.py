"""The scenarios of docs/platforms.md as posts of the whole system: what is sent, and how it has to end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.schemas.post_content import Media, PostContent
from tests.recovery.servers import full
from tests.recovery.stand_in_process import StandInProcess

#: Ends besides the states of posts: refused when it was to be scheduled; waiting for its account's person; waiting
#: until a time that the platform named, at no cost.
REFUSED, PARKED, WAITS = "refused", "parked", "waits"
#: A video of three pieces, and one of a single one.
_LONG, _SHORT = 700_000, 30_000


@dataclass(frozen=True, slots=True)
class Case:
    """One post in one scenario, on an account of its own.

    Attributes:
        scenario: as the stand-in names it; played for the account alone.
        kind: what the post is, such as `instagram-reel`.
        end: a state of posts, or one of those above.
        code: of the refusal, death, or of the account; empty where there is none.
        wait: with `WAITS`, how long at the least.
        tokens: what is wrong with which of the account's tokens, by their ending.
        faults: operation and fault, besides the scenario's.
        knobs: of the account, besides the scenario's.
        content: replaces members of the content.
        options: replaces options of the content.
    """

    scenario: str
    kind: str
    end: str = "published"
    code: str = ""
    wait: timedelta = timedelta()
    tokens: dict[str, str] = field(default_factory=dict)
    faults: tuple[tuple[str, str], ...] = ()
    knobs: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def platform(self) -> str:
        return self.kind.partition("-")[0]

    def make(self, stand_in: StandInProcess, text: str) -> PostContent:
        """The post's content."""
        content = _content(self.kind, stand_in, text)
        content |= {name: _resolved(value, stand_in) for name, value in self.content.items()}
        return PostContent(**content | {"options": content.get("options", {}) | self.options})


def _content(kind: str, stand_in: StandInProcess, text: str) -> dict[str, Any]:
    picture = Media(url=stand_in.file("a.jpg"))
    short, video = (Media(url=stand_in.file("a.mp4", size), kind="video") for size in (_SHORT, _LONG))
    kinds: dict[str, dict[str, Any]] = {
        "instagram-image": {"media": (picture,)},
        "instagram-reel": {"media": (video,)},
        "instagram-carousel": {"media": (picture, video, picture)},
        "facebook-text": {},
        "facebook-photos": {"media": (picture, picture)},
        "facebook-video": {"media": (video,), "options": {"title": "t"}},
        "facebook-reel": {"media": (video,), "options": {"reel": True}},
        "youtube-video": {"media": (video,), "options": {"title": f"About {text}"}},
        "youtube-short": {"media": (short,), "options": {"title": f"About {text}"}},
        "mastodon-text": {},
        "mastodon-image": {"media": (picture,)},
    }
    return {"text": text, **kinds[kind]}


def _resolved(value: Any, stand_in: StandInProcess) -> Any:
    """Media are given as their members without the host."""
    if not isinstance(value, tuple):
        return value
    return tuple(Media(**media | {"url": stand_in.file(media["url"])}) for media in value)


_NOW = datetime.now(UTC)
_MINUTES_19, _DAY = timedelta(minutes=19), timedelta(hours=24)
_EXPIRED = "ACCOUNT_TOKEN_EXPIRED"


def _in(ahead: timedelta) -> dict[str, Any]:
    return {"scheduled_publish_time": int((_NOW + ahead).timestamp())}


CASES = (
    Case("container-takes-a-while", "instagram-image", knobs={"polls": 2}),
    Case("container-takes-a-while", "instagram-carousel", knobs={"polls": 1}),
    Case("published-too-early", "instagram-image"),
    Case("published-without-answer", "instagram-reel"),
    Case("published-but-server-error", "instagram-image"),
    Case("published-but-spam", "instagram-image"),
    Case("container-unreadable", "instagram-image", knobs={"polls": 0, "unreadable_looks": 5 if full() else 2}),
    Case("container-expired", "instagram-image"),
    Case("container-error", "instagram-reel", "dead", "POST_MEDIA_INVALID"),
    Case("day-is-full", "instagram-image", WAITS, wait=_DAY),
    Case("broken-rules", "instagram-image", REFUSED, "POST_TEXT_TOO_LONG", content={"text": "x" * 2_201}),
    Case("broken-rules", "instagram-image", REFUSED, "POST_TEXT_INVALID", content={"text": "#a " * 31}),
    Case("broken-rules", "instagram-image", REFUSED, "POST_MEDIA_INVALID", content={"media": ({"url": "a.jpg"},) * 11}),
    Case(
        "broken-rules", "instagram-image", REFUSED, "POST_MEDIA_INVALID",
        content={"media": ({"url": "a.png", "content_type": "image/png"},)},
    ),
    Case(
        "broken-rules", "instagram-image", REFUSED, "POST_MEDIA_INVALID",
        content={"media": ({"url": "3x1.jpg", "width": 900, "height": 300},)},
    ),
    # What is not told of the picture only the platform can refuse.
    Case("broken-rules", "instagram-image", "dead", "POST_MEDIA_INVALID", content={"media": ({"url": "a.png"},)}),
    Case("posted-but-500", "facebook-text"),
    Case("posted-but-500", "facebook-photos"),
    Case("not-posted-and-500", "facebook-text"),
    Case("duplicate-506", "facebook-text"),
    Case("duplicate-368", "facebook-text"),
    Case("throttled-page", "facebook-text", WAITS, wait=_MINUTES_19),
    Case("throttled-page-business", "facebook-text", WAITS, wait=_MINUTES_19),
    Case("throttled-instagram", "instagram-image", WAITS, wait=_MINUTES_19),
    Case("token-expired", "facebook-text", tokens={".0": "expired"}),
    Case("token-expired", "facebook-text", PARKED, _EXPIRED, tokens={".0": "expired", ".user": "expired"}),
    Case("token-not-refreshed", "instagram-image", PARKED, _EXPIRED, tokens={".0": "expired"}),
    Case("token-not-refreshed", "instagram-image", tokens={".0": "young"}),
    Case("schedule-window", "facebook-text", "dead", "POST_PLATFORM_ERROR", options=_in(timedelta(minutes=5))),
    Case("schedule-window", "facebook-text", "dead", "POST_PLATFORM_ERROR", options=_in(timedelta(days=31))),
    Case("schedule-window", "facebook-text", options=_in(timedelta(days=2))),
    Case("reel-cut-off", "facebook-reel"),
    Case("reel-cut-off", "facebook-video"),
    Case("reel-cut-off", "facebook-reel", WAITS, wait=timedelta(minutes=59), knobs={"reels_daily": 0, "cuts": []}),
    Case("piece-stored-in-part", "youtube-video"),
    Case("piece-not-stored", "youtube-video"),
    Case("last-piece-without-answer", "youtube-short"),
    Case("away-in-the-middle", "youtube-video"),
    Case("token-dies-in-the-middle", "youtube-video"),
    Case("session-gone-before-the-end", "youtube-video"),
    Case("session-gone-after-the-end", "youtube-short"),
    Case("channel-is-full", "youtube-short", WAITS, wait=_DAY),
    Case("grant-is-gone", "youtube-short", PARKED, _EXPIRED, tokens={".0": "expired", "": "revoked"}),
    Case(
        "publish-at", "youtube-short", REFUSED, "POST_OPTION_INVALID",
        options={"publish_at": "2020-01-01T00:00:00Z", "privacy": "public"},
    ),
    Case("publish-at", "youtube-short", options={"publish_at": "2020-01-01T00:00:00Z", "privacy": "private"}),
    Case("same-key", "mastodon-text", faults=(("mastodon.publish", "reset_after"),)),
    Case("same-key", "mastodon-image", faults=(("mastodon.publish", "reset_before"),)),
    *(
        Case(f"answers-{how}", kind)
        for how in ("html", "nothing", "half", "unknown-code")
        for kind in ("instagram-image", "facebook-text", "youtube-short", "mastodon-text")
    ),
)  # fmt: skip
#: These concern all accounts of a platform, so each other post of it has to be out before.
LAST_CASES = (
    Case("throttled-app", "facebook-text", WAITS, wait=_MINUTES_19),
    Case("project-is-full", "youtube-short", WAITS, wait=timedelta(seconds=55)),
)


def named(cases: tuple[Case, ...]) -> Iterator[tuple[str, Case]]:
    """The cases with names for their accounts."""
    for number, case in enumerate(cases):
        yield f"{case.scenario}-{case.kind}-{number}", case
