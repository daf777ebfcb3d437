"""`/v1/posts`: posts that are to be published, from their scheduling to what became of them."""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import json_answer, page_limit, polled_answer, query_of, uuid_of
from penstock.producers.gateway.bodies import read_whole, require_json, reservation
from penstock.producers.gateway.guarded import principal_of
from penstock.producers.gateway.keyed import name_of, parse_key
from penstock.producers.gateway.post_checks import require_publishable
from penstock.producers.gateway.post_pages import cursor_after, filter_of, following_of
from penstock.producers.gateway.post_versions import expected_version, failed_precondition, tag_of
from penstock.producers.gateway.problems import malformed
from penstock.producers.gateway.rows import RowError, parse_strictly
from penstock.producers.gateway.services import Services, services_of
from penstock.producers.gateway.validation import validated
from penstock.producers.queue.records import JobState
from penstock.producers.storage.account_platforms import platform_of
from penstock.producers.storage.posts import find_post, list_posts
from penstock.producers.storage.posts_changes import ChangedPost, cancel, reschedule
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError, PenstockError, UnavailableError
from penstock.schemas.scheduled_post import SchedulePost

#: The longest text of any platform and its media take less.
_BYTES = 1024 * 1024
_VERSIONS = 2**31 - 1


class _Change(BaseModel):
    """What a PATCH may bring."""

    model_config = ConfigDict(extra="forbid")

    due_at: AwareDatetime
    version: int | None = Field(default=None, ge=1, le=_VERSIONS)


async def post_post(request: Request) -> Response:
    """Accept a post: 202 with where to ask for it. The same key with the same post is the same post."""
    query_of(request)
    body, services, tenant = await _body(request), services_of(request), principal_of(request).tenant
    post = validated(SchedulePost, body)
    key = parse_key(request.headers.get("idempotency-key"))
    if key is not None:
        if post.key not in (None, name_of(key)):
            raise InvalidInputError(Code.REQUEST_INVALID, "the post's key and Idempotency-Key are two keys")
        post = post.model_copy(update={"key": name_of(key)})
    await _require_taken(services, tenant, post)
    producer = services.producer.of_tenant(tenant)
    told = await services.threads.run(producer.enqueue, post, revive=(JobState.DEAD,))
    headers = {"Location": f"/v1/posts/{told.job_id}"}
    if key is not None:
        headers["Idempotency-Key"] = f'"{key}"'
    if told.known:
        headers["Idempotency-Replayed"] = "true"
    answer = {
        "post_id": str(told.job_id),
        "job_id": str(told.job_id),
        "idempotency_key": post.key,
        "durability": told.durability,
        "status_url": headers["Location"],
    }
    return json_answer(answer, 202, headers)


async def list_all(request: Request) -> Response:
    """A page of the tenant's posts, by their instants."""
    query = query_of(request, "owner", "account_id", "platform", "state", "cursor", "limit")
    which, after, limit = filter_of(query), cursor_after(query.get("cursor")), page_limit(query)
    tenant = principal_of(request).tenant
    found = await services_of(request).database.run(
        lambda connection: list_posts(connection, tenant, which, after, limit + 1)
    )
    following = following_of(found[limit - 1]) if len(found) > limit else None
    return polled_answer(request, {"items": [post.as_dict() for post in found[:limit]], "next": following})


async def get_post(request: Request) -> Response:
    """A post; one that no worker has taken in yet is `accepted`."""
    query_of(request)
    services, tenant, post_id = services_of(request), principal_of(request).tenant, _post_id(request)
    found = await services.database.run(lambda connection: find_post(connection, tenant, post_id))
    if found is not None:
        return polled_answer(request, found.as_dict(), tag=tag_of(found.version))
    record = (await services.threads.run(services.producer.jobs, [post_id])).get(post_id)
    if record is None or record.tenant != tenant or record.kind != SchedulePost.kind:
        raise _unknown(post_id)
    told: dict[str, Any] = {"post_id": str(post_id), "tenant": tenant, "state": "accepted", "job_id": str(post_id)}
    if record.state is JobState.DEAD:
        told |= {"state": "dead", "code": record.code, "message": record.message}
    return polled_answer(request, told)


async def patch_post(request: Request) -> Response:
    """Reschedule a post; with `If-Match` or `version` only if it is as the asker has seen it."""
    query_of(request)
    change = validated(_Change, await _body(request))
    services, tenant, post_id = services_of(request), principal_of(request).tenant, _post_id(request)
    matched = expected_version(request)
    expected = matched if matched is not None else change.version
    try:
        done = await services.database.run(
            lambda connection: reschedule(connection, tenant, post_id, change.due_at, expected=expected),
            repeatable=False,
        )
    except PenstockError as error:
        raise failed_precondition(error, has_condition=matched is not None) from error
    return json_answer(_changed(done))


async def delete_post(request: Request) -> Response:
    """Cancel a post. One that was cancelled before stays so, and that is no error."""
    query_of(request)
    services, tenant, post_id = services_of(request), principal_of(request).tenant, _post_id(request)
    matched = expected_version(request)
    try:
        done = await services.database.run(
            lambda connection: cancel(connection, tenant, post_id, expected=matched), repeatable=False
        )
    except PenstockError as error:
        raise failed_precondition(error, has_condition=matched is not None) from error
    return json_answer(_changed(done))


async def _body(request: Request) -> bytes:
    require_json(request)
    services = services_of(request)
    with services.budget.reserved(reservation(request, _BYTES)):
        body = await read_whole(request, _BYTES, services.settings.request_seconds)
    try:
        parse_strictly(body)
    except RowError as error:
        raise malformed(f"the body: {error.told}") from None
    return body


async def _require_taken(services: Services, tenant: str, post: SchedulePost) -> None:
    try:
        platform = await services.database.run(lambda connection: platform_of(connection, tenant, post.account_id))
    except UnavailableError:
        # The account is looked for, and the post judged, again when it is taken in.
        return
    if platform is None:
        raise NotFoundError(Code.ACCOUNT_NOT_FOUND, f"there is no account {post.account_id}")
    require_publishable(platform, post, services.settings.private_hosts)


def _post_id(request: Request) -> UUID:
    text = request.path_params["post_id"]
    return uuid_of(text, NotFoundError(Code.POST_NOT_FOUND, "there is no such post"))


def _unknown(post_id: UUID) -> NotFoundError:
    return NotFoundError(Code.POST_NOT_FOUND, f"there is no post {post_id}")


def _changed(done: ChangedPost) -> dict[str, Any]:
    return {
        "post_id": str(done.post_id),
        "state": done.state,
        "version": done.version,
        "due_at": done.due_at.isoformat(),
    }
