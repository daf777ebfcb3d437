"""Each row of each platform's classification: what an answer means while preparing, publishing, and reading."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.schemas.errors import CATALOGUE
from penstock.workers.platforms.answers import AnswerClass, Phase
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.platforms.classification.facebook import FACEBOOK
from penstock.workers.platforms.classification.instagram import INSTAGRAM
from penstock.workers.platforms.classification.mastodon import MASTODON
from penstock.workers.platforms.classification.row import TRANSPORT, Table
from penstock.workers.platforms.classification.youtube import YOUTUBE
from penstock.workers.platforms.http import Call, Reply
from penstock.workers.platforms.platform import AccountRef
from penstock.workers.settings import WorkerSettings
from penstock.workers.stand_in.faults import google_error, meta_error

TABLES: dict[str, Table] = {
    "instagram": INSTAGRAM,
    "facebook": FACEBOOK,
    "youtube": YOUTUBE,
    "mastodon": MASTODON,
}
LETTERS = {
    "r": AnswerClass.RETRY, "a": AnswerClass.AMBIGUOUS, "p": AnswerClass.PERMANENT, "t": AnswerClass.AUTH,
    "l": AnswerClass.LIMITED, "d": AnswerClass.DUPLICATE, "w": AnswerClass.PENDING,
}  # fmt: skip
#: Row -> class while preparing, publishing, reading; then * prepare anew, + a refreshed token may help, ! counts for
#: the circuit, ^ holds the whole platform.
EXPECTED: dict[str, dict[str, str]] = {
    "transport": {
        "unreachable": "rrr!", "timed_out": "rar!", "lost": "rar!", "oversized": "rar!", "unreadable": "rar!",
        "http:3": "rar", "http:5": "rar!", "http:429": "lll", "unknown": "rar",
    },
    "instagram": {
        "-1": "rar!", "1": "rar!", "2": "rar!", "3": "ppp", "4": "lll!^", "10": "ttt", "17": "lll", "32": "lll",
        "341": "lll!^", "613": "lll", "80001": "lll", "80002": "lll", "102": "ttt+", "190": "ttt+", "190/458": "ttt",
        "190/459": "ttt", "190/460": "ttt", "190/463": "ttt+", "190/464": "ttt", "190/467": "ttt+", "190/492": "ttt",
        "190/2069032": "ttt+", "200-299": "ttt", "4/2207051": "lal", "9/2207042": "lll", "-2/2207003": "rrr*",
        "-2/2207020": "rrr*", "-1/2207001": "rar!", "-1/2207032": "rar*", "-1/2207053": "rar*", "24/2207006": "rrr*",
        "24/2207008": "rar", "25/2207050": "ttt", "9004/2207052": "rrr*", "9007/2207027": "www", "1/2207057": "ppp",
        "100": "ppp", "100/33": "waw", "100/2207023": "ppp", "100/2207028": "ppp", "100/2207035": "ppp",
        "100/2207036": "ppp", "100/2207037": "ppp", "100/2207040": "ppp", "352/2207026": "ppp",
        "36000/2207004": "ppp", "36001/2207005": "ppp", "36003/2207009": "ppp", "36004/2207010": "ppp",
        "2207003": "rrr*", "2207004": "ppp", "2207005": "ppp", "2207009": "ppp", "2207020": "rrr*", "2207026": "ppp",
        "2207052": "rrr*", "2207053": "rrr*", "2207077": "ppp", "2207081": "ppp", "2207082": "rrr*",
        "2207085": "ppp", "status:EXPIRED": "rrr*", "status:ERROR": "pap",
    },
    "facebook": {
        "-1": "rar!", "1": "rar!", "2": "rar!", "3": "ppp", "4": "lll!^", "10": "ttt", "17": "lll", "32": "lll",
        "341": "lll!^", "613": "lll", "80001": "lll", "80002": "lll", "102": "ttt+", "190": "ttt+", "190/458": "ttt",
        "190/459": "ttt", "190/460": "ttt", "190/463": "ttt+", "190/464": "ttt", "190/467": "ttt+", "190/492": "ttt",
        "190/2069032": "ttt+", "200-299": "ttt", "1/99": "rar!", "1/2853006": "ttt", "100": "ppp", "100/33": "ppr",
        "200/2069030": "ppp", "200/2069031": "ppp", "200/2069033": "ppp", "324": "ppp", "368": "lll",
        "368/1390008": "lll", "368/1404082": "pdp", "368/4854002": "ttt", "382": "ppp", "389": "rrr", "506": "pdp",
        "613/1996": "lll", "6000": "ppp", "6001": "rar", "1609005": "rrr", "1609008": "ppp", "1346003": "ppp",
        "1366046": "ppp", "1366051": "pdp", "1404078": "ttt", "1404102": "ppp", "1404112": "ttt", "1363019": "rar",
        "1363022": "ppp", "1363023": "ppp", "1363024": "ppp", "1363025": "ppp", "1363026": "ppp", "1363030": "rar*",
        "1363031": "ppp", "1363032": "ppp", "1363033": "rar*", "1363037": "rar*", "1363041": "rar*",
        "rupload": "rar", "rupload:final": "ppp", "http:404": "rar*",
    },
    "youtube": {
        "authError": "ttt+", "expired": "ttt+", "http:401": "ttt+", "youtubeSignupRequired": "ttt",
        "authenticatedUserAccountClosed": "ttt", "authenticatedUserAccountSuspended": "ttt",
        "authenticatedUserNotChannel": "ttt", "insufficientPermissions": "ttt", "forbidden": "ttt",
        "quotaExceeded": "lll^", "dailyLimitExceeded": "lll^", "rateLimitExceeded": "lll",
        "userRateLimitExceeded": "lll", "uploadRateLimitExceeded": "lll", "uploadLimitExceeded": "lll",
        "invalidTitle": "ppp", "invalidDescription": "ppp", "invalidTags": "ppp", "invalidCategoryId": "ppp",
        "invalidPublishAt": "ppp", "invalidFilename": "ppp", "invalidVideoMetadata": "ppp",
        "invalidRecordingDetails": "ppp", "defaultLanguageNotSet": "ppp", "mediaBodyRequired": "ppp",
        "forbiddenPrivacySetting": "ppp", "forbiddenLicenseSetting": "ppp", "internalError": "rar!",
        "backendError": "rar!", "http:404": "rar*", "http:410": "rar*", "http:4": "pap", "status:failed": "ppp",
        "status:rejected": "ppp", "status:deleted": "ppp", "invalid_grant": "ttt",
    },
    "mastodon": {
        "http:429": "lll", "http:401": "ttt", "http:403": "ttt", "http:404": "ppp", "http:413": "ppp",
        "http:422": "ppp", "http:503": "rar!",
    },
}  # fmt: skip
CASES = [
    (platform, key, means)
    for platform in TABLES
    for key, means in {**EXPECTED["transport"], **EXPECTED[platform]}.items()
]
CALL = Call("POST", "https://platform.example.org/1", "/{it}", {"text": "a private text"})


@pytest.fixture(scope="module")
def judges() -> Iterator[Platforms]:
    settings = WorkerSettings(DATABASE_URL="postgresql://nowhere/none", REDIS_URL="redis://nowhere")
    with Platforms(settings) as opened:
        yield opened


def reply_for(platform: str, key: str) -> Reply:
    """The answer that a row is about, as the platform writes it."""
    if key in {"unreachable", "timed_out", "lost", "oversized"}:
        return Reply(0, {}, b"", 0.5, CALL, key)
    if key == "unreadable":
        return Reply(200, {}, b"<html>", 0.5, CALL)
    if key == "unknown":
        return Reply(418 if platform == "mastodon" else 400, {}, meta_error(987_654).encoded(), 0.5, CALL)
    if key.startswith("http:"):
        status = key.partition(":")[2]
        return Reply(int(status) if len(status) == 3 else int(f"{status}18"), {}, b"no JSON", 0.5, CALL)
    if key.startswith("rupload"):
        return Reply(400, {}, json.dumps({"debug_info": {"retriable": key == "rupload"}}).encode(), 0.5, CALL)
    if key == "invalid_grant":
        return Reply(400, {}, b'{"error": "invalid_grant"}', 0.5, CALL)
    if platform == "youtube":
        return Reply(400, {}, google_error(400, key).encoded(), 0.5, CALL)
    code, _, subcode = key.partition("/")
    code = "230" if key == "200-299" else code
    return Reply(400, {}, meta_error(int(code), int(subcode or 0)).encoded(), 0.5, CALL)


def test_every_row_is_expected_and_none_else() -> None:
    for platform, table in TABLES.items():
        assert set(table) == set(EXPECTED["transport"]) | set(EXPECTED[platform]), platform


@pytest.mark.parametrize(("platform", "key", "means"), CASES, ids=[f"{case[0]}:{case[1]}" for case in CASES])
def test_a_row_means_what_it_says(judges: Platforms, platform: str, key: str, means: str) -> None:
    judge = judges[platform]._judge  # type: ignore[attr-defined]
    # A container's own end, a video's, and YouTube's unknown reasons are not told by a reply of their own.
    direct = key.startswith("status:") or (platform == "youtube" and key in {"http:3", "unknown", "invalid_grant"})
    direct = direct or (platform in {"instagram", "facebook"} and key == "http:3")
    given = (key,) if direct else ()
    reply = Reply(200, {}, b"{}", 0.5, CALL) if direct else reply_for(platform, key)
    account = AccountRef("a1", platform, "1")
    answers = [judge.answer(reply, phase, account, *given) for phase in (Phase.PREPARE, Phase.PUBLISH, Phase.LOOK_UP)]
    assert [answer.cls for answer in answers] == [LETTERS[letter] for letter in means[:3]]
    for answer in answers:
        flags = ("*" in means, "+" in means, "!" in means)
        assert (answer.restart, answer.refresh, answer.circuit) == flags
        assert answer.code in CATALOGUE
        assert answer.request == {"method": "POST", "path": "/{it}", "parameters": ["text"]}
        assert "private" not in f"{answer}"
    held = [fact for fact in answers[0].limit_facts if fact.blocked_for]
    assert [fact.key for fact in held] == ([f"platform:{platform}" if "^" in means else "account:a1"] * ("l" in means))


def test_every_row_names_its_source() -> None:
    rows = [row for table in (TRANSPORT, *TABLES.values()) for row in table.values()]
    assert all(row.source.startswith("https://") and row.meaning for row in rows)
    assert all(row.wait is None or timedelta(0) <= row.wait <= timedelta(days=1) for row in rows)
