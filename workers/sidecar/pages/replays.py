"""Replays: their list, and one of them as it goes on."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.formatting import number, plural
from penstock.workers.sidecar.pages.forms import Question, SentForm, ask
from penstock.workers.sidecar.pages.rendering import PageFor, see

router = APIRouter(include_in_schema=False)

#: States that a replay does not leave by itself any more, and in which nothing waits.
ENDED = frozenset({"stopped", "cancelled", "done"})
_DONE = {"pause": "replay-paused", "resume": "replay-resumed", "cancel": "replay-cancelled"}


@router.get("/replays")
def replays(page: PageFor, cursor: str | None = None) -> HTMLResponse:
    """All replays, newest first."""
    return page.show("replays.html", replays=page.desk.replays(cursor))


@router.get("/replays/{replay_id}")
def replay(page: PageFor, replay_id: str) -> HTMLResponse:
    """One replay, live: the open page asks for its part again each second."""
    found = page.desk.replay(_identity(replay_id))
    context: dict[str, Any] = {"replay": found, "ended": has_ended(found)}
    if page.request.headers.get("x-part") == "live":
        return page.fragment("replay_live.html", {"X-Ended": "yes" if has_ended(found) else "no"}, **context)
    return page.show("replay.html", **context)


def has_ended(found: Any) -> bool:
    """Whether nothing on the page will change any more."""
    return str(found.status) in ENDED and not found.waiting


@router.post("/replays/{replay_id}/{verb}")
def change(page: PageFor, sent: SentForm, replay_id: str, verb: str) -> Response:
    """Pause, resume or cancel, once that was confirmed with a reason."""
    page.may(Role.OPERATOR)
    if verb not in _DONE:
        raise NotFoundError(Code.JOB_NOT_FOUND, f"there is no {verb[:40]!r} of a replay")
    identity = _identity(replay_id)
    found = page.desk.replay(identity)
    left = plural(max(0, found.total - found.sent - found.skipped), "letter")
    facts = {
        "pause": [f"{left} will not be sent for now. {number(found.waiting)} on their way go on."],
        "resume": [f"{left} will be sent at {number(found.pace_per_second)} a second."],
        "cancel": [f"{left} will not be sent, and stay open.", "It can't be taken back; a new replay can be started."],
    }[verb]
    title = f"{verb.capitalize()} this replay?"
    question = Question(
        title, facts, f"{verb.capitalize()} the replay", f"/replays/{identity}", danger=verb == "cancel"
    )
    if not sent.is_confirmed:
        return ask(page, sent, question)
    page.desk.change_replay(identity, verb, page.operator.name, sent.reason)
    return see(f"/replays/{identity}", _DONE[verb])


def _identity(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInputError(Code.REQUEST_USAGE, f"{text[:80]!r} is no id of a replay") from None
