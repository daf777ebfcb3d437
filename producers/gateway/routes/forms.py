"""`/v1/forms/{form_id}`: definitions of forms."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import json_answer, polled_answer, query_of, whole_number
from penstock.producers.gateway.bodies import read_whole, require_json, reservation
from penstock.producers.gateway.guarded import principal_of
from penstock.producers.gateway.problems import malformed
from penstock.producers.gateway.rows import RowError, parse_strictly
from penstock.producers.gateway.services import services_of
from penstock.producers.storage.forms import apply_form, find_form
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.schemas.forms import parse_form
from penstock.schemas.names import require_name

_VERSIONS = 2**31 - 1
#: A form of 1,000 questions with their options takes less.
_BYTES = 4 * 1024 * 1024


async def put_form(request: Request) -> Response:
    """Make the body the latest version of the form: 201 where that is new, 200 where it was so already."""
    query_of(request)
    require_json(request)
    services = services_of(request)
    form_id = require_name(request.path_params["form_id"], Code.FORM_ID_INVALID, "a form id")
    limit = min(_BYTES, services.settings.body_bytes)
    with services.budget.reserved(reservation(request, limit)):
        body = await read_whole(request, limit, services.settings.request_seconds)
    try:
        parse_strictly(body)
    except RowError as error:
        raise malformed(f"the body: {error.told}") from None
    form = parse_form(body)
    if form.id not in (None, form_id):
        raise InvalidInputError(Code.FORM_INVALID, f"the form calls itself {form.id!r}, and its address {form_id!r}")
    tenant = principal_of(request).tenant
    applied = await services.database.run(partial(apply_form, tenant=tenant, form_id=form_id, form=form))
    told = {"form_id": form_id, "version": applied.version, "created": applied.created}
    return json_answer(told, 201 if applied.created else 200, {"Location": f"/v1/forms/{form_id}"})


async def get_form(request: Request) -> Response:
    """A version of the form, the latest unless the query names one."""
    version = whole_number(query_of(request, "version").get("version"), "version", 1, _VERSIONS)
    form_id = require_name(request.path_params["form_id"], Code.FORM_ID_INVALID, "a form id")
    tenant = principal_of(request).tenant
    found = await services_of(request).database.run(lambda connection: find_form(connection, tenant, form_id, version))
    if found is None and version is not None:
        raise NotFoundError(Code.FORM_VERSION_NOT_FOUND, f"there is no version {version} of {form_id!r}")
    if found is None:
        raise NotFoundError(Code.FORM_NOT_FOUND, f"there is no form {form_id!r}")
    return polled_answer(request, found.as_dict())
