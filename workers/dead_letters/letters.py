"""Dead letters as values: what lists show, and all that is known of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from penstock.schemas.errors import CATALOGUE, Code


class LetterState(StrEnum):
    """What an operator made of a dead letter."""

    OPEN = "open"
    REQUEUED = "requeued"
    DISCARDED = "discarded"


class Became(StrEnum):
    """What became of a job that was requeued."""

    WAITING = "waiting"
    DONE = "done"
    #: It died again: that death is a letter of its own.
    DIED = "died"


@dataclass(frozen=True, slots=True)
class Letter:
    """One death of one job, as lists show it.

    Attributes:
        dead_id: names this death; a job that dies again has another one.
        error: module and class of the exception; None where none was raised.
        group: the fingerprint of its group, 16 hexadecimal digits.
        became: None unless it was requeued.
        form_id, platform, account: what the job was about; None where its kind does not tell.
        message_bytes: length of the whole message.
    """

    dead_id: UUID
    job_id: UUID
    queue: str
    kind: str
    tenant: str
    code: str
    message: str
    error: str | None
    attempts: int
    died_at: datetime
    group: str
    state: LetterState
    became: Became | None
    form_id: str | None
    platform: str | None
    account: str | None
    release: str
    message_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The letter as a JSON object: `dead_id` is `id`, the form is `form`, instants are RFC 3339 in UTC."""
        named = {_JSON_NAMES.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        return {name: plain(value) for name, value in named.items()}


_JSON_NAMES = {"dead_id": "id", "form_id": "form"}


@dataclass(frozen=True, slots=True)
class LetterDetail:
    """All that is known of one death, but for its payload.

    Attributes:
        recoveries, crashes: leases that were lost with a worker, and those of them where the job was running.
        history: every attempt, oldest first, as the queue noted it (docs/queue.md).
        resolved_at, resolved_by, resolution_reason: of the requeue or discard; None while it is open, but for why one
            is open again.
        replay_id: of the replay that requeued it.
        edited: the difference that an operator made to the payload, by path, without values.
        remedy: what to do about such a failure; None for a code that this release does not know.
        readable: the message could be read; where not, it can't be requeued.
        other_deaths: of the same job, the newest first, ten at the most.
    """

    letter: Letter
    recoveries: int
    crashes: int
    postpones: int
    payload_version: int
    idempotency_key: str | None
    enqueued_at: datetime
    archived_at: datetime
    worker: str
    trace_id: str | None
    history: Sequence[Mapping[str, Any]]
    resolved_at: datetime | None
    resolved_by: str | None
    resolution_reason: str | None
    replay_id: UUID | None
    edited: Sequence[Mapping[str, Any]] | None
    sentry_id: str | None
    readable: bool
    other_deaths: Sequence[Letter]

    @property
    def remedy(self) -> str | None:
        """What to do about it, as the catalogue of errors says."""
        return remedy_of(self.letter.code)

    def as_dict(self) -> dict[str, Any]:
        """The members of the letter and of the detail in one JSON object."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "letter"}
        own["other_deaths"] = [other.as_dict() for other in self.other_deaths]
        return self.letter.as_dict() | {name: plain(value) for name, value in own.items()} | {"remedy": self.remedy}


def remedy_of(code: str) -> str | None:
    """What the catalogue of errors advises; None for a code that it does not have."""
    return CATALOGUE[Code(code)].remedy if code in set(Code) else None


def plain(value: Any) -> Any:
    """`value` as JSON has it: ids as text, instants as RFC 3339 in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, (UUID, StrEnum)) else value
