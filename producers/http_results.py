"""What the gateway answers, as values, and its problems as errors of ours."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from penstock.producers.queue.records import JobRecord, JobState
from penstock.schemas.errors import (
    Code,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)

#: Conflicts that are over in a while: another request with the same key is on its way.
_PASSING = frozenset({Code.REQUEST_IN_FLIGHT})
_OWN_MEMBERS = ("accepted", "errors")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the gateway that is no problem. `body` is its JSON."""

    status: int
    body: Any = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppliedForm:
    """A form as it is now. `created`: this call made the version; else it was so already."""

    form_id: str
    version: int
    created: bool


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Where a batch stands, or a whole file by its base id.

    Attributes:
        state: `ready`, `scheduled`, `parked`, `running`, `done` or `dead`.
        stored, rejected, duplicates: rows so far; None where nothing is committed yet.
        told: everything that the gateway tells, as JSON.
    """

    batch_id: str
    state: str
    stored: int | None
    rejected: int | None
    duplicates: int | None
    told: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that broke the form's rules: where it stood, as it was sent, and all its faults."""

    batch_id: str
    position: int
    content: Any = field(repr=False)
    faults: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class AcceptedPost:
    """A post that was accepted. `known`: it was so before, by the same key."""

    post_id: uuid.UUID
    idempotency_key: str
    known: bool


@dataclass(frozen=True, slots=True)
class PostStatus:
    """Where a post stands. `told` is everything that the gateway tells, as JSON."""

    post_id: uuid.UUID
    state: str
    due_at: datetime | None
    version: int | None
    told: Mapping[str, Any] = field(repr=False)


def batch_status(told: Mapping[str, Any]) -> BatchStatus:
    """A batch of an answer."""
    counts = (told.get("stored"), told.get("rejected"), told.get("duplicates"))
    return BatchStatus(told["batch_id"], told.get("state") or told["status"], *counts, told)


def rejected_row(told: Mapping[str, Any]) -> RejectedRow:
    """A rejected row of an answer."""
    return RejectedRow(told["batch_id"], told["position"], told.get("content"), tuple(told["faults"]))


def post_status(told: Mapping[str, Any]) -> PostStatus:
    """A post of an answer."""
    due_at = told.get("due_at")
    return PostStatus(
        uuid.UUID(told["post_id"]),
        told["state"],
        None if due_at is None else datetime.fromisoformat(due_at),
        told.get("version"),
        told,
    )


def job_record(told: Mapping[str, Any]) -> JobRecord:
    """A job of an answer."""
    since = told.get("since")
    return JobRecord(
        job_id=uuid.UUID(told["job_id"]),
        state=JobState.LEASED if told["state"] == "running" else JobState(told["state"]),
        kind=told["kind"],
        tenant=told["tenant"],
        queue=told["queue"],
        changed_at=datetime.fromtimestamp(0, UTC) if since is None else datetime.fromisoformat(since),
        code=told.get("code"),
        message=told.get("message"),
    )


def error_of(status: int, text: bytes, headers: Mapping[str, str]) -> PenstockError:
    """The error that an answer tells; one that is none of the gateway's, as a proxy gives, goes by its status."""
    problem = _problem(text)
    code = _code_of(problem.get("code"), status)
    message = str(problem.get("detail") or f"the gateway's address answered {status} and no problem of ours")
    remedy = problem.get("remedy")
    details = dict(problem.get("details") or {}) | {
        name: problem[name] for name in _OWN_MEMBERS if problem.get(name) is not None
    }
    known: dict[str, Any] = {"remedy": remedy if isinstance(remedy, str) else None, "details": details}
    if status in {408, 429, 502, 503, 504} or code in _PASSING:
        return UnavailableError(code, message, retry_after=_retry_after(headers.get("retry-after")), **known)
    if status == 404:
        return NotFoundError(code, message, **known)
    if status in {409, 412}:
        return ConflictError(code, message, **known)
    if status in {401, 403} or status >= 500:
        return PenstockError(code, message, **known)
    return InvalidInputError(code, message, **known)


def _problem(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _code_of(told: object, status: int) -> Code:
    """The code that was told, or one that fits the status: a later gateway may have codes that this release has not."""
    if isinstance(told, str) and told in set(Code):
        return Code(told)
    if status == 429:
        return Code.RATE_LIMIT_EXCEEDED
    if status in {408, 502, 503, 504}:
        return Code.REQUEST_UNANSWERED
    return Code.INTERNAL_ERROR if status >= 500 else Code.REQUEST_INVALID


def _retry_after(header: str | None) -> timedelta | None:
    """The wait that `Retry-After` asks for, in seconds or until a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return timedelta(seconds=int(header))
    try:
        return max(timedelta(0), parsedate_to_datetime(header) - datetime.now(UTC))
    except (ValueError, TypeError):
        return None
