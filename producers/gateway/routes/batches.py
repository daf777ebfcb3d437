"""`/v1/batches/{id}`: what became of a batch, or of all batches of a stream or file, and their rejected rows."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import page_limit, polled_answer, query_of
from penstock.producers.gateway.batch_status import batch_status
from penstock.producers.gateway.guarded import principal_of
from penstock.producers.gateway.services import services_of
from penstock.producers.storage.base_batches import committed_parts
from penstock.producers.storage.batches import Rejection, find_batches, list_rejections
from penstock.producers.storage.database import Connection
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import require_name

_POSITIONS = 2**31 - 1


async def get_batch(request: Request) -> Response:
    """Where a batch or a whole stands."""
    query_of(request)
    told = await batch_status(services_of(request), principal_of(request).tenant, _batch_id(request))
    return polled_answer(request, told)


async def get_rejections(request: Request) -> Response:
    """A page of the rejected rows, each as it was sent and with all its faults."""
    query = query_of(request, "cursor", "limit")
    after, limit = _cursor(query.get("cursor", "")), page_limit(query)
    services, tenant, batch_id = services_of(request), principal_of(request).tenant, _batch_id(request)
    rows = await services.database.run(lambda connection: _rejections(connection, tenant, batch_id, after, limit + 1))
    if rows is None:
        # Nothing of it is committed, so nothing is rejected; unless nobody knows it.
        await batch_status(services, tenant, batch_id)
        rows = []
    page = rows[:limit]
    following = f"{page[-1].batch_id}/{page[-1].position}" if len(rows) > limit else None
    headers = {}
    if following is not None:
        query = {"cursor": following, "limit": str(limit)}
        headers["Link"] = f'</v1/batches/{batch_id}/rejections?{urlencode(query)}>; rel="next"'
    return polled_answer(request, {"items": [row.as_dict() for row in page], "next": following}, headers)


def _rejections(
    connection: Connection, tenant: str, batch_id: str, after: tuple[str, int], limit: int
) -> list[Rejection] | None:
    known = list(find_batches(connection, tenant, [batch_id])) or committed_parts(connection, tenant, batch_id)
    return list_rejections(connection, tenant, known, after, limit) if known else None


def _batch_id(request: Request) -> str:
    return require_name(request.path_params["batch_id"], Code.BATCH_ID_INVALID, "a batch id")


def _cursor(text: str) -> tuple[str, int]:
    if not text:
        return "", -1
    batch_id, separator, position = text.rpartition("/")
    is_number = position.isascii() and position.isdecimal() and len(position) <= 10 and int(position) <= _POSITIONS
    if not separator or not is_number:
        raise InvalidInputError(Code.REQUEST_FILTER_INVALID, "the cursor is none that a page has told")
    return batch_id, int(position)
