"""What an operator did, as it waits in Redis to be recorded in PostgreSQL for ever."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID, uuid4

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.text import is_storable

#: U+0000 as JSON escapes it, and not the same six characters after an escaped backslash.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """One thing that an operator did.

    Attributes:
        at: when, aware, by the clock of the machine where it was done.
        actor: who, such as the login name.
        action: what, such as `queue.pause`.
        target: to which thing, such as the queue's name.
        reason: why, in the operator's words.
        details: further facts as JSON values.
    """

    action_id: UUID
    at: datetime
    actor: str
    action: str
    target: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The action as a JSON object; `at` is RFC 3339 in UTC."""
        return compact_json(
            {
                "action_id": str(self.action_id),
                "at": self.at.astimezone(UTC).isoformat(),
                "actor": self.actor,
                "action": self.action,
                "target": self.target,
                "reason": self.reason,
                "details": dict(self.details),
            }
        )

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            InvalidInputError: `REQUEST_USAGE` where it is something else, or can't be stored in PostgreSQL.
        """
        try:
            found = _storable(json.loads(encoded))
            at = datetime.fromisoformat(found["at"]).astimezone(UTC)
            actor, action, target, reason = texts = [found[name] for name in ("actor", "action", "target", "reason")]
            if all(isinstance(text, str) for text in texts):
                return cls(UUID(found["action_id"]), at, actor, action, target, reason, dict(found["details"]))
            told = "a text that is none"
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            told = type(error).__name__
        raise InvalidInputError(Code.REQUEST_USAGE, f"an entry of the audit is not readable ({told})")


def _storable(found: Any) -> Any:
    """What PostgreSQL can store: no U+0000, no unpaired surrogate, no NaN."""
    if _NUL.search(json.dumps(found, allow_nan=False)):
        raise ValueError("U+0000")
    json.dumps(found, ensure_ascii=False).encode()
    return found


def audit_entry(
    actor: str, action: str, target: str, reason: str, details: Mapping[str, Any] | None = None
) -> OperatorAction:
    """What an operator does now, with an id of its own.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where PostgreSQL can't store a text: what can't be recorded is not done.
    """
    for name, text in (("name", actor), ("target", target), ("reason", reason)):
        if not is_storable(text):
            raise InvalidInputError(Code.REQUEST_USAGE, f"the {name} has U+0000 or an unpaired surrogate")
    return OperatorAction(uuid4(), datetime.now(UTC), actor, action, target, reason, dict(details or {}))
