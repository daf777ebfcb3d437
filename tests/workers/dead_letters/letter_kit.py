"""Deaths to be archived, and kinds that have changed since."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar

from pydantic import Field

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.dead_letters.record import LetterRecord

BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)
_numbers = count(1)


class Shipment(Payload, kind="letters.ship", queue=Queue.SUBMISSIONS):
    """A payload that had another shape once."""

    payload_version: ClassVar[int] = 3
    subjects: ClassVar = {"form": "about.form", "account": "account", "platform": "platform"}

    order: str
    count: int
    account: str | None = None
    platform: str | None = None
    about: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        if version == 2:
            return data | {"count": int(data["count"])}
        return super().upcast(version, data)

    def idempotency_key(self) -> str:
        return self.order


def death(payload: Any = None, **changes: Any) -> LetterRecord:
    """A death of a job of its own, a second after the one before."""
    number = next(_numbers)
    body = json.dumps({"order": f"o-{number}", "count": number} if payload is None else payload).encode()
    record = LetterRecord(
        dead_id=uuid.uuid4(),
        job_id=uuid.uuid4(),
        queue="submissions",
        kind="letters.ship",
        tenant="default",
        code="JOB_PAYLOAD_INVALID",
        message="the payload is not usable",
        error=None,
        attempts=1,
        recoveries=0,
        crashes=0,
        postpones=0,
        payload_version=3,
        idempotency_key=None,
        enqueued_at=BEGINNING,
        died_at=BEGINNING + timedelta(seconds=number),
        worker="host:1:boot",
        release="1.0",
        trace_id=None,
        history=[{"at": 1, "outcome": "dead"}],
        message_bytes=len(body),
        body=body,
        encoding=None,
        header_ok=True,
        raw=None,
    )
    return replace(record, **changes)


def again(first: LetterRecord, later: timedelta = timedelta(hours=1), **changes: Any) -> LetterRecord:
    """A later death of the same job."""
    return replace(first, dead_id=uuid.uuid4(), died_at=first.died_at + later, **changes)
