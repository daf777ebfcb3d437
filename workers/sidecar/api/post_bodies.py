"""Bodies and answers of the API of posts and accounts."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from penstock.workers.sidecar.api.bodies import Reason, Shown, StorableText


def _plausible(moment: datetime) -> datetime:
    # Beyond, another offset can have no such year.
    if not 2000 <= moment.year <= 3000:
        raise ValueError("the year is not within 2000 and 3000")
    return moment


#: An instant with its offset.
Instant = Annotated[AwareDatetime, AfterValidator(_plausible)]
#: The version that the operator has seen; where it is another by now nothing is changed.
Expected = Annotated[int | None, Field(ge=1, le=2_147_483_647, strict=True)]

_ID = "6f1f0f6e-3c1b-4a52-9d3e-0d5f0a4e7b11"
_POST: dict[str, Any] = {
    "post_id": _ID,
    "tenant": "default",
    "owner": "press",
    "account_id": "0b7e8a52-1f0c-45d4-8c3e-1f4f5b6a7c8d",
    "account_name": "The press office",
    "platform": "instagram",
    "state": "held",
    "due_at": "2026-11-21T03:12:00Z",
    "lateness_policy": "hold",
    "version": 2,
    "waits_for_account_since": None,
    "attempts": 0,
    "external_id": None,
    "url": None,
    "published_at": None,
    "code": "POST_EXPIRED",
}


class PostOf(BaseModel):
    """A post without what it says."""

    model_config = ConfigDict(json_schema_extra={"example": _POST})

    post_id: UUID
    tenant: str
    owner: str
    account_id: UUID
    account_name: str
    platform: str
    state: str
    due_at: datetime
    lateness_policy: str
    version: int
    waits_for_account_since: datetime | None = Field(description="it is due and waits for its account")
    attempts: int = Field(description="visible steps that were begun")
    external_id: str | None
    url: str | None
    published_at: datetime | None
    code: str | None = Field(description="why it stands where it does, if not of itself")


class PostsPage(Shown):
    """A page of posts, by their instants."""

    items: list[PostOf]
    next: str | None


class AttemptOf(BaseModel):
    """A call to the platform, and its answer."""

    at: datetime
    attempt: int
    phase: str
    request: dict[str, Any] = Field(description="method, path and names of parameters")
    answer: str = Field(description="its class")
    code: str | None
    platform_code: str | None
    trace_id: str | None
    detail: str | None
    seconds: float
    worker: str
    release: str


class PostWhole(Shown, PostOf):
    """All that is known of a post, its content redacted."""

    content: Any = Field(description="texts, addresses and options by type and length")
    grace_seconds: int
    key: str | None
    job_id: UUID | None = Field(description="the job that publishes it, or did")
    account_state: str
    created_at: datetime
    updated_at: datetime
    publish_attempts: list[AttemptOf] = Field(description="the latest first")
    choices: list[str] = Field(description="what may be decided of it now")


class Reschedule(Reason):
    """Why, and when instead; at once where that has passed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"reason": "the campaign moved", "due_at": "2026-12-01T09:00:00Z"}},
    )

    due_at: Instant
    expected: Expected = None


class Cancel(Reason):
    """Why."""

    expected: Expected = None


class Approve(Reason):
    """Why, and when; at once if absent."""

    due_at: Instant | None = None
    expected: Expected = None


class Settle(Reason):
    """Why, and the id that the post has on its platform."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"reason": "it is on the page", "external_id": "17895695668004550"}},
    )

    external_id: Annotated[StorableText, Field(min_length=1, max_length=500, pattern=r"\S")]
    url: Annotated[StorableText, Field(max_length=2_000, pattern=r"^https?://\S+$")] | None = None


class Changed(BaseModel):
    """How the post stands now."""

    post_id: UUID
    state: str
    version: int
    due_at: datetime


class RevealedPost(BaseModel):
    """What a post says, as its producer wrote it."""

    post_id: UUID
    content: Any


class PlannedOf(BaseModel):
    """Posts of one state and platform that are due within an hour or day."""

    at: datetime = Field(description="its beginning, UTC")
    state: str
    platform: str
    count: int


class Calendar(Shown):
    """What is due when; hours or days of one state and platform without a post are left out."""

    items: list[PlannedOf]


class AccountOf(BaseModel):
    """An account. Nothing here is a token, or can become one."""

    account_id: UUID
    tenant: str
    owner: str
    platform: str
    external_id: str
    name: str
    state: str = Field(description="active, reauthorize (a person has to give new tokens) or disabled")
    state_code: str | None
    state_changed_at: datetime
    token_expires_at: datetime | None
    refresh_due_at: datetime | None
    refreshed_at: datetime
    refresh_code: str | None = Field(description="why the last refresh failed")
    created_at: datetime
    token_ends_soon: bool = Field(description="within a week, and nobody renews it when it is needed")
    posts_waiting: int = Field(description="posts that are due and wait for it, 1,000 at the most")


class AccountsPage(Shown):
    """A page of accounts, by id."""

    items: list[AccountOf]
    next: str | None
