"""The scenarios of docs/platforms.md, each on one publication: how it ends, and how often it is there.

Each is set up by its name at the stand-in. A scenario that ends as published is there exactly once.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from penstock.schemas.post_content import Media, PostContent
from penstock.workers.platforms.answers import AnswerClass, PlatformFault
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.platforms.platform import Publication
from penstock.workers.stand_in.exchange import Response
from penstock.workers.stand_in.faults import NAMED, google_error, replying
from penstock.workers.stand_in.scenarios import SCENARIOS
from penstock.workers.stand_in.server import StandIn
from tests.workers.platforms.driver import Walk, walk

#: Scenario -> kind of post, its end, a code that has to be among the answers ("" where none must be), how often there.
ENDS: dict[str, list[tuple[str, str, str, int]]] = {
    "container-takes-a-while": [("instagram-image", "published", "", 1), ("instagram-carousel", "published", "", 1)],
    "published-too-early": [("instagram-image", "published", "9007/2207027", 1)],
    "published-but-server-error": [("instagram-image", "published", "-1/2207001", 1)],
    "published-but-spam": [("instagram-image", "published", "4/2207051", 1)],
    "container-unreadable": [("instagram-image", "published", "", 1)],
    "container-error": [("instagram-reel", "dead", "2207026", 0)],
    "day-is-full": [("instagram-image", "held", "9/2207042", 0)],
    "posted-but-500": [("facebook-text", "published", "2", 1), ("facebook-photos", "published", "2", 1)],
    "not-posted-and-500": [("facebook-text", "published", "2", 1)],
    "throttled-app": [("facebook-text", "held", "4", 0)],
    "throttled-page": [("facebook-text", "held", "32", 0)],
    "throttled-page-business": [("facebook-text", "held", "80001", 0)],
    "throttled-instagram": [("instagram-image", "held", "80002", 0)],
    "reel-cut-off": [("facebook-reel", "published", "lost", 1), ("facebook-video", "published", "lost", 1)],
    "piece-stored-in-part": [("youtube-video", "published", "", 1)],
    "piece-not-stored": [("youtube-video", "published", "", 1)],
    "last-piece-without-answer": [("youtube-video", "published", "lost", 1)],
    "away-in-the-middle": [("youtube-video", "published", "http:503", 1)],
    "session-gone-before-the-end": [("youtube-video", "published", "notFound", 1)],
    "project-is-full": [("youtube-video", "held", "quotaExceeded", 0)],
    "channel-is-full": [("youtube-video", "held", "uploadLimitExceeded", 0)],
    "answers-html": [
        (kind, "published", "http:5", 1) for kind in ("instagram-image", "facebook-text")
    ] + [(kind, "published", "http:500", 1) for kind in ("youtube-video", "mastodon-text")],
    "answers-nothing": [
        (kind, "published", "unreadable", 1) for kind in ("instagram-image", "facebook-text", "mastodon-text")
    ],
    "answers-half": [
        (kind, "published", "unreadable", 1) for kind in ("instagram-image", "facebook-text", "mastodon-text")
    ],
    "answers-unknown-code": [(kind, "published", "987654", 1) for kind in ("instagram-image", "facebook-text")],
}  # fmt: skip
#: Scenarios that need more than one post and one set-up; each has a test of its own below.
APART = {
    "an-hour-passes", "broken-rules", "container-expired", "duplicate-368", "duplicate-506", "grant-is-gone",
    "publish-at", "published-without-answer", "same-key", "schedule-window", "session-gone-after-the-end",
    "token-dies-in-the-middle", "token-expired", "token-not-refreshed",
}  # fmt: skip
CASES = [(name, *case) for name, cases in ENDS.items() for case in cases]


def test_every_scenario_has_its_test_and_all_twenty_five_are_there() -> None:
    assert set(ENDS) | APART == set(SCENARIOS)
    assert {scenario.number for scenario in SCENARIOS.values()} == set(range(1, 26))


@pytest.mark.parametrize(
    ("name", "kind", "end", "code", "times"), CASES, ids=[f"{case[0]}:{case[1]}" for case in CASES]
)
def test_a_publication_ends_as_its_scenario_says(
    stand_in: StandIn, platforms: Platforms, name: str, kind: str, end: str, code: str, times: int
) -> None:
    if name == "last-piece-without-answer":
        # The two pieces before it arrive.
        stand_in.faults.add("youtube.piece", NAMED["reset_after"], after=2)
    else:
        stand_in.play(name)
    post = walk(stand_in, platforms, kind).run()
    assert post.end == end, post.codes
    assert len(stand_in.world.publications()) == times
    if code:
        assert code in post.codes


def test_1_looks_are_spaced(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.play("container-takes-a-while")
    post = walk(stand_in, platforms, "instagram-image").run()
    assert stand_in.world.calls("instagram.poll") == 3
    assert post.waited == timedelta(seconds=3 + 3 + 5)


@pytest.mark.parametrize("name", ["published-without-answer", "published-but-server-error", "published-but-spam"])
def test_3_what_was_published_is_not_published_again(stand_in: StandIn, impatient: Platforms, name: str) -> None:
    stand_in.play(name)
    assert walk(stand_in, impatient, "instagram-reel").run().end == "published"
    assert stand_in.world.calls("instagram.publish") == len(stand_in.world.publications()) == 1


def test_5_an_expired_container_is_made_anew(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.play("container-expired")
    post = walk(stand_in, platforms, "instagram-image")
    post._prepare(SecretStr(post.token))
    stand_in.world.advance(timedelta(hours=25))
    post.run()
    assert (post.end, post.codes) == ("published", ["status:EXPIRED"])
    assert stand_in.world.calls("instagram.create") == 2
    assert len(stand_in.world.publications()) == 1


def test_5_a_container_that_expires_before_its_publication_is_looked_up_and_made_anew(
    stand_in: StandIn, platforms: Platforms
) -> None:
    post = walk(stand_in, platforms, "instagram-image")
    while post._step == "prepare":
        post._prepare(SecretStr(post.token))
    stand_in.world.advance(timedelta(hours=25))
    post.run()
    assert post.end == "published"
    assert len(stand_in.world.publications()) == 1


def test_7_the_51st_publication_is_held_for_a_day_and_costs_nothing(stand_in: StandIn, platforms: Platforms) -> None:
    for number in range(50):
        stand_in.world.publish("instagram", "one", "image", f"{number}")
    post = walk(stand_in, platforms, "instagram-image").run()
    (answer,) = post.answers
    assert (post.end, post.attempts, answer.retry_after) == ("held", 0, timedelta(hours=24))
    assert [(fact.key, fact.blocked_for) for fact in answer.limit_facts] == [("account:id-one", timedelta(hours=24))]
    assert walk(stand_in, platforms, "instagram-image", name="two").run().end == "published"


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "carousel-of-11": ({"media": 11}, "100/2207028"),
    "caption-of-2201": ({"text": "x" * 2_201}, "36004/2207010"),
    "31-hashtags": ({"text": "#a " * 31}, "100/2207040"),
    "png": ({"file": "a.png", "content_type": "image/png"}, "36001/2207005"),
    "ratio-3-to-1": ({"file": "3x1.jpg", "width": 900, "height": 300}, "36003/2207009"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_8_broken_rules_are_told_early_and_refused_by_the_platform(
    stand_in: StandIn, platforms: Platforms, case: str
) -> None:
    made, code = BROKEN[case]
    stand_in.play("broken-rules")
    media = Media(url=stand_in.file(made.get("file", "a.jpg")), **{
        name: made[name] for name in ("content_type", "width", "height") if name in made})  # fmt: skip
    content = PostContent(text=made.get("text", "t"), media=(media,) * made.get("media", 1))
    post = walk(stand_in, platforms, "instagram-image")
    assert len(post.platform.validate(content)) == 1
    post.publication = _with_content(post, content)
    assert (post.run().end, post.codes) == ("dead", [code])
    assert stand_in.world.publications() == []


@pytest.mark.parametrize("name", ["duplicate-506", "duplicate-368"])
def test_11_a_duplicate_is_adopted_only_after_a_try_of_our_own(
    stand_in: StandIn, platforms: Platforms, name: str
) -> None:
    stand_in.play(name)
    first = walk(stand_in, platforms, "facebook-text", post_id="first").run()
    second = walk(stand_in, platforms, "facebook-text", post_id="second").run()
    assert (first.end, second.end) == ("published", "dead")
    assert len(stand_in.world.publications()) == 1
    # Posted unheard, and the feed does not list it in time: the one more try is told of the duplicate.
    stand_in.faults.add("facebook.feed", "reset_after")
    stand_in.faults.add("facebook.posts", replying(_nothing_listed()), times=3, after=1)
    unheard = walk(stand_in, platforms, "facebook-text", "another text").run()
    assert unheard.end == "published"
    assert len(stand_in.world.publications()) == 2


@pytest.mark.parametrize("code", ["throttled-app", "throttled-page", "throttled-page-business", "throttled-instagram"])
def test_12_a_throttle_waits_as_long_as_the_header_says(stand_in: StandIn, platforms: Platforms, code: str) -> None:
    stand_in.play(code)
    kind = "instagram-image" if code == "throttled-instagram" else "facebook-text"
    (answer,) = walk(stand_in, platforms, kind).run().answers
    assert answer.retry_after == timedelta(minutes=19)
    assert answer.limit_facts[-1].key == ("platform:facebook" if code == "throttled-app" else "account:id-one")


@pytest.mark.parametrize(("user_token", "end"), [("one.user", "published"), ("dead.user", "reauthorize")])
def test_13_a_page_token_is_derived_anew_while_the_user_token_lives(
    stand_in: StandIn, platforms: Platforms, user_token: str, end: str
) -> None:
    stand_in.world.knobs.tokens |= {"one.0": "expired", "dead.user": "expired"}
    post = walk(stand_in, platforms, "facebook-text")
    account = post.publication.account
    post.refresh = lambda: platforms.tokens.facebook_page(account, SecretStr(user_token)).access
    assert post.run().end == end
    assert len(stand_in.world.publications()) == (end == "published")
    assert walk(stand_in, platforms, "facebook-text", name="two").run().end == "published"


def test_14_a_token_that_is_young_stays_and_one_that_is_dead_needs_a_person(
    stand_in: StandIn, platforms: Platforms
) -> None:
    stand_in.world.knobs.tokens |= {"young.0": "young", "dead.0": "expired"}
    account = walk(stand_in, platforms, "instagram-image").publication.account
    fresh = platforms.tokens.instagram(account, SecretStr("one.0"))
    assert fresh.access.startswith("one.")
    assert fresh.expires_in == timedelta(seconds=5_183_944)
    for token, cls in (("young.0", AnswerClass.PERMANENT), ("dead.0", AnswerClass.AUTH)):
        with pytest.raises(PlatformFault) as caught:
            platforms.tokens.instagram(account, SecretStr(token))
        assert (caught.value.answer.cls, caught.value.answer.refresh) == (cls, False)


@pytest.mark.parametrize(("ahead", "end"), [
    (timedelta(minutes=5), "dead"), (timedelta(days=31), "dead"), (timedelta(days=2), "published"),
])  # fmt: skip
def test_15_a_page_schedules_within_its_window_alone(
    stand_in: StandIn, platforms: Platforms, ahead: timedelta, end: str
) -> None:
    at = int((stand_in.world.now() + ahead).timestamp())
    post = walk(stand_in, platforms, "facebook-text", options={"scheduled_publish_time": at}).run()
    assert post.end == end
    assert post.codes == ([] if end == "published" else ["100"])
    assert [one.scheduled for one in stand_in.world.publications()] == [True] * (end == "published")


def test_16_a_page_has_thirty_reels_a_day(stand_in: StandIn, platforms: Platforms) -> None:
    for number in range(30):
        stand_in.world.publish("facebook", "one", "reel", f"{number}")
    assert walk(stand_in, platforms, "facebook-reel").run().end == "held"


def test_17_an_upload_goes_on_where_the_server_is(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.play("piece-not-stored")
    stand_in.world.knobs.no_range = False
    assert walk(stand_in, platforms, "youtube-video").run().end == "published"
    # 700,000 bytes are three pieces; the first was sent twice.
    assert stand_in.world.calls("youtube.piece") == 4


def test_19_a_token_that_dies_within_an_upload_is_refreshed_for_the_same_session(
    stand_in: StandIn, platforms: Platforms
) -> None:
    stand_in.play("token-dies-in-the-middle")
    post = walk(stand_in, platforms, "youtube-video")
    post.refresh = lambda: platforms.tokens.google(post.publication.account, SecretStr("one")).access
    assert (post.run().end, post.codes) == ("published", ["authError"])
    assert stand_in.world.calls("youtube.start") == 1
    assert len(stand_in.world.publications()) == 1


def test_20_a_session_that_is_gone_after_the_last_byte_is_found_among_the_uploads(
    stand_in: StandIn, platforms: Platforms
) -> None:
    stand_in.faults.add("youtube.piece", NAMED["reset_after"], after=2)
    post = walk(stand_in, platforms, "youtube-video")
    token = SecretStr(post.token)
    while post._step == "prepare":
        post._prepare(token)
    stand_in.faults.add("youtube.status", replying(google_error(404, "notFound")), times=5)
    assert post.run().end == "published"
    assert stand_in.world.calls("youtube.playlistItems") == 1
    assert stand_in.world.calls("youtube.start") == 1
    (there,) = stand_in.world.publications()
    assert there.external_id == post.publication.external_id


def test_21_a_full_project_holds_all_channels_until_midnight_and_a_full_channel_itself(
    stand_in: StandIn, platforms: Platforms
) -> None:
    stand_in.play("project-is-full")
    (answer,) = walk(stand_in, platforms, "youtube-video").run().answers
    assert answer.limit_facts[-1].key == "platform:youtube"
    assert answer.retry_after is not None
    assert timedelta(seconds=60) <= answer.retry_after <= timedelta(hours=25)
    stand_in.play("channel-is-full")
    (answer,) = walk(stand_in, platforms, "youtube-video").run().answers
    assert (answer.limit_facts[-1].key, answer.retry_after) == ("account:id-one", timedelta(hours=24))


def test_22_a_grant_that_is_gone_needs_a_person(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.world.knobs.tokens |= {"one": "revoked", "one.0": "expired"}
    post = walk(stand_in, platforms, "youtube-video")
    post.refresh = lambda: platforms.tokens.google(post.publication.account, SecretStr("one")).access
    assert (post.run().end, post.codes) == ("reauthorize", ["authError", "invalid_grant"])
    assert not post.answers[-1].refresh


def test_23_publish_at_goes_with_private_alone_and_a_past_one_shows_at_once(
    stand_in: StandIn, platforms: Platforms
) -> None:
    past = (stand_in.world.now() - timedelta(hours=1)).isoformat()
    public = walk(stand_in, platforms, "youtube-video", options={"publish_at": past, "privacy": "public"})
    assert [fault.field for fault in public.platform.validate(public.publication.content)] == ["options.publish_at"]
    assert (public.run().end, public.codes) == ("dead", ["invalidPublishAt"])
    private = walk(stand_in, platforms, "youtube-video", options={"publish_at": past, "privacy": "private"})
    assert private.run().end == "published"
    (video,) = stand_in.world.keep("youtube_videos").values()
    assert video["status"]["privacyStatus"] == "public"


def test_24_a_key_makes_one_status_within_an_hour_and_two_after_it(stand_in: StandIn, platforms: Platforms) -> None:
    post = walk(stand_in, platforms, "mastodon-text").run()
    token = SecretStr(post.token)
    again = post.platform.publish(post.publication, token)
    assert again.external_id == post.publication.external_id
    stand_in.play("an-hour-passes")
    assert post.platform.publish(post.publication, token).external_id != post.publication.external_id
    assert len(stand_in.world.publications()) == len(stand_in.world.doubles()) + 1 == 2


def test_24_an_unheard_status_is_found_after_the_hour_too(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.faults.add("mastodon.publish", "reset_after")
    post = walk(stand_in, platforms, "mastodon-image")
    while not post.answers:
        try:
            getattr(post, f"_{post._step}")(SecretStr(post.token))
        except PlatformFault as fault:
            post.answers.append(fault.answer)
            post._judge(fault.answer)
    stand_in.play("an-hour-passes")
    assert post.run().end == "published"
    assert len(stand_in.world.publications()) == 1


def _with_content(post: Walk, content: PostContent) -> Publication:
    return replace(post.publication, content=content)


def _nothing_listed() -> Response:
    return Response(body={"data": []})
