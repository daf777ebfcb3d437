"""Payloads of posts: what is the same post, and what is another one."""

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from penstock.schemas.limits import Limits
from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import PublishPost, SchedulePost, post_digest, publish_key

ACCOUNT = uuid.UUID(int=1)
DUE = datetime(2026, 12, 1, 10, tzinfo=UTC)


def post(**members: Any) -> SchedulePost:
    return SchedulePost(**{"account_id": ACCOUNT, "due_at": DUE, "content": PostContent(text="Hello")} | members)


def test_an_instant_in_another_zone_and_a_member_that_is_the_default_are_the_same_post() -> None:
    there = DUE.astimezone(timezone(timedelta(hours=9)))
    assert post_digest(post(due_at=there, grace_seconds=3_600, key="k")) == post_digest(post())


OTHERS = {
    "account": {"account_id": uuid.UUID(int=2)},
    "instant": {"due_at": DUE + timedelta(seconds=1)},
    "text": {"content": PostContent(text="Hello!")},
    "link": {"content": PostContent(text="Hello", link="https://example.org/")},
    "owner": {"owner": "press"},
    "policy": {"lateness_policy": "hold"},
    "grace": {"grace_seconds": 1},
}


@pytest.mark.parametrize("members", OTHERS.values(), ids=OTHERS)
def test_anything_else_is_another_post(members: dict[str, Any]) -> None:
    assert post_digest(post(**members)) != post_digest(post())


def test_the_key_is_the_jobs_and_each_claim_is_a_job_of_its_own() -> None:
    assert post(key="spring").encode(Limits()).idempotency_key == "spring"
    assert post().encode(Limits()).idempotency_key is None
    made = PublishPost(post_id=ACCOUNT, version=3, account_id=ACCOUNT, platform="mastodon", due_at=DUE)
    encoded = made.encode(Limits())
    assert encoded.idempotency_key == publish_key(ACCOUNT, 3) == f"{ACCOUNT}.3"
    assert (encoded.queue, encoded.urgent) == ("publishing", True)
