"""The overview: is it broken, and since when?"""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from penstock.workers.protection.circuits_view import CircuitState, CircuitView
from penstock.workers.protection.limits_view import LimitState
from penstock.workers.sidecar.pages.needs import Desk
from penstock.workers.sidecar.pages.rendering import Page, PageFor

router = APIRouter(include_in_schema=False)


@router.get("/")
def overview(page: PageFor) -> HTMLResponse:
    """The whole page, or its live part for one that is open."""
    if page.request.headers.get("x-part") == "live":
        return page.fragment("overview_live.html", None, **_known(page))
    return page.show("overview.html", **_known(page))


def _known(page: Page) -> dict[str, object]:
    desk = page.desk
    return {
        "health": desk.health(),
        "figures": desk.figures(),
        "queues": desk.queues(),
        "circuits": [found for found in desk.circuits() if not is_normal(found)],
        "limits": _limits(desk),
        "pauses": desk.pauses(),
        "needs": desk.needs(),
        "posts_now": desk.posts_now(),
    }


def is_normal(circuit: CircuitView) -> bool:
    """Whether a circuit is closed, by itself, and lets every call in."""
    return circuit.state is CircuitState.CLOSED and circuit.forced is None and circuit.share >= 100


def _limits(desk: Desk) -> list[LimitState]:
    return [found for found in desk.limits().items if needs_a_look(found)]


def needs_a_look(limit: LimitState) -> bool:
    """Whether a limit holds jobs up now: blocked by its provider, or used up."""
    return limit.blocked is not None or limit.remaining == 0
