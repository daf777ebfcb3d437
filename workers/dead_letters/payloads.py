"""Payloads of dead letters as operators see them: redacted, or revealed to somebody who says why."""

import json
import math
from typing import Any
from uuid import UUID

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.database.operator_actions import record_actions, require_reason
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.search import LetterSearch

#: Codes of payloads that are there and can't be unpacked.
_UNREADABLE = frozenset({Code.JOB_PAYLOAD_INVALID, Code.BATCH_TOO_LARGE})


class Payloads:
    """Shows payloads. Safe to share between threads."""

    def __init__(self, transactions: Transactions, search: LetterSearch) -> None:
        self._transactions = transactions
        self._search = search

    def redacted(self, dead_id: UUID, kind: str) -> Any:
        """The payload as JSON values, without what is sensitive; None where it can't be read.

        Raises:
            NotFoundError: `JOB_DEAD_LETTER_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        try:
            return redacted(kind, read_json(self._search.payload(dead_id)))
        except PenstockError as error:
            if error.code in _UNREADABLE:
                return None
            raise

    def reveal(self, dead_id: UUID, by: str, reason: str) -> bytes:
        """The payload as its producer wrote it; that it was looked at is recorded before anybody sees it.

        Raises:
            InvalidInputError: `REQUEST_USAGE` without name or reason; `JOB_PAYLOAD_INVALID` or `BATCH_TOO_LARGE` where
                it can't be unpacked.
            NotFoundError: `JOB_DEAD_LETTER_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        require_reason(by, reason)
        found = self._search.payload(dead_id)
        self.record(str(dead_id), by, reason, {})
        return found

    def record(self, target: str, by: str, reason: str, details: dict[str, Any]) -> None:
        """Record that somebody is about to see payloads.

        Raises:
            InvalidInputError: `REQUEST_USAGE` without name or reason.
            PenstockError: of the family `STORAGE_`; nobody may see them then.
        """
        by, reason = require_reason(by, reason)
        entry = audit_entry(by, "dead_letter.reveal", target, reason, details)
        self._transactions.run(lambda transaction: record_actions(transaction.connection, [entry]))


def redacted(kind: str, payload: Any) -> Any:
    """JSON values of a payload of `kind` without what is sensitive."""
    # Late: it reads the schemas of all kinds, which lists and commands without payloads need not wait for.
    from penstock.workers.dead_letters.redaction import redact  # noqa: PLC0415

    return redact(kind, payload)


def read_json(payload: bytes) -> Any:
    """The payload as JSON values that JSON can hold again; None where it is no JSON, or too deep."""
    try:
        found = json.loads(payload, parse_constant=str, parse_float=_finite)
        # What is too deep to be written again is of no use to whoever asks for it.
        json.dumps(found)
    except (ValueError, RecursionError):
        return None
    return found


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text
