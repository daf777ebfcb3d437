"""Queues: where jobs wait, who holds them up, and pausing."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.errors import Code, NotFoundError, UnavailableError
from penstock.schemas.names import Queue
from penstock.workers.protection.pauses import PAUSABLE, pausable_key
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.formatting import number, plural
from penstock.workers.sidecar.pages.forms import Question, Sent, SentForm, ask
from penstock.workers.sidecar.pages.needs import QueueRow
from penstock.workers.sidecar.pages.rendering import Page, PageFor, see

router = APIRouter(include_in_schema=False)


@router.get("/queues")
def queues(page: PageFor) -> HTMLResponse:
    """All queues, and what is paused besides whole ones."""
    return page.show("queues.html", queues=page.desk.queues(), pauses=page.desk.pauses(), pausable=PAUSABLE)


@router.get("/queues/{name}")
def queue(page: PageFor, name: str) -> HTMLResponse:
    """One queue: its tenants, its last hours, its pause."""
    row = _row(page, name)
    weights = page.desk.weights(name)
    return page.show("queue.html", row=row, weights=weights, figures=page.desk.figures_of(name))


@router.post("/queues/{name}/{verb}")
def change_queue(page: PageFor, sent: SentForm, name: str, verb: str) -> Response:
    """Pause or resume a queue, once that was confirmed with a reason."""
    _require_verb(verb)
    page.may(Role.OPERATOR)
    counts = _row(page, name).counts
    ready = plural(counts.ready, "ready job")
    question = {
        "pause": Question(
            f"Pause the queue {name}?",
            [f"{ready} will wait. {plural(counts.leased, 'running job')} will end as usual.", "Nothing is lost."],
            "Pause",
            f"/queues/{name}",
        ),
        "resume": Question(
            f"Resume the queue {name}?", [f"{ready} can be taken at once."], "Resume", f"/queues/{name}"
        ),
    }[verb]
    return _change(page, sent, verb, name, question)


@router.post("/pauses/{verb}")
def change_key(page: PageFor, sent: SentForm, verb: str) -> Response:
    """Pause or resume a kind, platform, account or tenant in all queues."""
    _require_verb(verb)
    page.may(Role.OPERATOR)
    key = sent.one("key") or pausable_key(sent.one("what"), sent.one("name").strip())
    what, _, name = key.partition(":")
    pausable_key(what, name)
    facts = {
        "pause": "Its jobs are parked, in all queues and on all workers, until it is resumed. Running ones end.",
        "resume": "Its parked jobs are let go in order, 200 a second of each queue.",
    }[verb]
    return _change(
        page,
        sent,
        verb,
        key,
        Question(f"{verb.capitalize()} the {what} {name}?", [facts], verb.capitalize(), "/queues"),
    )


def _change(page: Page, sent: Sent, verb: str, target: str, question: Question) -> Response:
    if not sent.is_confirmed:
        return ask(page, sent, question)
    act = page.desk.pause if verb == "pause" else page.desk.resume
    act(target, page.operator.name, sent.reason)
    return see(question.back, f"{verb}d")


def _require_verb(verb: str) -> None:
    if verb not in {"pause", "resume"}:
        raise NotFoundError(Code.QUEUE_NOT_FOUND, f"there is no {verb[:40]!r} of a queue")


def _row(page: Page, name: str) -> QueueRow:
    if name not in set(Queue):
        raise NotFoundError(Code.QUEUE_NOT_FOUND, f"there is no queue {name[:80]!r}; there are {number(len(Queue))}")
    rows = page.desk.queues()
    if not rows:
        raise UnavailableError(Code.QUEUE_UNAVAILABLE, "Redis does not answer, and nothing is known of its queues yet")
    return next(row for row in rows if row.counts.queue == name)
