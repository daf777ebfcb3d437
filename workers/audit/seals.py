"""A seal, what its digest covers, and the digests of actions and of what a seal covers.

Everything is text as PostgreSQL writes it (seconds since 1970 to the microsecond, `jsonb` in its own normal form), so
that no clock's zone, no driver and no release of ours can change a digest.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.audit.keys import AuditKeys

#: What the first seal names as the one before it.
NOTHING_BEFORE = bytes(32)

#: An action's row as texts, of the table that is called `action` there. NULL in all of them where the row is gone.
ACTION_TEXTS = """
    action.action_id::text, extract(epoch FROM action.at)::text, action.actor, action.action, action.target,
    action.reason, action.details::text, extract(epoch FROM action.recorded_at)::text
"""
#: A seal's row, in the order of `Seal`.
SEAL_COLUMNS = """
    number, extract(epoch FROM sealed_at)::text, actions, first_action::text, last_action::text, content, previous,
    key_id, digest
"""


@dataclass(frozen=True, slots=True)
class Seal:
    """One link of the chain.

    Attributes:
        number: from 1 on, without gaps.
        sealed_at: seconds since 1970, by PostgreSQL's clock, as text.
        actions: how many it covers; may be 0, where a new key takes over.
        first_action, last_action: their ids, in the order of the seal.
        content: SHA-256 over the digests of its actions, in that order.
        previous: the digest of the seal before.
        key_id: the key of `digest`.
        digest: over all of these.
    """

    number: int
    sealed_at: str
    actions: int
    first_action: str | None
    last_action: str | None
    content: bytes
    previous: bytes
    key_id: str
    digest: bytes = b""

    def expected_digest(self, keys: AuditKeys) -> bytes:
        """What its digest has to be. Only where its key is known."""
        facts = [
            *(self.number, self.sealed_at, self.actions, self.first_action, self.last_action),
            *(self.content.hex(), self.previous.hex(), self.key_id),
        ]
        return keys.digest(self.key_id, b"penstock audit seal 1\n" + _encoded(facts))

    @property
    def anchor(self) -> str:
        """What names this seal and all before it, `number:digest`; worth keeping elsewhere."""
        return f"{self.number}:{self.digest.hex()}"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A seal as somebody noted it elsewhere."""

    number: int
    digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `number:digest`.

        Raises:
            InvalidInputError: `REQUEST_USAGE`.
        """
        number, _, digest = text.strip().partition(":")
        is_digest = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
        if not (number.isascii() and number.isdigit() and len(number) < 19 and is_digest):
            told = f"{text[:100]!r} is no anchor; one is NUMBER:DIGEST, as penstock audit anchor prints it"
            raise InvalidInputError(Code.REQUEST_USAGE, told)
        return cls(int(number), digest)


def action_digest(texts: Sequence[str | None]) -> bytes:
    """The SHA-256 of an action's row, of its `ACTION_TEXTS`."""
    return hashlib.sha256(b"penstock audit action 1\n" + _encoded(texts)).digest()


def content_digest(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """The SHA-256 over ids and digests of actions, in the order of their seal."""
    found = hashlib.sha256(b"penstock audit content 1\n")
    for action_id, digest in entries:
        found.update(_encoded([action_id, digest.hex()]) + b"\n")
    return found.digest()


def _encoded(values: Sequence[object]) -> bytes:
    """JSON in ASCII: no two lists give the same bytes."""
    return json.dumps(list(values), separators=(",", ":")).encode()
