"""What routes ask about who is asking: `require`, `csrf_of`, and FastAPI's dependencies on a role."""

from typing import Annotated

from fastapi import Depends, Request

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.sidecar.access.operator import Operator, Role

#: The form field, and the header, in which a browser sends its token back.
CSRF_FIELD = "csrf_token"
CSRF_HEADER = "x-csrf-token"


class NotLoggedInError(PenstockError):
    """Raised when nobody is logged in, or with a token that is none; HTTP status 401."""


class ForbiddenError(PenstockError):
    """Raised when somebody who is known may not do this; HTTP status 403."""


def operator_of(request: Request) -> Operator | None:
    """Who asks; None where nobody is logged in."""
    found: Operator | None = request.scope.get("state", {}).get("operator")
    return found


def require(request: Request, role: Role = Role.VIEWER) -> Operator:
    """Who asks, where that one may do what `role` may.

    Raises:
        NotLoggedInError: `AUTH_REQUIRED`: a page then leads to `/log-in`.
        ForbiddenError: `AUTH_FORBIDDEN`.
    """
    operator = operator_of(request)
    if operator is None:
        raise NotLoggedInError(Code.AUTH_REQUIRED, "nobody is logged in")
    if not operator.role.covers(role):
        raise ForbiddenError(
            Code.AUTH_FORBIDDEN, f"{operator.name} is {operator.role}; this needs the role {role} or a higher one"
        )
    return operator


def csrf_of(request: Request) -> str:
    """The token that each form of this page has to send as `csrf_token` (programs of pages: as `X-CSRF-Token`)."""
    return str(request.scope["state"]["csrf"])


async def require_viewer(request: Request) -> Operator:
    """As `require`, for FastAPI; a coroutine, so that it takes no thread of the pool that pages wait in."""
    return require(request, Role.VIEWER)


async def require_operator(request: Request) -> Operator:
    """As `require`, for FastAPI."""
    return require(request, Role.OPERATOR)


async def require_admin(request: Request) -> Operator:
    """As `require`, for FastAPI."""
    return require(request, Role.ADMIN)


#: `def route(services: ServicesOf, operator: AsOperator) -> …`
AsViewer = Annotated[Operator, Depends(require_viewer)]
AsOperator = Annotated[Operator, Depends(require_operator)]
AsAdmin = Annotated[Operator, Depends(require_admin)]
