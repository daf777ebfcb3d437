"""Dead letters by group: the causes, and whom each hurts."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.filters import LETTER_FILTERS, mapping_of, pairs_of
from penstock.workers.sidecar.pages.forms import SentForm, lasting
from penstock.workers.sidecar.pages.rendering import PageFor, see

router = APIRouter(include_in_schema=False)

#: Nobody would remember for longer why a group was put off.
SNOOZE_LIMIT = timedelta(days=365)

_FILTERS = ("state", "kind", "code", "queue", "tenant", "order")


@router.get("/dead-letters")
def groups(page: PageFor, cursor: str | None = None) -> HTMLResponse:
    """The groups that have open letters, the largest first."""
    pairs = pairs_of(page.request.query_params, _FILTERS)
    return page.show("groups.html", groups=page.desk.groups(mapping_of(pairs), cursor), pairs=pairs)


@router.get("/dead-letters/groups/{fingerprint}")
def group(page: PageFor, fingerprint: str, cursor: str | None = None) -> HTMLResponse:
    """One group: what it is, whom it hurts, since when, and its letters."""
    found = page.desk.group(fingerprint)
    # The group's own page shows its letters in the state that is asked for, open ones first.
    pairs = [pair for pair in pairs_of(page.request.query_params, LETTER_FILTERS) if pair[0] != "group"]
    full = [*pairs, ("group", fingerprint)]
    letters = page.desk.letters(mapping_of(full), cursor)
    return page.show("group.html", detail=found, group=found.group, letters=letters, pairs=pairs, full=full)


@router.post("/dead-letters/groups/{fingerprint}/note")
def note(page: PageFor, sent: SentForm, fingerprint: str) -> Response:
    """Keep a note with a group, for whoever looks next."""
    operator = page.may(Role.OPERATOR)
    text = sent.one("note").strip()[:2_000]
    page.desk.annotate(fingerprint, operator.name, sent.reason or "a note for whoever looks next", text)
    return see(f"/dead-letters/groups/{fingerprint}", "noted")


@router.post("/dead-letters/groups/{fingerprint}/snooze")
def snooze(page: PageFor, sent: SentForm, fingerprint: str) -> Response:
    """Put a group off for a while, or look at it again."""
    operator = page.may(Role.OPERATOR)
    path = f"/dead-letters/groups/{fingerprint}"
    if sent.one("act") == "wake":
        page.desk.snooze(fingerprint, operator.name, sent.reason or "it is to be looked at again", None)
        return see(path, "awake")
    held = lasting(sent.one("lasting"))
    if not sent.reason or not held or held > SNOOZE_LIMIT:
        raise InvalidInputError(Code.REQUEST_USAGE, "say for how long (2h, 3d; a year at the most), and why")
    page.desk.snooze(fingerprint, operator.name, sent.reason, datetime.now(UTC) + held)
    return see(path, "snoozed")
