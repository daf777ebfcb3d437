"""One dead letter: what it was to do, what went wrong, what to do about it."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.identity import parse_uuid
from penstock.schemas.scheduled_post import PublishPost, SchedulePost
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.attempts import attempts_of, last_traceback
from penstock.workers.sidecar.pages.forms import Question, Sent, SentForm, ask
from penstock.workers.sidecar.pages.harmless import Excerpt, pretty_json
from penstock.workers.sidecar.pages.letters import letter_id
from penstock.workers.sidecar.pages.needs import Refused
from penstock.workers.sidecar.pages.rendering import Page, PageFor, see

router = APIRouter(include_in_schema=False)


@router.get("/dead-letters/{dead_id}")
def letter(page: PageFor, dead_id: str) -> HTMLResponse:
    """The letter, its payload redacted."""
    identity = letter_id(dead_id)
    return _show(page, identity, page.desk.redacted(identity))


def _show(page: Page, identity: UUID, payload: Any, revealed: str = "") -> HTMLResponse:
    detail = page.desk.letter(identity)
    excerpt = Excerpt(payload)
    context: dict[str, Any] = {
        "detail": detail,
        "letter": detail.letter,
        "attempts": attempts_of(detail),
        "traceback": last_traceback(detail.history),
        "payload_text": pretty_json(excerpt.value),
        "payload_is_cut": excerpt.is_cut,
        "revealed": revealed,
        "post_id": _post_of(detail.letter, payload),
    }
    return page.show("letter.html", **context)


def _post_of(letter: Any, payload: Any) -> UUID | None:
    """The post that a letter's job was about: its payload names it, or it has the job's id."""
    if letter.kind == SchedulePost.kind:
        return UUID(str(letter.job_id))
    named = payload.get("post_id") if letter.kind == PublishPost.kind and isinstance(payload, dict) else None
    return None if named is None else parse_uuid(str(named))


@router.get("/dead-letters/{dead_id}/payload")
def payload(page: PageFor, dead_id: str) -> Response:
    """The whole payload, redacted, as a file."""
    identity = letter_id(dead_id)
    return _as_file(identity, page.desk.redacted(identity))


@router.post("/dead-letters/{dead_id}/reveal")
def reveal(page: PageFor, sent: SentForm, dead_id: str) -> Response:
    """The letter with its payload as it is; who saw it and why is recorded."""
    operator = page.may(Role.ADMIN)
    identity = letter_id(dead_id)
    if not sent.reason:
        return ask(page, sent, _reveal_question(identity))
    found = page.desk.reveal(identity, operator.name, sent.reason)
    if sent.one("as") == "file":
        return _as_file(identity, found)
    return _show(page, identity, found, revealed=sent.reason)


def _reveal_question(identity: UUID) -> Question:
    facts = ["You will see what people answered. Who looked, at what and why is recorded."]
    return Question("Reveal this letter's payload?", facts, "Reveal", f"/dead-letters/{identity}")


def _as_file(identity: UUID, found: Any) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="payload-{identity}.json"'}
    return Response(pretty_json(found).encode(), media_type="application/json", headers=headers)


@router.post("/dead-letters/{dead_id}/requeue")
def requeue(page: PageFor, sent: SentForm, dead_id: str) -> Response:
    """Send one letter back to its queue as it is."""
    page.may(Role.OPERATOR)
    identity = letter_id(dead_id)
    found = page.desk.letter(identity).letter
    facts = [
        f"Its job runs again in the queue {found.queue} with the same payload, as soon as its gates let it.",
        "Twice at once runs once. If the cause is still there, it dies again and comes back here.",
    ]
    question = Question("Replay this 1 letter?", facts, "Replay 1 letter", f"/dead-letters/{identity}")
    if not sent.is_confirmed:
        return ask(page, sent, question)
    done = page.desk.requeue(identity, page.operator.name, sent.reason)
    return see(f"/dead-letters/{identity}", "requeued" if done else "already")


@router.post("/dead-letters/{dead_id}/discard")
def discard(page: PageFor, sent: SentForm, dead_id: str) -> Response:
    """Decide that one letter's job is not to run."""
    page.may(Role.OPERATOR)
    identity = letter_id(dead_id)
    facts = [
        "Its job will not run, and has no effect.",
        "It can't be taken back. The letter stays in the records until its retention ends.",
    ]
    question = Question("Discard this 1 letter?", facts, "Discard 1 letter", f"/dead-letters/{identity}", danger=True)
    if not sent.is_confirmed:
        return ask(page, sent, question)
    done = page.desk.discard([identity], page.operator.name, sent.reason)
    return see(f"/dead-letters/{identity}", "discarded" if done else "already")


@router.post("/dead-letters/{dead_id}/edit")
def edit(page: PageFor, sent: SentForm, dead_id: str) -> Response:
    """Correct the payload and replay, in steps: reason, text, faults or difference, confirm."""
    operator = page.may(Role.ADMIN)
    identity = letter_id(dead_id)
    if not sent.reason:
        facts = [
            "To correct a payload you have to see it as it is. Who looked, at what and why is recorded.",
            "Nothing is changed yet: you will see the difference before anything is sent.",
        ]
        return ask(
            page, sent, Question("Edit this letter's payload?", facts, "Show the payload", f"/dead-letters/{identity}")
        )
    if "payload" not in sent.values:
        return _form(page, identity, page.desk.editable(identity, operator.name, sent.reason), sent)
    return _proposed(page, identity, sent)


def _proposed(page: Page, identity: UUID, sent: Sent) -> Response:
    # Browsers send line feeds as CR LF; JSON does not mind, the difference shown would.
    text = sent.one("payload").replace("\r\n", "\n")
    proposal = page.desk.propose(identity, text)
    if isinstance(proposal, Refused):
        return _form(page, identity, text, sent, faults=proposal.faults)
    if sent.one("act") == "back":
        return _form(page, identity, text, sent)
    if not sent.is_confirmed:
        return _form(page, identity, text, sent, proposal=proposal)
    done = page.desk.requeue(identity, page.operator.name, sent.reason, proposal)
    return see(f"/dead-letters/{identity}", "requeued" if done else "already")


def _form(page: Page, identity: UUID, text: str, sent: Sent, **context: Any) -> HTMLResponse:
    base: dict[str, Any] = {"faults": (), "proposal": None, "text": text, "reason": sent.reason}
    detail = page.desk.letter(identity)
    status = 422 if context.get("faults") else 200
    return page.show("edit.html", status, detail=detail, letter=detail.letter, **base | context)
