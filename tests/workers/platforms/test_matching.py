"""A look-up adopts its own post alone: not what was there before, not another's, and none where several could be it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.platforms.matching import same_text
from penstock.workers.platforms.platform import Found, NotFound, Unknown
from penstock.workers.stand_in.faults import google_error, meta_error, replying
from penstock.workers.stand_in.server import StandIn
from tests.workers.platforms.driver import Walk, walk

TEXT = "A fine day & more"


def armed(post: Walk) -> Walk:
    """The post just before its visible step."""
    while post._step == "prepare":
        post._prepare(SecretStr(post.token))
    post.publication = replace(post.publication, armed_at=post.stand_in.world.now(), tries=1)
    return post


def sighted(post: Walk) -> object:
    return post.platform.look_up(post.publication, SecretStr(post.token))


def test_what_the_page_had_before_is_not_adopted(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.world.publish("facebook", "one", "text", TEXT)
    assert sighted(armed(walk(stand_in, platforms, "facebook-text"))) == NotFound(certain=False)


@pytest.mark.parametrize("kind", ["mastodon-text", "facebook-text"])
def test_what_is_older_than_the_first_try_is_not_adopted(stand_in: StandIn, platforms: Platforms, kind: str) -> None:
    post = walk(stand_in, platforms, kind)
    stand_in.world.publish(post.platform.name, "one", "text", TEXT)
    stand_in.world.advance(timedelta(minutes=10))
    post = armed(post)
    post.publication = replace(post.publication, state={**post.publication.state, "seen": []})
    assert isinstance(sighted(post), NotFound)


@pytest.mark.parametrize("kind", ["mastodon-text", "facebook-text"])
def test_of_several_none_is_adopted_and_another_text_never(stand_in: StandIn, platforms: Platforms, kind: str) -> None:
    post = armed(walk(stand_in, platforms, kind))
    stand_in.world.publish(post.platform.name, "one", "text", TEXT + "!")
    assert isinstance(sighted(post), NotFound)
    stand_in.world.publish(post.platform.name, "one", "text", TEXT)
    assert isinstance(sighted(post), Found)
    stand_in.world.publish(post.platform.name, "one", "text", TEXT)
    assert isinstance(sighted(post), Unknown)


def test_a_published_container_among_equal_captions_is_published_without_an_id(
    stand_in: StandIn, platforms: Platforms
) -> None:
    stand_in.world.publish("instagram", "one", "image", TEXT)
    stand_in.world.advance(timedelta(minutes=10))
    post = armed(walk(stand_in, platforms, "instagram-image"))
    published = post.platform.publish(post.publication, SecretStr(post.token))
    assert sighted(post) == Found(published.external_id, f"{stand_in.url}/p/{published.external_id}")
    stand_in.world.publish("instagram", "one", "image", TEXT)
    assert sighted(post) == Found(None)


def test_an_unreadable_container_is_decided_by_the_media_alone(stand_in: StandIn, platforms: Platforms) -> None:
    post = armed(walk(stand_in, platforms, "instagram-image"))
    stand_in.faults.add("instagram.poll", replying(meta_error(100, 33)), times=2)
    assert isinstance(sighted(post), Unknown)
    published = post.platform.publish(post.publication, SecretStr(post.token))
    found = sighted(post)
    assert isinstance(found, Found)
    assert found.external_id == published.external_id


def test_of_several_videos_of_a_title_none_is_adopted(stand_in: StandIn, platforms: Platforms) -> None:
    post = armed(walk(stand_in, platforms, "youtube-video"))
    stand_in.faults.add("youtube.status", replying(google_error(404, "notFound")), times=3)
    title = str(post.publication.content.options["title"])
    assert sighted(post) == NotFound(certain=False, handle_usable=False)
    stand_in.world.publish("youtube", "one", "video", TEXT, media=(title,))
    assert isinstance(sighted(post), Found)
    stand_in.world.publish("youtube", "one", "video", TEXT, media=(title,))
    assert isinstance(sighted(post), Unknown)


def test_texts_are_the_same_but_for_white_space_and_composition() -> None:
    assert same_text("a\r\n b", "a b ")
    assert same_text("caf\u00e9", "cafe\u0301")
    assert not same_text("a", "A")
    assert not same_text("", None)
