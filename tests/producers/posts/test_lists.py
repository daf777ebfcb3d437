"""Lists of posts: what was asked for, in order, page by page."""

import uuid
from typing import Any

from penstock.producers.storage.posts import PostFilter, count_by_state, find_post, list_posts
from penstock.schemas.scheduled_post import PostState
from tests.posts_kit import TENANT, Connection, ago, new_account, new_post


def test_a_list_has_what_was_asked_for_in_the_order_of_instants(connection: Connection) -> None:
    one, other = new_account(connection), new_account(connection, "mastodon", owner="sport")
    first, second = new_post(connection, one, ago(hours=-2)), new_post(connection, other, ago(hours=-1))
    third = new_post(connection, one, ago(hours=-3), owner="sport")
    connection.execute("UPDATE penstock.scheduled_posts SET state = 'held' WHERE post_id = %s", (third,))

    def ids(**which: Any) -> list[uuid.UUID]:
        return [post.post_id for post in list_posts(connection, TENANT, PostFilter(**which))]

    assert ids() == [second, first, third]
    assert ids(owner="sport") == [second, third]
    assert ids(account_id=one) == [first, third]
    assert ids(platform="mastodon") == [second]
    assert ids(state=PostState.HELD, owner="sport") == [third]
    assert list_posts(connection, "another") == []
    assert count_by_state(connection, TENANT) == {"scheduled": 2, "held": 1}


def test_pages_together_are_the_list_also_of_one_instant(connection: Connection, account: uuid.UUID) -> None:
    due = ago(hours=-1)
    posts = {new_post(connection, account, due) for _ in range(7)}
    seen: list[uuid.UUID] = []
    after = None
    while page := list_posts(connection, TENANT, after=after, limit=3):
        seen += [post.post_id for post in page]
        after = (page[-1].due_at, page[-1].post_id)
    assert (len(seen), set(seen)) == (7, posts)


def test_a_post_is_shown_with_what_is_to_know_of_it(connection: Connection, account: uuid.UUID) -> None:
    post = find_post(connection, TENANT, new_post(connection, account, ago(hours=-1), key="spring", grace_seconds=90))
    assert post is not None
    shown = post.as_dict()
    assert (shown["state"], shown["key"], shown["grace_seconds"], shown["version"]) == ("scheduled", "spring", 90, 1)
    assert (shown["account_id"], shown["owner"], shown["content"]) == (str(account), "press", {"text": "Hello"})
    assert find_post(connection, "another", post.post_id) is None
