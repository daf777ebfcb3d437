"""Posts: lists, a calendar, one of them, and what operators decide."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from penstock.producers.storage.posts_changes import ChangedPost
from penstock.workers.dead_letters.post_contents import redacted_content
from penstock.workers.posts.calendar import Bucket
from penstock.workers.posts.choices import choices_of
from penstock.workers.posts.filters import PostsFilter, Standing
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.access.require import AsOperator, AsViewer, require
from penstock.workers.sidecar.api.bodies import Reason
from penstock.workers.sidecar.api.post_bodies import (
    Approve,
    Calendar,
    Cancel,
    Changed,
    Instant,
    PostsPage,
    PostWhole,
    Reschedule,
    RevealedPost,
    Settle,
)
from penstock.workers.sidecar.services import Services, ServicesOf

router = APIRouter(prefix="/api/v1", tags=["posts"])

#: Who may see what is redacted, with a reason that is recorded.
REVEALS = Role.ADMIN
#: Parameters of a list that choose no posts.
_OF_THE_LIST = ("limit", "cursor", "order")

Word = Annotated[str | None, Query(max_length=500)]


def posts_filter(
    request: Request,
    _state: Annotated[str | None, Query(alias="state", description=f"one of {', '.join(Standing)}")] = None,
    _tenant: Annotated[str | None, Query(alias="tenant", max_length=500)] = None,
    _owner: Annotated[str | None, Query(alias="owner", max_length=500, description="of the tenant")] = None,
    _platform: Annotated[str | None, Query(alias="platform", max_length=500)] = None,
    _account: Annotated[str | None, Query(alias="account", max_length=500, description="its id")] = None,
    _after: Annotated[str | None, Query(alias="due_after", description="RFC 3339, or a day (UTC)")] = None,
    _before: Annotated[str | None, Query(alias="due_before", description="as due_after")] = None,
) -> PostsFilter:
    """The filter of the address; its parameters stand here for whoever reads the description of the API."""
    query = request.query_params
    return PostsFilter.parse({name: query.getlist(name) for name in query if name not in _OF_THE_LIST})


@router.get("/posts", response_model=PostsPage)
def list_posts(
    services: ServicesOf,
    _viewer: AsViewer,
    chosen: Annotated[PostsFilter, Depends(posts_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
    order: Annotated[str, Query(pattern="^(earliest|latest)$", description="earliest or latest first")] = "earliest",
) -> dict[str, object]:
    """Posts by the instants for which they are scheduled. Never what they say."""
    answer = services.known.read(
        ("posts", chosen, limit, cursor, order),
        lambda: services.posts.list(chosen, limit=limit, cursor=cursor, latest_first=order == "latest"),
    )
    return {"items": [one.as_dict() for one in answer.value.items], "next": answer.value.next, **answer.as_dict()}


@router.get("/posts/calendar", response_model=Calendar)
def show_calendar(
    services: ServicesOf,
    _viewer: AsViewer,
    start: Annotated[Instant, Query(alias="from")],
    end: Annotated[Instant, Query(alias="to")],
    bucket: Annotated[Bucket, Query(description="hour: up to 8 days; day: up to 62 days")] = Bucket.DAY,
    tenant: Word = None,
    platform: Word = None,
) -> dict[str, object]:
    """How many posts are due in each hour or day (UTC), by state and platform."""
    wanted = PostsFilter.parse({"tenant": tenant, "platform": platform})
    answer = services.known.read(
        ("calendar", start, end, bucket, wanted),
        lambda: services.calendar.count(start, end, bucket, tenant=wanted.tenant, platform=wanted.platform),
    )
    return {"items": [one.as_dict() for one in answer.value], **answer.as_dict()}


@router.get("/posts/{post_id}", response_model=PostWhole)
def show_post(post_id: UUID, services: ServicesOf, _viewer: AsViewer) -> dict[str, object]:
    """All that is known of one: where it stands, the calls that were made for it, its content redacted."""
    answer = services.known.read(("post", post_id), lambda: services.posts.show(post_id))
    detail = answer.value
    return {
        **detail.post.as_dict(),
        "account_name": detail.account_name,
        "account_state": detail.account_state,
        "content": redacted_content(detail.post.content),
        "publish_attempts": [attempt.as_dict() for attempt in detail.attempts],
        "choices": list(choices_of(detail.post.state)),
        **answer.as_dict(),
    }


@router.post("/posts/{post_id}/reschedule", response_model=Changed)
def reschedule(post_id: UUID, body: Reschedule, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Give it another instant; one that has expired or is dead gets a new life by it."""
    return _decided(
        services,
        post_id,
        lambda tenant: services.post_decisions.reschedule(
            operator.name, body.reason, tenant, post_id, body.due_at, expected=body.expected
        ),
    )


@router.post("/posts/{post_id}/cancel", response_model=Changed)
def cancel(post_id: UUID, body: Cancel, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """See that it is not published. One that was cancelled before stays so."""
    return _decided(
        services,
        post_id,
        lambda tenant: services.post_decisions.cancel(
            operator.name, body.reason, tenant, post_id, expected=body.expected
        ),
    )


@router.post("/posts/{post_id}/approve", response_model=Changed)
def approve(post_id: UUID, body: Approve, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Let a held post go, at an instant or at once."""
    return _decided(
        services,
        post_id,
        lambda tenant: services.post_decisions.approve(
            operator.name, body.reason, tenant, post_id, due_at=body.due_at, expected=body.expected
        ),
    )


@router.post("/posts/{post_id}/settle", response_model=Changed)
def settle(post_id: UUID, body: Settle, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Note that a post of unknown outcome is live, under the id that it has on its platform."""
    return _decided(
        services,
        post_id,
        lambda tenant: services.post_decisions.settle_as_live(
            operator.name, body.reason, tenant, post_id, body.external_id, body.url
        ),
    )


@router.post("/posts/{post_id}/publish-again", response_model=Changed)
def publish_again(post_id: UUID, body: Reason, services: ServicesOf, operator: AsOperator) -> dict[str, object]:
    """Have a post of unknown outcome published once more, since somebody saw that it is not live."""
    return _decided(
        services,
        post_id,
        lambda tenant: services.post_decisions.publish_again(operator.name, body.reason, tenant, post_id),
    )


@router.post("/posts/{post_id}/reveal", response_model=RevealedPost)
def reveal(post_id: UUID, body: Reason, request: Request, services: ServicesOf) -> Response:
    """What it says, as its producer wrote it; who looked and why is recorded before."""
    operator = require(request, REVEALS)
    content = services.post_contents.reveal(post_id, operator.name, body.reason)
    return Response(json.dumps({"post_id": str(post_id), "content": content}), media_type="application/json")


def _decided(services: Services, post_id: UUID, decide: Callable[[str], ChangedPost]) -> dict[str, Any]:
    changed = decide(services.posts.tenant_of(post_id))
    due_at: datetime = changed.due_at
    return {"post_id": post_id, "state": changed.state, "version": changed.version, "due_at": due_at}
