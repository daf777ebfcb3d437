"""What browsers send: fields of forms, with a reason where one is due, and asked twice where it changes something."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.sidecar.pages.rendering import Page

#: Characters of a reason.
REASON_LIMIT = 1_000
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
#: Fields that a confirming page does not repeat.
_OWN = frozenset({"confirmed", "reason", "csrf_token"})


@dataclass(frozen=True, slots=True)
class Sent:
    """The fields of a form that was sent, each with its values."""

    values: Mapping[str, Sequence[str]]

    def one(self, name: str, default: str = "") -> str:
        """The last value of a field."""
        found = self.values.get(name)
        return found[-1] if found else default

    def all(self, name: str) -> list[str]:
        """Each value of a field."""
        return list(self.values.get(name, ()))

    @property
    def reason(self) -> str:
        """Why, in the operator's words; empty where none was given."""
        return self.one("reason").strip()[:REASON_LIMIT]

    @property
    def is_confirmed(self) -> bool:
        """Whether the page that repeats what will be done was answered, with a reason."""
        return self.one("confirmed") == "yes" and bool(self.reason)

    def repeated(self) -> list[tuple[str, str]]:
        """The fields that a confirming page sends again."""
        return [(name, value) for name, values in self.values.items() if name not in _OWN for value in values]


async def read_form(request: Request) -> Sent:
    """The form of this request; files are none of ours, and left out."""
    found = await request.form()
    values: dict[str, list[str]] = {}
    for name, value in found.multi_items():
        if isinstance(value, str):
            values.setdefault(name, []).append(value)
    return Sent(values)


SentForm = Annotated[Sent, Depends(read_form)]


@dataclass(frozen=True, slots=True)
class Question:
    """What a confirming page asks.

    Attributes:
        title: what is about to happen, and to how many.
        facts: what follows from it, sentence by sentence.
        verb: what the button says.
        back: where "no" leads.
        danger: whether it can't be taken back.
    """

    title: str
    facts: Sequence[str]
    verb: str
    back: str
    danger: bool = False


def ask(page: Page, sent: Sent, question: Question, address: str | None = None) -> HTMLResponse:
    """The page that repeats what will be done, and asks why."""
    return page.show(
        "confirm.html",
        422 if sent.one("confirmed") else 200,
        question=question,
        fields=sent.repeated(),
        address=address or page.request.url.path,
        reason=sent.reason,
        needs_reason=bool(sent.one("confirmed")),
    )


def lasting(text: str) -> timedelta | None:
    """A duration as people type it (30m, 2h, 1d); None for nothing.

    Raises:
        InvalidInputError: `REQUEST_USAGE`.
    """
    text = text.strip().lower()
    if not text:
        return None
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(digits) :].strip() or "s"
    if unit not in _SECONDS or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise InvalidInputError(Code.REQUEST_USAGE, f"{text[:40]!r} is no duration such as 30m, 2h or 1d")
    return timedelta(seconds=int(digits) * _SECONDS[unit])


def whole(text: str, what: str, least: int, most: int) -> int:
    """A whole number between bounds.

    Raises:
        InvalidInputError: `REQUEST_USAGE`, naming `what` it is.
    """
    cleaned = text.strip().replace(",", "")
    if not cleaned.isascii() or not cleaned.isdigit() or not least <= int(cleaned[:20]) <= most:
        raise InvalidInputError(Code.REQUEST_USAGE, f"{what} is a whole number from {least:,} to {most:,}")
    return int(cleaned)
