"""Circuits and limits: what is let through, what is not, and forcing either."""

from datetime import timedelta

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.protection.limits_control import LARGEST_LIMIT, require_limit_key
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.formatting import duration, number
from penstock.workers.sidecar.pages.forms import Question, SentForm, ask, lasting, whole
from penstock.workers.sidecar.pages.rendering import PageFor, see

router = APIRouter(include_in_schema=False)

_FACTS = {
    "open": "No call is let through. Jobs that need it wait, and spend no attempt.",
    "closed": "Every call is let through, whatever fails. Use it only where you know better than the failures.",
}


@router.get("/circuits")
def circuits(page: PageFor, after: str | None = None) -> HTMLResponse:
    """All circuits, and a page of limits."""
    return page.show("circuits.html", circuits=page.desk.circuits(), limits=page.desk.limits(after), after=after)


@router.post("/circuits/force")
def force(page: PageFor, sent: SentForm) -> Response:
    """Force a circuit open or closed, or let it go by its calls again."""
    operator = page.may(Role.OPERATOR)
    name, state, held = sent.one("circuit").strip(), sent.one("state"), lasting(sent.one("lasting"))
    if not name or len(name) > 200 or state not in {"open", "closed", "auto"}:
        raise InvalidInputError(Code.REQUEST_USAGE, "name a circuit, and open, closed or auto")
    verb = {"open": "Open", "closed": "Close", "auto": "Release"}[state]
    if state == "auto":
        facts = ["It goes by the failures and successes of its calls again."]
    else:
        facts = [_FACTS[state], f"It holds for {duration(held)}." if held else "It holds until somebody releases it."]
    if not sent.is_confirmed:
        return ask(page, sent, Question(f"{verb} the circuit {name}?", facts, f"{verb} the circuit", "/circuits"))
    page.desk.force_circuit(name, state, operator.name, sent.reason, held)
    return see("/circuits", "auto" if state == "auto" else "forced")


@router.post("/limits/set")
def set_limit(page: PageFor, sent: SentForm) -> Response:
    """Set a limit in the place of the callers' own, or let theirs hold again."""
    operator = page.may(Role.OPERATOR)
    key = require_limit_key(sent.one("key").strip())
    if sent.one("act") == "clear":
        facts = ["The callers' own limit holds again."]
        if not sent.is_confirmed:
            return ask(page, sent, Question(f"Clear the limit of {key}?", facts, "Clear the limit", "/circuits"))
        page.desk.clear_limit(key, operator.name, sent.reason)
        return see("/circuits", "limit-cleared")
    limit = whole(sent.one("limit"), "The limit", 0, LARGEST_LIMIT)
    window = lasting(sent.one("window")) or timedelta(hours=1)
    held = lasting(sent.one("lasting"))
    facts = [
        f"At most {number(limit)} in any {duration(window)}, for all workers together."
        + (" No call at all is let through." if not limit else ""),
        f"It holds for {duration(held)}." if held else "It holds until somebody clears it.",
    ]
    if not sent.is_confirmed:
        return ask(page, sent, Question(f"Set the limit of {key}?", facts, "Set the limit", "/circuits"))
    page.desk.set_limit(key, limit, window, held, operator.name, sent.reason)
    return see("/circuits", "limit-set")
