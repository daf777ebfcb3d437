"""A new replay: choose, dry run, how, go."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.filters import LETTER_FILTERS, chips
from penstock.workers.sidecar.pages.forms import REASON_LIMIT, Sent, SentForm, whole
from penstock.workers.sidecar.pages.letters import letter_id
from penstock.workers.sidecar.pages.needs import ReplayOrder
from penstock.workers.sidecar.pages.rendering import Page, PageFor, see

router = APIRouter(include_in_schema=False)

_CANARY, _PACE, _STOP = 5, 50, 20


@router.get("/replays/new")
def new(page: PageFor) -> HTMLResponse:
    """The dry run of what the address chooses, and the form that starts it. Nothing is sent by looking."""
    page.may(Role.OPERATOR)
    return _form(page, Sent(_values(page)))


@router.post("/replays/new")
def start(page: PageFor, sent: SentForm) -> Response:
    """Start, or say what is missing."""
    page.may(Role.OPERATOR)
    try:
        order = _order(page, sent)
    except InvalidInputError as error:
        return _form(page, sent, error.message)
    if not order.reason:
        return _form(page, sent, "Say why: the reason stands in the audit.")
    if sent.one("act") != "go":
        return _form(page, sent)
    return see(f"/replays/{page.desk.start(order).replay_id}")


def _values(page: Page) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in page.request.query_params.multi_items():
        values.setdefault(name, []).append(value)
    return values


def _form(page: Page, sent: Sent, fault: str = "") -> HTMLResponse:
    plain = Sent({name: sent.all(name) for name in ("id", *LETTER_FILTERS)})
    order = _order(page, plain)
    if not order.ids and not order.query:
        raise InvalidInputError(
            Code.REQUEST_USAGE, "choose letters, a group or a filter: nothing is replayed by default"
        )
    context: dict[str, Any] = {
        "order": order,
        "run": page.desk.dry_run(order),
        "chips": chips(order.query),
        "canary": sent.one("canary", str(_CANARY)),
        "pace": sent.one("pace", str(_PACE)),
        "stop": sent.one("stop", str(_STOP)),
        "reason": sent.reason,
        "fault": fault,
    }
    return page.show("replay_new.html", 422 if fault else 200, **context)


def _order(page: Page, sent: Sent) -> ReplayOrder:
    return ReplayOrder(
        ids=_ids(sent.all("id")),
        query=[(name, value) for name in LETTER_FILTERS for value in sent.all(name) if value.strip()],
        canary=whole(sent.one("canary", str(_CANARY)), "The canary", 0, 1_000),
        pace_per_second=float(whole(sent.one("pace", str(_PACE)), "The pace", 1, 10_000)),
        stop_share=whole(sent.one("stop", str(_STOP)), "The stop rule", 0, 100) / 100,
        reason=sent.reason[:REASON_LIMIT],
        by=page.operator.name,
    )


def _ids(values: Sequence[str]) -> list[UUID]:
    if len(values) > 1_000:
        raise InvalidInputError(Code.REQUEST_USAGE, "choose up to 1,000 letters, or replay by a filter")
    return [letter_id(value) for value in values]
