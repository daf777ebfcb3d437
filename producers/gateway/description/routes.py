"""`/v1/openapi.json` and `/v1/docs`: open to everybody, since they say nothing of anybody."""

import base64
import hashlib
from functools import cache
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from penstock.producers.gateway.answers import polled_answer
from penstock.producers.gateway.description.operations import paths, problem_responses
from penstock.producers.gateway.description.page import STYLE, render
from penstock.producers.gateway.description.schemas import components
from penstock.producers.gateway.services import services_of

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


@cache
def openapi(*, wants_keys: bool = True) -> dict[str, Any]:
    """The description of the gateway, OpenAPI 3.1; of one on loopback without keys, where nobody needs any."""
    key = {"type": "http", "scheme": "bearer", "description": "an API key; none is wanted on loopback without keys"}
    addresses = paths()
    if not wants_keys:
        for operation in (each for operations in addresses.values() for each in operations.values()):
            operation["security"] = []
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock gateway",
            "version": version("penstock"),
            "description": "Hands jobs to Penstock and tells what became of them. Everything belongs to a tenant, which"
            " the API key names. Errors are `application/problem+json` with a stable `code`.",
        },
        "paths": addresses,
        "components": {
            "schemas": components(),
            "responses": problem_responses(),
            "securitySchemes": {"key": key},
        },
    }


async def get_openapi(request: Request) -> Response:
    """The description."""
    return polled_answer(request, openapi(wants_keys=services_of(request).access.wants_keys))


async def get_docs(_request: Request) -> Response:
    """The description as a page: no script, nothing from elsewhere."""
    return Response(
        render(openapi()), media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY}
    )
