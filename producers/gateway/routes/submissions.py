"""`POST /v1/forms/{form_id}/submissions`: answers to a form, in one document or as a stream of lines."""

from collections.abc import Iterator
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import json_answer, query_of, whole_number
from penstock.producers.gateway.bodies import JSON, media_type, read_pieces, read_whole, reservation
from penstock.producers.gateway.cutting import Cutter, Lines
from penstock.producers.gateway.guarded import principal_of, taken, within
from penstock.producers.gateway.keyed import name_of, new_key, parse_key
from penstock.producers.gateway.problems import ProblemError, malformed, problem_of
from penstock.producers.gateway.rows import RowError, rows_of_body
from penstock.producers.gateway.sending import POSTGRES, REDIS, Order, Sending, Servers, answer_of
from penstock.producers.gateway.services import Services, services_of
from penstock.schemas.errors import Code, InvalidInputError, PenstockError, UnavailableError
from penstock.schemas.limits import Limits
from penstock.schemas.names import require_name

_VERSIONS = 2**31 - 1


async def post_submissions(request: Request) -> Response:
    """Accept rows: 202 with the ids of their batches, or a problem that says what was accepted before it."""
    services = services_of(request)
    kind = media_type(request)
    order = _order(request)
    await services.forms.require(order.tenant, order.form_id, order.form_version)
    if kind == JSON:
        try:
            return await within(services, _document(request, services, order))
        except UnavailableError as error:
            # It may have been accepted: with the key it can be sent again.
            raise ProblemError(error, idempotency_key=order.key) from error
    with taken(services.streams, "streams"):
        return await _stream(request, services, order)


def _order(request: Request) -> Order:
    query = query_of(request, "form_version", "durability")
    durability = query.get("durability", REDIS)
    if durability not in {REDIS, POSTGRES}:
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, f"durability is {REDIS} or {POSTGRES}")
    given = parse_key(request.headers.get("idempotency-key"))
    key = given or new_key()
    return Order(
        tenant=principal_of(request).tenant,
        form_id=require_name(request.path_params["form_id"], Code.FORM_ID_INVALID, "a form id"),
        form_version=whole_number(query.get("form_version"), "form_version", 1, _VERSIONS),
        key=key,
        base=name_of(key),
        given=given is not None,
        durability=durability,
    )


def _servers(services: Services) -> Servers:
    return Servers(services.producer, services.database, services.keyed, services.threads)


async def _document(request: Request, services: Services, order: Order) -> Response:
    """`{"submissions": […]}`: nothing is sent before all of it was read and found to be rows."""
    limit = services.settings.body_bytes
    with services.budget.reserved(reservation(request, limit)):
        body = await read_whole(request, limit, services.settings.request_seconds)
        try:
            rows = await services.parsing.run(_rows, body, services.producer.limits)
        except RowError as error:
            raise malformed(f"the body: {error.told}") from None
        cutter = Cutter(services.producer.limits)
        return await _send_all(Sending(_servers(services), order), cutter, iter(rows))


def _rows(body: bytes, limits: Limits) -> list[bytes]:
    return list(rows_of_body(body, limits))


async def _send_all(sending: Sending, cutter: Cutter, rows: Iterator[bytes]) -> Response:
    async with sending:
        try:
            await sending.begin()
            for row in rows:
                if (part := cutter.add(row)) is not None:
                    await sending.send(part, last=False)
            return await _finish(sending, cutter)
        except (PenstockError, ProblemError) as error:
            raise await _with_accepted(sending, error) from error


async def _stream(request: Request, services: Services, order: Order) -> Response:
    """One row a line: batches are sent while the body comes, and the socket waits for them."""
    lines, cutter = Lines(services.producer.limits), Cutter(services.producer.limits)
    async with Sending(_servers(services), order) as sending:
        try:
            await sending.begin()
            async for piece in read_pieces(request, services.settings.idle_seconds):
                if services.stopping.is_set():
                    raise UnavailableError(Code.REQUEST_OVERLOADED, "the gateway is about to stop")
                await _take(sending, cutter, lines, lines.feed(piece))
            await _take(sending, cutter, lines, lines.end())
            return await _finish(sending, cutter)
        except (PenstockError, ProblemError) as error:
            raise await _with_accepted(sending, error) from error


async def _take(sending: Sending, cutter: Cutter, lines: Lines, rows: Iterator[bytes]) -> None:
    try:
        for row in rows:
            if (part := cutter.add(row)) is not None:
                await sending.send(part, last=False)
    except RowError as error:
        raise error.at(line=lines.number) from None


async def _finish(sending: Sending, cutter: Cutter) -> Response:
    part = cutter.rest()
    if part is None:
        raise InvalidInputError(Code.BATCH_EMPTY, "the body holds no row")
    await sending.send(part, last=True)
    await sending.complete()
    body, headers = answer_of(sending)
    return json_answer(body, 202, headers)


async def _with_accepted(sending: Sending, error: PenstockError | ProblemError) -> ProblemError:
    """The error with what was accepted before it; what was on its way is awaited first."""
    with suppress(PenstockError):
        # What fails now was not accepted; the error that is told has the same cause or an earlier one.
        await sending.settle()
    made = problem_of(error)
    return ProblemError(made.error, made.status, **made.members, accepted=sending.told())
