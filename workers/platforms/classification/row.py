"""One row of a classification table, and how an answer finds its row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from penstock.schemas.errors import Code
from penstock.workers.platforms.answers import AnswerClass, Phase

OK, PENDING, RETRY = AnswerClass.OK, AnswerClass.PENDING, AnswerClass.RETRY
AMBIGUOUS, PERMANENT, AUTH = AnswerClass.AMBIGUOUS, AnswerClass.PERMANENT, AnswerClass.AUTH
LIMITED, DUPLICATE = AnswerClass.LIMITED, AnswerClass.DUPLICATE


@dataclass(frozen=True, slots=True)
class Row:
    """What one code of a platform means.

    Attributes:
        meaning: in our words; it is told to people.
        source: the page that says so; a report where no page does.
        prepare, publish, read: the class by phase; `read` is for confirming and looking up.
        wait: before the next call, where the answer itself names no time.
        scope: whose limit it is, with `LIMITED`.
        restart, refresh, circuit: as in `Answer`.
    """

    code: Code
    meaning: str
    source: str
    prepare: AnswerClass
    publish: AnswerClass
    read: AnswerClass
    wait: timedelta | None = None
    scope: Literal["account", "platform"] = "account"
    restart: bool = False
    refresh: bool = False
    circuit: bool = False

    def cls(self, phase: Phase) -> AnswerClass:
        """The class in a phase."""
        if phase is Phase.PREPARE:
            return self.prepare
        return self.publish if phase is Phase.PUBLISH else self.read


Table = Mapping[str, Row]


def find_row(table: Table, keys: Sequence[str]) -> tuple[str, Row]:
    """The row of the first key that has one, and that key. Every table has a row `unknown`."""
    for key in keys:
        if key in table:
            return key, table[key]
    return "unknown", table["unknown"]


def temporary(
    meaning: str,
    source: str,
    wait: timedelta | None = None,
    code: Code = Code.PLATFORM_API_ERROR,
    *,
    circuit: bool = True,
    restart: bool = False,
) -> Row:
    """The platform failed: harmless where nothing is visible, ambiguous at the visible step."""
    return Row(code, meaning, source, RETRY, AMBIGUOUS, RETRY, wait, circuit=circuit, restart=restart)


def refused(meaning: str, source: str, code: Code = Code.POST_PLATFORM_ERROR) -> Row:
    """The platform says no, and would each time. A look-up that is refused says nothing of the post."""
    return Row(code, meaning, source, PERMANENT, PERMANENT, PERMANENT)


def again(meaning: str, source: str, wait: timedelta, *, restart: bool = False, code: Code) -> Row:
    """Refused for a reason that passes, before anything became visible."""
    return Row(code, meaning, source, RETRY, RETRY, RETRY, wait, restart=restart)


def token(meaning: str, source: str, *, refresh: bool, code: Code = Code.PLATFORM_TOKEN_INVALID) -> Row:
    """The token or the rights, which stop a call before it does anything."""
    return Row(code, meaning, source, AUTH, AUTH, AUTH, refresh=refresh)


def limited(
    meaning: str,
    source: str,
    wait: timedelta,
    *,
    scope: Literal["account", "platform"] = "account",
    publish: AnswerClass = LIMITED,
    circuit: bool = False,
) -> Row:
    """Too much or too often: the key is blocked and no attempt spent."""
    code = Code.RATE_LIMIT_EXCEEDED
    return Row(code, meaning, source, LIMITED, publish, LIMITED, wait, scope, circuit=circuit)


def duplicate(meaning: str, source: str) -> Row:
    """The same post is there already."""
    return Row(Code.POST_DUPLICATE, meaning, source, PERMANENT, DUPLICATE, PERMANENT)


_HTTPX = "https://www.python-httpx.org/exceptions/"
_HTTP = "https://www.rfc-editor.org/rfc/rfc9110#section-15"

#: How a call can end without an answer that can be read. They are in every platform's table.
TRANSPORT: Table = {
    "unreachable": Row(
        Code.PLATFORM_UNAVAILABLE, "no connection could be made, so nothing was sent", _HTTPX, RETRY, RETRY, RETRY,
        circuit=True,
    ),
    "timed_out": temporary("no answer in time", _HTTPX, code=Code.PLATFORM_API_TIMEOUT),
    "lost": temporary("the connection was lost before the answer", _HTTPX),
    "oversized": temporary("the answer is far too long, and was not read", _HTTP),
    "unreadable": temporary("the answer is not what the platform documents: a page, nothing, or half of it", _HTTP),
    "http:3": temporary("a redirection, which is not followed", _HTTP, circuit=False),
    "http:5": temporary("the platform failed", _HTTP),
    "http:429": limited("too many requests", "https://www.rfc-editor.org/rfc/rfc6585#section-4", timedelta(minutes=15)),
    "unknown": temporary("an error that is not known", _HTTP, circuit=False),
}  # fmt: skip
