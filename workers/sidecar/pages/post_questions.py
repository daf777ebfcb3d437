"""What a page asks before a post is changed, and what an operator has answered."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.text import trim
from penstock.workers.posts.choices import Choice
from penstock.workers.sidecar.pages.formatting import exact, relative
from penstock.workers.sidecar.pages.forms import Question, Sent, lasting
from penstock.workers.sidecar.pages.needs import Decision

_Make = Callable[[Any, Decision, str], Question]
#: Years in which a post may be planned.
_YEARS = range(2000, 3001)


def decision_of(choice: Choice, sent: Sent, now: datetime) -> Decision:
    """What the form says.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where an instant, a version or an id is none.
    """
    due_at, external_id = instant_of(sent.one("when"), now), trim(sent.one("external_id"))
    if choice is Choice.RESCHEDULE and due_at is None:
        raise InvalidInputError(Code.REQUEST_USAGE, "say when it is to go out, such as 2h, or 2026-11-22 14:30 (UTC)")
    if choice is Choice.SETTLE and not external_id:
        raise InvalidInputError(Code.REQUEST_USAGE, "give the id that the post has on its platform")
    return Decision(choice, due_at, _version(sent.one("version")), external_id, trim(sent.one("url")) or None)


def question_of(post: Any, decision: Decision, now: datetime) -> Question:
    """What the confirming page asks."""
    when = "at once"
    if decision.due_at is not None:
        when = f"at {exact(decision.due_at)} ({relative(decision.due_at, now)})" if decision.due_at > now else "at once"
    return _QUESTIONS[decision.choice](post, decision, when)


def repeated(sent: Sent, decision: Decision) -> Sent:
    """The form as the confirming page sends it again: with the instant that it told, and not so long from then."""
    if decision.due_at is None:
        return sent
    return Sent({**sent.values, "when": [decision.due_at.isoformat()]})


def instant_of(text: str, now: datetime) -> datetime | None:
    """An instant as people type it: so long from now (2h), or a moment, in UTC unless it has an offset; None for none.

    Raises:
        InvalidInputError: `REQUEST_USAGE`.
    """
    text = text.strip()
    if not text:
        return None
    try:
        if "-" not in text:
            return now + (lasting(text.removeprefix("+")) or timedelta(0))
        found = datetime.fromisoformat(text.removesuffix("UTC").strip())
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        if found.year in _YEARS:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _no_instant(text) from None
    raise _no_instant(text)


def _no_instant(text: str) -> InvalidInputError:
    told = f"{text[:60]!r} is no instant such as 2026-11-22 14:30 (UTC), and no duration such as 30m or 2h"
    return InvalidInputError(Code.REQUEST_USAGE, told)


def _version(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidInputError(Code.REQUEST_USAGE, "the form has no version of a post")
    return int(text)


def _back(post: Any) -> str:
    return f"/posts/{post.post_id}"


def _reschedule(post: Any, _: Decision, when: str) -> Question:
    facts = [
        f"It goes out {when}, to {post.platform}. It was planned for {exact(post.due_at)}.",
        "What was prepared for the earlier instant is not used. If it begins to go out meanwhile, nothing is changed.",
    ]
    return Question("Move this 1 post?", facts, "Move 1 post", _back(post))


def _cancel(post: Any, _: Decision, _when: str) -> Question:
    facts = [
        f"It does not go out to {post.platform}. It was planned for {exact(post.due_at)}.",
        "A cancelled post can't be taken up again. If it begins to go out meanwhile, nothing is changed.",
    ]
    return Question("Cancel this 1 post?", facts, "Cancel 1 post", _back(post), danger=True)


def _approve(post: Any, _: Decision, when: str) -> Question:
    facts = [
        f"It goes out {when}, to {post.platform}. It was planned for {exact(post.due_at)}.",
        "How late it may be counts from there.",
    ]
    return Question("Approve this 1 post?", facts, "Approve 1 post", _back(post))


def _settle(post: Any, decision: Decision, _when: str) -> Question:
    facts = [
        f"It is noted as published on {post.platform} under the id {decision.external_id}.",
        "Nothing is sent to the platform, and nobody looks there: you did.",
    ]
    return Question("Note that this 1 post is live?", facts, "It is live", _back(post))


def _publish_again(post: Any, _: Decision, _when: str) -> Question:
    facts = [
        f"It is sent to {post.platform} once more, at once.",
        "If it is live after all, it is there twice then. Look on the platform first.",
    ]
    return Question("Publish this 1 post again?", facts, "Publish 1 post again", _back(post), danger=True)


_QUESTIONS: Mapping[Choice, _Make] = {
    Choice.RESCHEDULE: _reschedule,
    Choice.CANCEL: _cancel,
    Choice.APPROVE: _approve,
    Choice.SETTLE: _settle,
    Choice.PUBLISH_AGAIN: _publish_again,
}
