"""Walks one publication to its end: prepare, store the handle, publish, confirm, and look up whatever is in doubt.

It keeps to the interface alone, in the order that publishing has to keep to, and waits by the stand-in's clock.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from penstock.schemas.post_content import Media, PostContent
from penstock.workers.platforms.answers import Answer, AnswerClass, PlatformFault
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.platforms.mastodon import Mastodon
from penstock.workers.platforms.platform import AccountRef, Found, NotFound, Platform, Publication, Unknown
from penstock.workers.settings import WorkerSettings
from penstock.workers.stand_in.server import StandIn

BACKOFF = timedelta(seconds=30)
LOOKS = 3
STEPS = 80


def open_platforms(stand_in: StandIn, **settings: str) -> Platforms:
    """The platforms as a worker has them, but talking to the stand-in."""
    environment = {
        "DATABASE_URL": "postgresql://nowhere/none",
        "REDIS_URL": "redis://nowhere",
        "PENSTOCK_PLATFORM_READ_SECONDS": "5",
        "PENSTOCK_UPLOAD_PIECE_BYTES": "262144",
        **stand_in.environment(),
        **settings,
    }
    platforms = Platforms(WorkerSettings.from_environment(environment))
    mastodon = platforms.by_name["mastodon"]
    assert isinstance(mastodon, Mastodon)
    mastodon._clock = stand_in.world.now
    return platforms


@dataclass
class Walk:
    """One publication on its way. `end` is published, dead, held, reauthorize or unknown_outcome."""

    platform: Platform
    stand_in: StandIn
    publication: Publication
    token: str
    refresh: Callable[[], str] | None = None
    end: str = ""
    answers: list[Answer] = field(default_factory=list)
    waited: timedelta = timedelta(0)
    attempts: int = 0
    _step: str = "prepare"
    _looks: int = 0
    _again: int = 0
    _refreshed: bool = False

    @property
    def codes(self) -> list[str]:
        return [answer.platform_code for answer in self.answers]

    def run(self) -> "Walk":
        for _ in range(STEPS):
            if self.end:
                return self
            try:
                getattr(self, f"_{self._step}")(SecretStr(self.token))
            except PlatformFault as fault:
                self.answers.append(fault.answer)
                self._judge(fault.answer)
        raise AssertionError(f"not at its end after {STEPS} steps: {self.codes}")

    def _prepare(self, token: SecretStr) -> None:
        prepared = self.platform.prepare(self.publication, token)
        self.publication = self.publication.prepared(prepared)
        self._wait(prepared.wait)
        self._step = "publish" if prepared.ready else "prepare"

    def _publish(self, token: SecretStr) -> None:
        armed = self.publication.armed_at or self.stand_in.world.now()
        trying = replace(self.publication, armed_at=armed)
        self.publication = replace(trying, tries=trying.tries + 1)
        published = self.platform.publish(trying, token)
        self._finish(published.external_id, published.url)

    def _look_up(self, token: SecretStr) -> None:
        sighting = self.platform.look_up(self.publication, token)
        if isinstance(sighting, Found):
            self._finish(sighting.external_id, sighting.url)
        elif isinstance(sighting, Unknown):
            self.end = "unknown_outcome"
        else:
            self._not_found(sighting)

    def _not_found(self, sighting: NotFound) -> None:
        if not sighting.certain and self._looks < LOOKS - 1:
            self._looks += 1
            self._wait(timedelta(seconds=60))
            return
        if not sighting.certain:
            self._again += 1
            if self._again > 1:
                self.end = "unknown_outcome"
                return
        self._looks = 0
        if not sighting.handle_usable:
            self.publication = replace(self.publication, handle=None, state={})
        self._step = "prepare" if sighting.resume or not sighting.handle_usable else "publish"

    def _finish(self, external_id: str | None, url: str | None) -> None:
        self.publication = replace(self.publication, external_id=external_id, url=url)
        self.end = "published"

    def _judge(self, answer: Answer) -> None:
        ends = {AnswerClass.PERMANENT: "dead", AnswerClass.LIMITED: "held"}
        if answer.cls is AnswerClass.PERMANENT and self.publication.tries > (self._step == "publish"):
            # An earlier try may have made the post, whatever is said of this one.
            self.end = "unknown_outcome"
        elif answer.cls in ends:
            self.end = ends[answer.cls]
        elif answer.cls is AnswerClass.AUTH:
            self._authorise(answer)
        elif answer.cls in {AnswerClass.AMBIGUOUS, AnswerClass.DUPLICATE}:
            self._step = "look_up"
            self._wait(timedelta(seconds=15))
        else:
            self._again_later(answer)

    def _again_later(self, answer: Answer) -> None:
        self._wait(answer.retry_after or BACKOFF)
        self.attempts += answer.cls is AnswerClass.RETRY
        if answer.restart and self.publication.tries:
            self._step = "look_up"
        elif answer.restart:
            self.publication, self._step = replace(self.publication, handle=None, state={}), "prepare"
        elif answer.cls is AnswerClass.PENDING:
            self._step = "prepare"

    def _authorise(self, answer: Answer) -> None:
        if not answer.refresh or self.refresh is None or self._refreshed:
            self.end = "reauthorize"
            return
        self._refreshed = True
        try:
            self.token = self.refresh()
        except PlatformFault as fault:
            self.answers.append(fault.answer)
            self.end = "reauthorize"

    def _wait(self, wait: timedelta) -> None:
        self.waited += wait
        self.stand_in.world.advance(wait)


#: What a post is, by a short name; `file` makes an address at the stand-in.
def content_of(stand_in: StandIn, name: str, text: str) -> tuple[str, PostContent]:
    """The platform and the content of a post of a kind: `instagram-image`, `facebook-reel`..."""
    picture, video = Media(url=stand_in.file("a.jpg")), Media(url=stand_in.file("a.mp4", 700_000), kind="video")
    kinds: dict[str, dict[str, Any]] = {
        "instagram-image": {"media": (picture,)},
        "instagram-reel": {"media": (video,), "options": {"share_to_feed": True}},
        "instagram-carousel": {"media": (picture, video, picture)},
        "facebook-text": {},
        "facebook-link": {"link": "https://penstock.example.org/a"},
        "facebook-photo": {"media": (picture,)},
        "facebook-photos": {"media": (picture, picture)},
        "facebook-video": {"media": (video,), "options": {"title": "t"}},
        "facebook-reel": {"media": (video,), "options": {"reel": True}},
        "youtube-video": {"media": (video,), "options": {"title": f"About {text}"[:100]}},
        "mastodon-text": {},
        "mastodon-image": {"media": (picture, picture)},
    }
    return name.partition("-")[0], PostContent(text=text, **kinds[name])


def walk(
    stand_in: StandIn,
    platforms: Platforms,
    kind: str,
    text: str = "A fine day & more",
    *,
    name: str = "one",
    **more: Any,
) -> Walk:
    """A post of a kind on its way to its account, whose name is `name`; `options` replace the content's."""
    platform, content = content_of(stand_in, kind, text)
    if "options" in more:
        content = content.model_copy(update={"options": {**content.options, **more.pop("options")}})
    account = AccountRef(f"id-{name}", platform, name)
    token = more.pop("token", f"{name}.0")
    post = more.pop("post_id", f"post-{kind}-{len(text)}")
    return Walk(platforms[platform], stand_in, Publication(post, account, content), token, **more)
