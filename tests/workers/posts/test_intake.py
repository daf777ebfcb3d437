"""Taking posts in: once, with what the account tells."""

import uuid
from datetime import timedelta

import pytest

from penstock.schemas.errors import ConflictError, NotFoundError
from penstock.schemas.post_content import Media, PostContent
from penstock.workers.posts.intake import schedule_post
from tests.posts_kit import TENANT, Connection, ago, new_account, post_of, row_of


def test_a_post_is_stored_as_it_was_sent_with_the_accounts_platform_and_owner(connection: Connection) -> None:
    account = new_account(connection, "mastodon", owner="sport")
    media = (Media(url="https://example.org/a.jpg", alt="A horse"),)
    post = post_of(account, content=PostContent(text="Hi 😂", media=media), lateness_policy="hold", grace_seconds=90)
    taken = schedule_post(connection, TENANT, uuid.uuid4(), post)
    assert not taken.repeated
    columns = "state, platform, owner, content, lateness_policy, grace, due_at, version, attempts"
    content = {"text": "Hi 😂", "media": [{"url": "https://example.org/a.jpg", "alt": "A horse"}]}
    assert row_of(connection, taken.post_id, columns) == (
        *("scheduled", "mastodon", "sport", content, "hold", timedelta(seconds=90), post.due_at, 1, 0),
    )


def test_the_same_again_changes_nothing_and_another_content_is_a_conflict(
    connection: Connection, account: uuid.UUID
) -> None:
    post_id, due = uuid.uuid4(), ago(hours=-1)
    for repeated in (False, True):
        assert schedule_post(connection, TENANT, post_id, post_of(account, due)).repeated is repeated
    with pytest.raises(ConflictError, match="POST_CONFLICT"):
        schedule_post(connection, TENANT, post_id, post_of(account, due, content=PostContent(text="Other")))
    assert row_of(connection, post_id, "content") == {"text": "Hello"}


@pytest.mark.parametrize("tenant", [TENANT, "another"])
def test_an_account_of_nobody_or_of_another_tenant_is_not_there(
    connection: Connection, account: uuid.UUID, tenant: str
) -> None:
    wanted = uuid.uuid4() if tenant == TENANT else account
    with pytest.raises(NotFoundError, match="ACCOUNT_NOT_FOUND"):
        schedule_post(connection, tenant, uuid.uuid4(), post_of(wanted))
