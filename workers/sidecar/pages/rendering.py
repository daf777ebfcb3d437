"""How a page comes to be: Jinja's environment, and the page of one request with who asks and what is missing."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import jinja2
from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup, escape

from penstock.workers.sidecar.access.operator import Operator, Role
from penstock.workers.sidecar.access.require import csrf_of, operator_of, require
from penstock.workers.sidecar.pages import charts, formatting, harmless, post_words, words
from penstock.workers.sidecar.pages.assets import asset_address
from penstock.workers.sidecar.pages.desk import desk_of
from penstock.workers.sidecar.pages.needs import Desk

_TEMPLATES = Path(__file__).parent / "templates"

#: The main pages, by name in the address: what the navigation shows.
NAVIGATION = (
    ("/", "Overview"),
    ("/queues", "Queues"),
    ("/dead-letters", "Dead letters"),
    ("/replays", "Replays"),
    ("/circuits", "Circuits and limits"),
    ("/posts", "Posts"),
    ("/accounts", "Accounts"),
    ("/audit", "Audit"),
)


@jinja2.pass_context
def _time(context: jinja2.runtime.Context, value: datetime | str | None) -> Markup:
    return formatting.time_element(value, context["now"])


def make_environment() -> jinja2.Environment:
    """The templates' environment: all text is escaped and made visible, and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=harmless.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formatting.FILTERS)
    # For values of fields, which are sent back and must come back as they are.
    environment.filters.update(time=_time, bdi=harmless.isolated, exactly=escape, coloured=harmless.coloured_json)
    environment.filters.update(words.FILTERS)
    environment.filters.update(post_words.FILTERS)
    environment.globals.update(
        asset=asset_address,
        query=lambda pairs: urlencode(list(pairs)),
        line_chart=charts.line_chart,
        bar_chart=charts.bar_chart,
        spark_bars=charts.spark_bars,
        series=charts.Series,
        navigation=NAVIGATION,
        duration_told=formatting.duration,
        selection_told=words.selection_told,
        upcast_told=words.upcast_told,
    )
    return environment


_ENVIRONMENT = make_environment()


class Page:
    """The page of one request, for somebody who may look.

    Raises:
        NotLoggedInError: `AUTH_REQUIRED`.
    """

    def __init__(self, request: Request) -> None:
        self.operator: Operator = require(request, Role.VIEWER)
        self.request = request
        self.desk: Desk = desk_of(request)

    def show(self, template: str, status: int = 200, /, **context: Any) -> HTMLResponse:
        """The page made of this template."""
        return show(self.request, template, status, desk=self.desk, **context)

    def fragment(self, template: str, headers: Mapping[str, str] | None = None, /, **context: Any) -> HTMLResponse:
        """A part of a page, for one that is open already."""
        response = show(self.request, template, desk=self.desk, **context)
        response.headers.update(headers or {})
        return response

    def may(self, role: Role) -> Operator:
        """Who asks, where that one has this role or a higher one.

        Raises:
            ForbiddenError: `AUTH_FORBIDDEN`.
        """
        return require(self.request, role)


PageFor = Annotated[Page, Depends(Page)]


def show(request: Request, template: str, status: int = 200, /, **context: Any) -> HTMLResponse:
    """Render a template, also for somebody who is not logged in."""
    operator = operator_of(request)
    base: dict[str, Any] = {
        "now": datetime.now(UTC),
        "path": request.url.path,
        "params": request.query_params,
        "operator": operator,
        "can_act": operator is not None and operator.role.covers(Role.OPERATOR),
        "can_reveal": operator is not None and operator.role.covers(Role.ADMIN),
        "csrf": _csrf(request),
        "done": words.DONE.get(request.query_params.get("done", "")),
        "search_text": "",
        "desk": None,
    }
    text = _ENVIRONMENT.get_template(template).render(base | context)
    # A field can be sent back with an unpaired surrogate, which UTF-8 has no form for.
    return HTMLResponse(text.encode(errors="replace"), status)


def _csrf(request: Request) -> str:
    return csrf_of(request) if "csrf" in request.scope.get("state", {}) else ""


def see(path: str, done: str | None = None) -> RedirectResponse:
    """Lead on to a page after something was done; `done` is one of `words.DONE`."""
    if done:
        path += ("&" if "?" in path else "?") + urlencode({"done": done})
    return RedirectResponse(path, 303)
