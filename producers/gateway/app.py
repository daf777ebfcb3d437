"""The gateway's application: its addresses, and who may ask each."""

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as RequestScope

from penstock.producers.gateway.description.routes import get_docs, get_openapi
from penstock.producers.gateway.guarded import Endpoint, guarded
from penstock.producers.gateway.routes import batches, forms, health, jobs, posts, submissions
from penstock.producers.gateway.services import Services
from penstock.producers.gateway.surround import Observe, Surround
from penstock.schemas.api_key import Scope

_FORM, _BATCH, _POST = "/v1/forms/{form_id}", "/v1/batches/{batch_id}", "/v1/posts/{post_id}"


def create_app(services: Services, observe: Observe = lambda *_: None) -> ASGIApp:
    """The whole application; `observe` is told of each answer."""
    return Surround(_Addresses(), services, observe)


class _Addresses:
    """Starlette's routes without its application, which answers errors before anybody else can."""

    def __init__(self) -> None:
        self._router = Router(_routes(), redirect_slashes=False)

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        """As ASGI wants it.

        Raises:
            HTTPException: 404, or 405 with all methods that the address takes: Starlette tells those of its first
                route alone.
        """
        scope["app"] = self  # makes the router raise what it would else answer
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            if error.status_code != 405:
                raise
            raise HTTPException(405, headers={"Allow": self._methods_at(scope)}) from None

    def _methods_at(self, scope: RequestScope) -> str:
        found = (route for route in self._router.routes if route.matches(scope)[0] is not Match.NONE)
        return ", ".join(sorted({method for route in found for method in getattr(route, "methods", None) or ()}))


def _routes() -> list[Route]:
    return [
        _route("PUT", _FORM, guarded(Scope.FORMS_WRITE, forms.put_form)),
        _route("GET", _FORM, guarded(Scope.FORMS_READ, forms.get_form)),
        _route(
            "POST",
            f"{_FORM}/submissions",
            guarded(Scope.SUBMISSIONS_WRITE, submissions.post_submissions, is_timed=False),
        ),
        _route("GET", _BATCH, guarded(Scope.STATUS_READ, batches.get_batch)),
        _route("GET", f"{_BATCH}/rejections", guarded(Scope.STATUS_READ, batches.get_rejections)),
        _route("POST", "/v1/posts", guarded(Scope.POSTS_WRITE, posts.post_post)),
        _route("GET", "/v1/posts", guarded(Scope.POSTS_READ, posts.list_all)),
        _route("GET", _POST, guarded(Scope.POSTS_READ, posts.get_post)),
        _route("PATCH", _POST, guarded(Scope.POSTS_WRITE, posts.patch_post)),
        _route("DELETE", _POST, guarded(Scope.POSTS_WRITE, posts.delete_post)),
        _route("GET", "/v1/jobs/{job_id}", guarded(Scope.STATUS_READ, jobs.get_job)),
        _route("GET", "/v1/openapi.json", get_openapi),
        _route("GET", "/v1/docs", get_docs),
        _route("GET", "/health/live", health.live),
        _route("GET", "/health/ready", health.ready),
    ]


def _route(method: str, path: str, endpoint: Endpoint) -> Route:
    return Route(path, endpoint, methods=[method])
