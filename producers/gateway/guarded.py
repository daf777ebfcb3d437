"""What surrounds each endpoint: who asks, may they, how often, for how long, and for which request."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.access import place_of
from penstock.producers.gateway.keys import Principal
from penstock.producers.gateway.request_limits import Policy, exceeded
from penstock.producers.gateway.request_spans import STATUS, request_span
from penstock.producers.gateway.services import Services, Slots, services_of
from penstock.producers.queue.refusals import prefix_of
from penstock.producers.tracing import Cause, bind_cause, unbind_cause
from penstock.schemas.api_key import Scope
from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.schemas.trace import parse_trace

Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(scope: Scope, endpoint: Endpoint, *, is_timed: bool = True) -> Endpoint:
    """The endpoint for those whose key has the scope.

    Args:
        scope: what the key must allow.
        endpoint: finds who asks in `principal_of(request)`.
        is_timed: bound it as an ordinary request; else it bounds itself.
    """

    async def guarded_endpoint(request: Request) -> Response:
        services = services_of(request)
        await _count(request, services.address_policy, place_of(request))
        principal = await _principal(request)
        if principal.key_id is not None:
            await _count(request, services.key_policy, str(principal.key_id))
        _require(request, principal, scope)
        request.state.principal = principal
        with request_span(request) as span, _cause(request, span.trace):
            response = await (within(services, endpoint(request)) if is_timed else endpoint(request))
            span.note({STATUS: response.status_code})
            return response

    return guarded_endpoint


async def within(services: Services, answering: Awaitable[Response]) -> Response:
    """The answer, if it comes in the time of an ordinary request.

    Raises:
        UnavailableError: `REQUEST_TIMEOUT`. A thread may still be at work on it.
    """
    try:
        async with asyncio.timeout(services.settings.request_seconds):
            return await answering
    except TimeoutError:
        raise UnavailableError(
            Code.REQUEST_TIMEOUT,
            "the request was not done in time",
            remedy="Send it again, with the same idempotency key where it has one.",
        ) from None


@contextmanager
def taken(slots: Slots, what: str) -> Iterator[None]:
    """Have one of the slots within the block.

    Raises:
        UnavailableError: `REQUEST_OVERLOADED` where none is free.
    """
    if slots.taken >= slots.limit:
        raise UnavailableError(Code.REQUEST_OVERLOADED, f"the gateway has {slots.limit:,} {what} at once already")
    slots.taken += 1
    try:
        yield
    finally:
        slots.taken -= 1


def principal_of(request: Request) -> Principal:
    """Who asks."""
    found: Principal = request.state.principal
    return found


async def _principal(request: Request) -> Principal:
    """Who asks. That somebody was refused is noted for the audit."""
    services = services_of(request)
    try:
        return await services.access.principal(request)
    except PenstockError as error:
        services.refusals.note(error, _network_of(request), error.details.get("key_id"))
        raise


def _require(request: Request, principal: Principal, scope: Scope) -> None:
    try:
        principal.require(scope)
    except PenstockError as error:
        services_of(request).refusals.note(error, _network_of(request), str(principal.key_id))
        raise


def _network_of(request: Request) -> str:
    return prefix_of(request.client.host if request.client is not None else "")


async def _count(request: Request, policy: Policy, whose: str) -> None:
    standing = await services_of(request).limits.take(policy, whose)
    if standing is None:
        return
    request.state.headers += standing.headers()
    if standing.refused:
        raise exceeded(standing)


@contextmanager
def _cause(request: Request, trace: str | None) -> Iterator[None]:
    """Have what the endpoint enqueues belong to the request: to its span, or else to the trace that it brings."""
    token = bind_cause(Cause(trace or parse_trace(request.headers.get("traceparent", "")), request.state.request_id))
    try:
        yield
    finally:
        unbind_cause(token)
