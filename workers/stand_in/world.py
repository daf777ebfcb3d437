"""What the stand-in knows: its clock, tokens, usage, and the record of what was really published."""

import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Publication:
    """One thing that everybody can see. Two of one post are two of these."""

    platform: str
    account: str
    kind: str
    external_id: str
    text: str
    at: datetime
    media: tuple[str, ...] = ()
    scheduled: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The publication as JSON values."""
        return {**asdict(self), "at": self.at.isoformat(), "media": list(self.media)}


@dataclass(slots=True)
class Knobs:
    """How the platforms behave; a scenario turns some of these, for all accounts or for one.

    Attributes:
        polls: looks at a container before it is finished.
        container_error: the text of `status` with which containers end; none if empty.
        unreadable_looks: the next looks at containers are told that they can't be read.
        container_lives: the next containers live so many seconds each, and all after them 24 h.
        instagram_daily, reels_daily, youtube_daily: publications in 24 h; sessions for YouTube.
        refuse_duplicates: whether a page refuses the text of its last post.
        duplicate_error: code and subcode with which it does.
        cuts: the next pieces of uploads keep so many bytes each, and then the connection breaks (-1: keep all).
        cut_answers: whether a cut piece of a YouTube upload is answered (308) instead of breaking the connection.
        no_range: a 308 does not say what is there.
        tokens: token -> what is wrong with it: `expired`, `revoked`, `young`.
        usage_percent, regain_minutes: what Meta's usage headers say; none are sent while the percentage is None.
        privacy: the privacy that YouTube gives to every video, whatever was wanted.
        upload_status: of processed videos.
        key_lives: how long Mastodon knows an idempotency key.
    """

    polls: int = 2
    container_error: str = ""
    unreadable_looks: int = 0
    container_lives: list[float] = field(default_factory=list)
    instagram_daily: int = 50
    reels_daily: int = 30
    youtube_daily: int = 100
    refuse_duplicates: bool = False
    duplicate_error: tuple[int, int] = (506, 0)
    cuts: list[int] = field(default_factory=list)
    cut_answers: bool = False
    no_range: bool = False
    tokens: dict[str, str] = field(default_factory=dict)
    usage_percent: int | None = None
    regain_minutes: int = 0
    privacy: str = ""
    upload_status: str = "processed"
    key_lives: timedelta = timedelta(hours=1)


class World:
    """The state of all platforms. `lock` is held while a request takes effect."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.knobs = Knobs()
        self._own_knobs: dict[str, Knobs] = {}
        self.base = ""
        self._ahead = timedelta(0)
        self._ids = itertools.count(17_900_000_001)
        self._published: list[Publication] = []
        self._calls: Counter[str] = Counter()
        #: What each platform keeps for itself, by platform.
        self.things: dict[str, dict[str, Any]] = {}

    def knobs_of(self, account: str) -> Knobs:
        """How the platforms behave towards one account: as towards all, unless it has knobs of its own."""
        return self._own_knobs.get(account, self.knobs)

    def own_knobs(self, account: str) -> Knobs:
        """The knobs of one account, to be turned; from now on those of all no longer concern it. Empty: of all."""
        if not account:
            return self.knobs
        return self._own_knobs.setdefault(account, replace(self.knobs, cuts=[], container_lives=[]))

    def turn(self, account: str, turned: Mapping[str, Any]) -> None:
        """Turn knobs of one account, or of all; tokens are added to those that are known.

        Raises:
            ValueError: there is no knob of a name.
        """
        unknown = set(turned) - {knob.name for knob in fields(Knobs)}
        if unknown:
            raise ValueError(f"no knobs named {sorted(unknown)}")
        with self.lock:
            self.knobs.tokens |= turned.get("tokens", {})
            knobs = self.own_knobs(account)
            for name in set(turned) - {"tokens"}:
                setattr(knobs, name, turned[name])

    def now(self) -> datetime:
        """The stand-in's own clock, ahead of the real one by what was advanced."""
        return datetime.now(UTC) + self._ahead

    def advance(self, by: timedelta) -> None:
        """Let time pass, here alone."""
        self._ahead += by

    def new_id(self) -> str:
        """An id that nothing else has."""
        return str(next(self._ids))

    def publish(
        self, platform: str, account: str, kind: str, text: str, *, external_id: str = "", media: tuple[str, ...] = (),
        scheduled: bool = False,
    ) -> Publication:  # fmt: skip
        """Make something visible, and note it."""
        external_id = external_id or self.new_id()
        made = Publication(platform, account, kind, external_id, text, self.now(), media, scheduled)
        self._published.append(made)
        return made

    def publications(self, platform: str = "", account: str = "") -> list[Publication]:
        """What was published, oldest first."""
        with self.lock:
            return [one for one in self._published if platform in {"", one.platform} and account in {"", one.account}]

    def doubles(self) -> list[Publication]:
        """Every publication of a text that its account already had: where each post's text is its own, the doubles."""
        seen: set[tuple[str, str, str]] = set()
        found = []
        for one in self.publications():
            key = (one.platform, one.account, one.text)
            found += [one] if key in seen else []
            seen.add(key)
        return found

    def within(self, platform: str, account: str, length: timedelta, kind: str = "") -> int:
        """How much was published by an account in the time before now."""
        since = self.now() - length
        found = self.publications(platform, account)
        return sum(1 for one in found if one.at > since and kind in {"", one.kind})

    def count_call(self, operation: str) -> int:
        """Note a call; how many there were of this operation, this one included."""
        with self.lock:
            self._calls[operation] += 1
            return self._calls[operation]

    def calls(self, operation: str) -> int:
        """How many calls of an operation came in."""
        with self.lock:
            return self._calls[operation]

    def all_calls(self) -> dict[str, int]:
        """How many calls came in, by operation."""
        with self.lock:
            return dict(self._calls)

    def keep(self, platform: str) -> dict[str, Any]:
        """The things of a platform, for it alone to know."""
        return self.things.setdefault(platform, {})
