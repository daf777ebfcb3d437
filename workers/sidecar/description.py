"""What the description of the API (OpenAPI) says of every address: how errors look, and how to log in."""

from typing import Any

from fastapi import FastAPI

from penstock.workers.sidecar.problems import PROBLEM

Responses = dict[int | str, dict[str, Any]]

_SCHEMA = "Problem"
_CONTENT = {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{_SCHEMA}"}}}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; docs/errors.md tells each one's cause and remedy.",
    "required": ["type", "title", "status", "detail", "code", "remedy", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "remedy": {"type": "string"},
        "instance": {"type": "string"},
        "details": {"type": "object"},
    },
}
_LOG_IN = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "of `penstock sidecar credential`; on loopback without credentials none is needed",
    }
}


def _responses(told: dict[int, str]) -> Responses:
    return {status: {"description": text, "content": _CONTENT} for status, text in told.items()}


#: What any address may answer besides its own.
ANYWHERE = _responses(
    {
        400: "the request can't be read",
        403: "the Host is none of ours",
        413: "the body is too long",
        422: "a parameter or the body is refused; `details` says which",
        500: "a fault of the sidecar",
        503: "a server that the answer needs is away, or silent",
    }
)
#: And what addresses behind the log-in may.
GUARDED = ANYWHERE | _responses(
    {
        401: "nobody is logged in, or the token is none of ours",
        403: "the role does not suffice, the Host is none of ours, or a browser's request lacks its page's token",
        404: "there is no such thing",
        409: "it is in a state that does not allow this",
    }
)


def describe(app: FastAPI, open_paths: frozenset[str]) -> None:
    """Have the app's description name the schema of problems, and the log-in of all but `open_paths`."""
    make = app.openapi

    def described() -> dict[str, Any]:
        found = make()
        components = found.setdefault("components", {})
        components.setdefault("schemas", {})[_SCHEMA] = _PROBLEM
        components["securitySchemes"] = _LOG_IN
        for path, operations in found["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in open_paths else [{name: []} for name in _LOG_IN]
        return found

    app.openapi = described  # type: ignore[method-assign]
