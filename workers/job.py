"""A job as its actor sees it, and the closed set of outcomes that an actor can give it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from penstock.schemas.envelope import EnvelopeHeader
from penstock.schemas.errors import Code
from penstock.schemas.names import DEFAULT_TENANT


class JobHeader(msgspec.Struct, frozen=True, gc=False):
    """What of an `EnvelopeHeader` a worker needs, under the same names: quickly made."""

    id: UUID
    kind: str
    queue: str
    enqueued_at: datetime
    tenant: str = DEFAULT_TENANT
    payload_version: int = 1
    encoding: Literal["zstd"] | None = None
    trace: str | None = None
    request_id: str | None = None
    follows: str | None = None


Header = EnvelopeHeader | JobHeader


class Job(msgspec.Struct, frozen=True, gc=False):
    """One leased job.

    Attributes:
        payload: the JSON of the payload, decompressed; the actor decodes it, once.
        enqueued_at: when the producer enqueued it, by its clock; never later than now.
        attempt: 1 for the first.
        holder: the text by which this run's gates were asked, so that the job's own guard of a circuit is known for the
            same call (`Circuits.ask`); empty where no gates were asked.
    """

    job_id: UUID
    kind: str
    tenant: str
    enqueued_at: datetime
    attempt: int
    payload: bytes
    holder: str = ""

    def __repr__(self) -> str:
        return f"<{self.kind} {self.job_id}>"


@dataclass(frozen=True, slots=True)
class Done:
    """The job's effect is committed, by this delivery or an earlier one (`repeated`)."""

    repeated: bool = False
    #: What to count, such as `{"stored": 985, "rejected": 15}`.
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed in a way that another one may not.

    Attributes:
        delay: the wait before the next attempt at the least, where somebody named one; jitter comes on top.
    """

    code: Code
    message: str
    delay: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Postpone:
    """Not now; costs no attempt."""

    delay: timedelta
    blocked_by: str


@dataclass(frozen=True, slots=True)
class Dead:
    """No attempt can succeed; an operator decides what becomes of it."""

    code: Code
    message: str


Outcome = Done | Retry | Postpone | Dead
