"""The job kinds of scheduled posts: `scheduled_post.schedule` takes one in, `scheduled_post.publish` publishes it."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field

from penstock.schemas.errors import Code
from penstock.schemas.job import Payload
from penstock.schemas.names import Name, Queue
from penstock.schemas.post_content import PostContent

#: Who schedules a post for later than this has most likely mistaken the unit of a time stamp.
LONGEST_AHEAD = timedelta(days=10 * 366)


class PostState(StrEnum):
    """Where a post stands; docs/posts.md has the ways from one state to another."""

    #: Waits for its instant, or, due, for its account.
    SCHEDULED = "scheduled"
    #: Came too late and waits for an operator's approval.
    HELD = "held"
    #: A job has it; nothing of it is visible.
    CLAIMED = "claimed"
    #: The visible step was begun.
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    DEAD = "dead"
    CANCELLED = "cancelled"
    #: The visible step was begun, and whether it had its effect could not be found out.
    UNKNOWN_OUTCOME = "unknown_outcome"
    #: Came too late, and was not wanted any more.
    EXPIRED = "expired"


class LatenessPolicy(StrEnum):
    """What becomes of a post that can't be published until its grace is over."""

    #: It is published all the same.
    RUN = "run"
    #: It is not published, and is a dead letter.
    EXPIRE = "expire"
    #: It waits until an operator approves it.
    HOLD = "hold"


class SchedulePost(Payload, kind="scheduled_post.schedule", queue=Queue.POSTS):
    """Take in a post that is to be published at an instant. The post's id is the id of this job."""

    conflict_code: ClassVar[Code] = Code.POST_CONFLICT
    subjects: ClassVar[Mapping[str, str]] = {"account": "account_id"}

    account_id: UUID = Field(description="the account that it is published to")
    due_at: AwareDatetime = Field(description="when: RFC 3339 with offset; at once where it has passed")
    content: PostContent = Field(description="what its platform has to take; docs/platforms.md tells what fits")
    owner: Name | None = Field(default=None, description="whose post it is; the account's owner if absent")
    lateness_policy: LatenessPolicy = Field(
        default=LatenessPolicy.RUN, description="what becomes of it where it can't be published within its grace"
    )
    grace_seconds: Annotated[int, Field(ge=0, le=366 * 86_400)] = Field(
        default=3_600, description="how long after its instant a post is not late yet"
    )
    key: Name | None = Field(default=None, description="idempotency key: the same key is the same post")

    @property
    def grace(self) -> timedelta:
        """`grace_seconds` as a duration."""
        return timedelta(seconds=self.grace_seconds)

    def idempotency_key(self) -> str | None:
        """The key: sending the post again is the same job."""
        return self.key


class PublishPost(Payload, kind="scheduled_post.publish", queue=Queue.PUBLISHING):
    """Publish a post that was claimed. It names what gates ask for, so that they need not read the post."""

    urgent: ClassVar[bool] = True
    subjects: ClassVar[Mapping[str, str]] = {"account": "account_id", "platform": "platform"}

    post_id: UUID
    version: Annotated[int, Field(ge=1)] = Field(description="of the post when it was claimed: later, nothing is done")
    account_id: UUID
    platform: str
    due_at: AwareDatetime

    def idempotency_key(self) -> str:
        """One job for each time that the post is claimed."""
        return publish_key(self.post_id, self.version)


def publish_key(post_id: UUID, version: int) -> str:
    """The idempotency key of the job that publishes this version of a post."""
    return f"{post_id}.{version}"


def post_digest(post: SchedulePost) -> bytes:
    """What tells a resend from another post: 32 bytes of SHA-256 of what the producer said, however it was written."""
    # Without defaults: a member that a later release brings does not make the post another one.
    said = post.model_dump(mode="json", exclude={"due_at", "key"}, exclude_defaults=True)
    said["due_at"] = post.due_at.astimezone(UTC).isoformat()
    text = json.dumps(said, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(b"penstock.scheduled_post.1\n" + text.encode()).digest()
