"""Every kind of post on every platform, with nothing going wrong: there once, confirmed, with its address."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from penstock.workers.platforms.answers import PlatformFault
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.platforms.platform import Found
from penstock.workers.stand_in.server import StandIn
from tests.workers.platforms.driver import walk

KINDS = (
    "instagram-image", "instagram-reel", "instagram-carousel", "facebook-text", "facebook-link", "facebook-photo",
    "facebook-photos", "facebook-video", "facebook-reel", "youtube-video", "mastodon-text", "mastodon-image",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_post_of_each_kind_is_published_once_and_confirmed(
    stand_in: StandIn, platforms: Platforms, kind: str
) -> None:
    post = walk(stand_in, platforms, kind)
    assert post.platform.validate(post.publication.content) == []
    post.run()
    assert (post.end, post.answers) == ("published", [])
    (there,) = stand_in.world.publications()
    assert (there.platform, there.account, there.text) == (post.platform.name, "one", "A fine day & more")
    assert there.external_id == post.publication.external_id
    confirmed = post.platform.confirm(post.publication, SecretStr(post.token))
    assert confirmed.external_id == there.external_id
    if kind not in {"facebook-video", "facebook-reel"}:
        assert confirmed.url


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_up_finds_what_is_there_and_only_then(stand_in: StandIn, platforms: Platforms, kind: str) -> None:
    post = walk(stand_in, platforms, kind)
    token = SecretStr(post.token)
    while not (prepared := post.platform.prepare(post.publication, token)).ready:
        post.publication = post.publication.prepared(prepared)
    post.publication = replace(post.publication.prepared(prepared), armed_at=stand_in.world.now())
    assert not isinstance(post.platform.look_up(post.publication, token), Found)
    published = post.platform.publish(post.publication, token)
    found = post.platform.look_up(post.publication, token)
    assert isinstance(found, Found)
    assert found.external_id == published.external_id


def test_instagram_tells_its_quota(stand_in: StandIn, platforms: Platforms) -> None:
    post = walk(stand_in, platforms, "instagram-image").run()
    instagram = platforms.by_name["instagram"]
    assert instagram.quota(post.publication.account, SecretStr("one.0")) == (1, 50)  # type: ignore[attr-defined]


def test_a_video_that_is_rejected_or_locked_private_is_told(stand_in: StandIn, platforms: Platforms) -> None:
    post = walk(stand_in, platforms, "youtube-video").run()
    stand_in.world.knobs.upload_status = "rejected"
    with pytest.raises(PlatformFault, match="rejected the video"):
        post.platform.confirm(post.publication, SecretStr(post.token))
    stand_in.world.knobs.upload_status, stand_in.world.knobs.privacy = "processed", "private"
    locked = walk(stand_in, platforms, "youtube-video", "another").run()
    with pytest.raises(PlatformFault, match="privacy is not allowed"):
        locked.platform.confirm(locked.publication, SecretStr(locked.token))


def test_limits_name_the_account_and_the_project(platforms: Platforms, stand_in: StandIn) -> None:
    account = walk(stand_in, platforms, "youtube-video").publication.account
    taken = {
        name: [(use.key, use.limit) for use in platform.limits(account)] for name, platform in platforms.by_name.items()
    }
    assert taken == {
        "instagram": [("account:id-one", 25), ("account:id-one/day", 50)],
        "facebook": [("account:id-one", 50)],
        "youtube": [("account:id-one", 10), ("platform:youtube", 100)],
        "mastodon": [("account:id-one", 10)],
    }
