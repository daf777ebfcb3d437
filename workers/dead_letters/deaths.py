"""Dead letters as records: what the queue's fields, the message and the history say, put in one shape."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from penstock.producers.queue.instants import instant_text
from penstock.schemas.envelope import EnvelopeHeader, decode_envelope
from penstock.schemas.errors import InvalidInputError
from penstock.schemas.identity import dead_id, job_id, parse_uuid
from penstock.schemas.names import DEFAULT_TENANT
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.unarchived import Death

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
#: Characters of what an index holds, as long as any name of ours may be; and of a message.
_NAME_LIMIT = 200
_TEXT_LIMIT = 10_000
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def letter_of(death: Death) -> LetterRecord:
    """The dead letter of a death, whatever its bytes are.

    Raises:
        ValueError, OverflowError: where a field that only the queue writes is not what the queue writes.
    """
    header, body = _opened(death.message)
    history = _history(death.fields.get("history"))
    last: Mapping[str, Any] = history[-1] if history else {}
    holder: Mapping[str, Any] = next((entry for entry in reversed(history) if entry.get("worker")), {})
    died_at_ms = int(death.died_at)
    return LetterRecord(
        # Two ids that are no UTF-8 must not become one.
        dead_id=dead_id(death.queue, death.member.decode(errors="surrogateescape"), died_at_ms),
        job_id=_job_id(death),
        queue=death.queue,
        kind=death.text("kind", _NAME_LIMIT),
        tenant=death.text("tenant", _NAME_LIMIT),
        code=death.text("code", _NAME_LIMIT),
        message=death.text("told", _TEXT_LIMIT),
        error=_text_or_none(last.get("error")),
        attempts=death.number("attempts"),
        recoveries=death.number("recoveries"),
        crashes=death.number("crashes"),
        postpones=death.number("postpones"),
        payload_version=1 if header is None else header.payload_version,
        idempotency_key=None if header is None else header.idempotency_key,
        enqueued_at=_enqueued_at(death, header),
        died_at=_instant(died_at_ms),
        worker=" ".join(str(holder[part]) for part in ("host", "pid", "worker") if holder.get(part)),
        release=str(holder.get("release") or ""),
        trace_id=_trace_of(header),
        history=history,
        message_bytes=len(death.message),
        body=body,
        encoding=None if header is None else header.encoding,
        header_ok=header is not None,
        raw=death.message if header is None else None,
        sentry=_text_or_none(last.get("sentry")),
        trace=None if header is None else header.trace,
    )


def _opened(message: bytes) -> tuple[EnvelopeHeader | None, bytes]:
    try:
        return decode_envelope(message)
    except InvalidInputError:
        return None, b""


def _history(text: bytes | None) -> list[dict[str, Any]]:
    entries = json.loads(text) if text else []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("a history that is no list of objects")
    return [_with_moment(entry) for entry in entries]


def _with_moment(entry: dict[str, Any]) -> dict[str, Any]:
    """Steps note milliseconds, workers a text."""
    at = entry.get("at")
    return entry | {"at": instant_text(str(int(at)))} if isinstance(at, (int, float)) else entry


def _job_id(death: Death) -> UUID:
    name = death.member.decode(errors="replace")
    return parse_uuid(name) or job_id(DEFAULT_TENANT, death.queue, death.member.hex())


def _enqueued_at(death: Death, header: EnvelopeHeader | None) -> datetime:
    return _instant(death.number("accepted_at") or int(death.died_at)) if header is None else header.enqueued_at


def _instant(milliseconds: int) -> datetime:
    try:
        return _EPOCH + milliseconds * _MILLISECOND
    except OverflowError:
        raise ValueError("an instant beyond all calendars") from None


def _trace_of(header: EnvelopeHeader | None) -> str | None:
    found = _TRACE.fullmatch(str(getattr(header, "trace", None) or ""))
    return found[1] if found else None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
