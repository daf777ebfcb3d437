"""The sidecar's application: its parts, and what surrounds each request."""

from importlib import import_module

from fastapi import APIRouter, FastAPI

from penstock.workers.sidecar.access.access import Access
from penstock.workers.sidecar.access.gatekeeper import PROBES as OPEN_PATHS
from penstock.workers.sidecar.access.gatekeeper import Gatekeeper
from penstock.workers.sidecar.bounds import Bounds
from penstock.workers.sidecar.description import ANYWHERE, GUARDED, describe
from penstock.workers.sidecar.head import HeadAsGet
from penstock.workers.sidecar.measured import Measured
from penstock.workers.sidecar.pages.errors import error_page
from penstock.workers.sidecar.problems import handle_errors
from penstock.workers.sidecar.security_headers import SecurityHeaders
from penstock.workers.sidecar.services import Services

_HERE = "penstock.workers.sidecar"
#: What probes ask; nothing of it is personal. Each module has an `APIRouter` named `router`.
PROBES = ("api.health", "api.metrics", "api.autoscale")
#: Routers of the API have the prefix /api/v1 already.
API = (
    *("api.dead_letters", "api.replays", "api.queues", "api.circuits"),
    *("api.posts", "api.accounts", "api.limits", "api.jobs", "api.trends", "api.audit"),
)
#: Log-in and -out, and the pages: one router for all of them.
PAGES = ("access.routes", "pages.routes")


def create_app(services: Services, access: Access) -> FastAPI:
    """The whole application."""
    app = _app(services, (*PROBES, *API, *PAGES), openapi_url="/api/v1/openapi.json")
    app.state.access = access
    app.state.error_page = error_page
    # The last one added is the outermost.
    app.add_middleware(HeadAsGet)
    app.add_middleware(Gatekeeper, access=access)
    _surround(app, services)
    return app


def create_probe_app(services: Services) -> FastAPI:
    """The probes alone, for an address of their own."""
    app = _app(services, PROBES, openapi_url=None)
    app.add_middleware(HeadAsGet)
    _surround(app, services)
    return app


def _app(services: Services, parts: tuple[str, ...], openapi_url: str | None) -> FastAPI:
    # FastAPI's own pages about the API load scripts from elsewhere.
    app = FastAPI(title="Penstock", openapi_url=openapi_url, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.services = services
    for name in parts:
        app.include_router(_router(name), responses=GUARDED if name in API else ANYWHERE)
    describe(app, OPEN_PATHS)
    handle_errors(app)
    return app


def _surround(app: FastAPI, services: Services) -> None:
    app.add_middleware(Bounds, message_bytes=services.settings.message_bytes_limit)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Measured)


def _router(name: str) -> APIRouter:
    router: APIRouter = import_module(f"{_HERE}.{name}").router
    return router
