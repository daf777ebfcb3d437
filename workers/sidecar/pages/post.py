"""One post: where it stands, the calls that were made for it, and what can be decided of it now."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.workers.posts.choices import Choice
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.forms import Question, SentForm, ask
from penstock.workers.sidecar.pages.harmless import Excerpt, pretty_json
from penstock.workers.sidecar.pages.post_questions import decision_of, question_of, repeated
from penstock.workers.sidecar.pages.rendering import Page, PageFor, see

router = APIRouter(include_in_schema=False)


@router.get("/posts/{post_id}")
def post(page: PageFor, post_id: str) -> HTMLResponse:
    """The post, what it says redacted."""
    return _show(page, _identity(post_id))


def _show(page: Page, identity: UUID, content: Any = None, revealed: str = "") -> HTMLResponse:
    detail = page.desk.post(identity)
    excerpt = Excerpt(content if revealed else detail.content)
    return page.show(
        "post.html",
        detail=detail,
        post=detail.post,
        content_text=pretty_json(excerpt.value),
        content_is_cut=excerpt.is_cut,
        revealed=revealed,
    )


@router.post("/posts/{post_id}/reveal")
def reveal(page: PageFor, sent: SentForm, post_id: str) -> Response:
    """The post with what it says; who saw it and why is recorded."""
    operator = page.may(Role.ADMIN)
    identity = _identity(post_id)
    if not sent.reason:
        facts = ["You will see what is to be posted. Who looked, at what and why is recorded."]
        return ask(page, sent, Question("Reveal what this post says?", facts, "Reveal", f"/posts/{identity}"))
    return _show(page, identity, page.desk.reveal_post(identity, operator.name, sent.reason), revealed=sent.reason)


@router.post("/posts/{post_id}/{verb}")
def decide(page: PageFor, sent: SentForm, post_id: str, verb: str) -> Response:
    """Move, cancel, approve or settle it, once that was confirmed with a reason."""
    if verb not in set(Choice):
        raise NotFoundError(Code.REQUEST_NOT_FOUND, f"there is no {verb[:40]!r} of a post")
    operator = page.may(Role.OPERATOR)
    identity, now = _identity(post_id), datetime.now(UTC)
    decision = decision_of(Choice(verb), sent, now)
    if not sent.is_confirmed:
        found = page.desk.post(identity).post
        return ask(page, repeated(sent, decision), question_of(found, decision, now))
    page.desk.decide(identity, decision, operator.name, sent.reason)
    return see(f"/posts/{identity}", f"post-{verb}")


def _identity(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise InvalidInputError(Code.REQUEST_USAGE, f"{value[:80]!r} is no id of a post") from None
