"""Every call of a publication fails once, in every way, and the post is there exactly once all the same."""

import pytest
from pydantic import SecretStr

from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.stand_in.server import StandIn
from tests.workers.platforms.driver import walk

#: Every operation of every platform, those of reading included.
OPERATIONS = (
    "create", "poll", "publish", "photo", "feed", "posts", "video_start", "upload", "video_finish", "start", "piece",
    "status", "media", "list",
)  # fmt: skip
FAILURES = ("hang_before", "reset_before", "html_before", "away", "empty_after", "truncated_after")
LONG_ONES = ("instagram-carousel", "facebook-photos", "facebook-reel", "youtube-video", "mastodon-image")


@pytest.mark.parametrize("fault", FAILURES)
@pytest.mark.parametrize("kind", LONG_ONES)
def test_25_each_call_of_a_publication_may_fail_once(
    stand_in: StandIn, impatient: Platforms, kind: str, fault: str
) -> None:
    for operation in OPERATIONS:
        stand_in.faults.add(f"{kind.partition('-')[0]}.{operation}", fault)
    post = walk(stand_in, impatient, kind).run()
    assert post.end == "published", post.codes
    assert any(rule.times == 0 for rule in stand_in.faults.rules)
    assert len(stand_in.world.publications()) == 1


#: The one visible call of each kind of post.
VISIBLE = {
    "instagram-reel": "instagram.publish",
    "facebook-link": "facebook.feed",
    "facebook-photos": "facebook.feed",
    "facebook-video": "facebook.video_finish",
    "facebook-reel": "facebook.video_finish",
    "youtube-video": "youtube.piece",
    "mastodon-image": "mastodon.publish",
}


@pytest.mark.parametrize("fault", ["reset_after", "html_after", "empty_after", "truncated_after", "unknown_code_after"])
@pytest.mark.parametrize("kind", VISIBLE)
def test_a_visible_call_that_took_effect_unheard_is_found_and_not_repeated(
    stand_in: StandIn, platforms: Platforms, kind: str, fault: str
) -> None:
    post = walk(stand_in, platforms, kind)
    while post._step == "prepare":
        post._prepare(SecretStr(post.token))
    before = stand_in.world.calls(VISIBLE[kind])
    stand_in.faults.add(VISIBLE[kind], fault)
    assert post.run().end == "published"
    assert stand_in.world.calls(VISIBLE[kind]) == before + 1
    assert len(stand_in.world.publications()) == 1


@pytest.mark.parametrize("kind", VISIBLE)
def test_a_visible_call_that_took_no_effect_unheard_is_made_once_more(
    stand_in: StandIn, platforms: Platforms, kind: str
) -> None:
    post = walk(stand_in, platforms, kind)
    while post._step == "prepare":
        post._prepare(SecretStr(post.token))
    before = stand_in.world.calls(VISIBLE[kind])
    stand_in.faults.add(VISIBLE[kind], "html_before")
    assert post.run().end == "published"
    assert stand_in.world.calls(VISIBLE[kind]) == before + 2
    assert len(stand_in.world.publications()) == 1
