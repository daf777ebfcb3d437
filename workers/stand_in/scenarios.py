"""What goes wrong with platforms in earnest, by name: `stand_in.play(name)` sets one up, for all accounts or for one.

The set-up concerns whatever is published next. Some scenarios are about what is sent (a post that is refused, a token
that is dead); those have nothing to set up but the stand-in's rules, and their `about` says what to send.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from penstock.workers.stand_in.exchange import Response
from penstock.workers.stand_in.faults import NAMED, Fault, google_error, meta_error, replying
from penstock.workers.stand_in.server import StandIn


class Stage:
    """Where a scenario is set up: all accounts, or one."""

    def __init__(self, stand_in: StandIn, account: str) -> None:
        self.world = stand_in.world
        self.knobs = stand_in.world.own_knobs(account)
        self._faults, self._account = stand_in.faults, account

    def add(self, operation: str, fault: Fault | str, *, times: int = 1, after: int = 0) -> None:
        """Have calls of an operation fail."""
        self._faults.add(operation, fault, times=times, after=after, account=self._account)


SetUp = Callable[[Stage], None]
_PAGE = Response(500, b"<html>upstream</html>", {"Content-Type": "text/html"})


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario: its number in docs/platforms.md, what it is about, and what sets it up."""

    number: int
    about: str
    set_up: SetUp


def _nothing(_stage: Stage) -> None:
    """The stand-in's own rules are enough."""


def _polls(count: int) -> SetUp:
    def set_up(stage: Stage) -> None:
        stage.knobs.polls = count

    return set_up


def _fault(operation: str, name: str, times: int = 1) -> SetUp:
    return lambda stage: stage.add(operation, name, times=times)


def _reply(operation: str, response: Response, *, applied: bool = False, times: int = 1, after: int = 0) -> SetUp:
    fault = replying(response, applied=applied)
    return lambda stage: stage.add(operation, fault, times=times, after=after)


def _throttle(operation: str, code: int) -> SetUp:
    def set_up(stage: Stage) -> None:
        usage = '{"1": [{"type": "pages", "call_count": 100, "estimated_time_to_regain_access": 19}]}'
        response = meta_error(code)
        with_header = Response(response.status, response.body, {"X-Business-Use-Case-Usage": usage})
        stage.add(operation, replying(with_header))

    return set_up


def _cuts(*sizes: int, answered: bool = False, no_range: bool = False) -> SetUp:
    def set_up(stage: Stage) -> None:
        knobs = stage.knobs
        knobs.cuts, knobs.cut_answers, knobs.no_range = list(sizes), answered, no_range

    return set_up


def _container_error(told: str) -> SetUp:
    def set_up(stage: Stage) -> None:
        stage.knobs.container_error = told

    return set_up


def _unreadable(stage: Stage) -> None:
    stage.knobs.unreadable_looks = 5


def _short_life(stage: Stage) -> None:
    stage.knobs.container_lives = [0.0]


def _full_day(stage: Stage) -> None:
    stage.knobs.instagram_daily = 0


def _refusing(code: int, subcode: int) -> SetUp:
    def set_up(stage: Stage) -> None:
        stage.knobs.refuse_duplicates, stage.knobs.duplicate_error = True, (code, subcode)

    return set_up


def _both(*parts: SetUp) -> SetUp:
    def set_up(stage: Stage) -> None:
        for part in parts:
            part(stage)

    return set_up


def _sessions_forgotten(operation: str) -> SetUp:
    def set_up(stage: Stage) -> None:
        # Whoever asks the session after this piece finds none.
        stage.add(operation, NAMED["reset_after"])
        stage.add("youtube.status", replying(google_error(404, "notFound")), times=3, after=1)

    return set_up


_AWAY = Response(503, b"", {"Retry-After": "1"})

SCENARIOS: Mapping[str, Scenario] = {
    "container-takes-a-while": Scenario(1, "two looks find the container unfinished", _polls(2)),
    "published-too-early": Scenario(
        2, "the first publishing call finds the media not ready", _reply("instagram.publish", meta_error(9007, 2207027))
    ),
    "published-without-answer": Scenario(
        3, "published, and nothing comes back", _fault("instagram.publish", "hang_after")
    ),
    "published-but-server-error": Scenario(
        3, "published, and answered -1/2207001", _reply("instagram.publish", meta_error(-1, 2207001), applied=True)
    ),
    "published-but-spam": Scenario(
        3, "published, and answered 4/2207051", _reply("instagram.publish", meta_error(4, 2207051), applied=True)
    ),
    "container-unreadable": Scenario(4, "the container can't be read for a while", _unreadable),
    "container-expired": Scenario(5, "the first container is void when it is looked at", _short_life),
    "container-error": Scenario(
        6, "the container ends in an error", _container_error("Error: Media upload has failed with error code 2207026")
    ),
    "day-is-full": Scenario(7, "the account's publications of the day are used up", _full_day),
    "broken-rules": Scenario(8, "send what breaks a rule", _nothing),
    "posted-but-500": Scenario(
        9, "posted, and answered 500 with code 2, again and again",
        _reply("facebook.feed", meta_error(2, status=500), applied=True, times=3),
    ),
    "not-posted-and-500": Scenario(
        10, "not posted, and answered 500 with code 2", _reply("facebook.feed", meta_error(2, status=500))
    ),
    "duplicate-506": Scenario(11, "send the same text twice", _refusing(506, 0)),
    "duplicate-368": Scenario(11, "send the same text twice", _refusing(368, 1404082)),
    "throttled-app": Scenario(12, "the app is throttled, 19 min", _throttle("facebook.feed", 4)),
    "throttled-page": Scenario(12, "the page is throttled, 19 min", _throttle("facebook.feed", 32)),
    "throttled-page-business": Scenario(12, "the page's business use is throttled", _throttle("facebook.feed", 80001)),
    "throttled-instagram": Scenario(12, "the account is throttled", _throttle("instagram.publish", 80002)),
    "token-expired": Scenario(13, "mark a page's token as expired; its user's token is good or dead", _nothing),
    "token-not-refreshed": Scenario(14, "mark a token as young or expired, then refresh it", _nothing),
    "schedule-window": Scenario(15, "schedule natively 5 min and 31 days ahead", _nothing),
    "reel-cut-off": Scenario(16, "the reel's bytes are cut off", _cuts(400_000)),
    "piece-stored-in-part": Scenario(17, "a 308 tells of fewer bytes than were sent", _cuts(100_000, answered=True)),
    "piece-not-stored": Scenario(17, "a 308 without Range: nothing is stored", _cuts(0, answered=True)),
    "last-piece-without-answer": Scenario(18, "uploaded, and no answer comes", _fault("youtube.piece", "reset_after")),
    "away-in-the-middle": Scenario(19, "503 with Retry-After within the upload", _reply("youtube.piece", _AWAY)),
    "token-dies-in-the-middle": Scenario(
        19, "401 within the upload", _reply("youtube.piece", google_error(401, "authError"))
    ),
    "session-gone-before-the-end": Scenario(
        20, "the session is gone before the last piece", _reply("youtube.piece", google_error(404, "notFound"))
    ),
    "session-gone-after-the-end": Scenario(
        20, "the session is gone after the last piece", _sessions_forgotten("youtube.piece")
    ),
    "project-is-full": Scenario(
        21, "the project's quota is used up", _reply("youtube.start", google_error(403, "quotaExceeded"))
    ),
    "channel-is-full": Scenario(
        21, "the channel's uploads are used up", _reply("youtube.start", google_error(400, "uploadLimitExceeded"))
    ),
    "grant-is-gone": Scenario(22, "mark the refresh token as revoked", _nothing),
    "publish-at": Scenario(23, "publishAt with privacy public, and in the past", _nothing),
    "same-key": Scenario(24, "the same Idempotency-Key within an hour, and after it", _nothing),
    "answers-html": Scenario(25, "a page of HTML", _both(*(_reply(one, _PAGE) for one in (
        "*.create", "*.publish", "facebook.feed", "facebook.posts", "youtube.start")))),
    "answers-nothing": Scenario(25, "published, and an empty answer", _both(
        _fault("*.publish", "empty_after"), _fault("facebook.feed", "empty_after"))),
    "answers-half": Scenario(25, "published, and half an answer", _both(
        _fault("*.publish", "truncated_after"), _fault("facebook.feed", "truncated_after"))),
    "answers-unknown-code": Scenario(25, "published, and a code that nobody knows", _both(
        _fault("*.publish", "unknown_code_after"), _fault("facebook.feed", "unknown_code_after"))),
    "an-hour-passes": Scenario(24, "the key is forgotten", lambda stage: stage.world.advance(timedelta(hours=1))),
}  # fmt: skip
