"""Who is who: the ids that Penstock derives, the same in every process and every language.

All are UUIDs of version 5 (RFC 9562 §5.5) below one fixed root; in the names that they are made of, `/` parts
what can't hold one.
"""

import hashlib
import re
import uuid

ROOT = uuid.UUID("8d0f9b0e-6c1b-5f0a-9a53-2f7a0b8f4c11")

_CANONICAL_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def job_id(tenant: str, kind: str, idempotency_key: str) -> uuid.UUID:
    """The id of the job that `idempotency_key` names: the same key gives the same job."""
    return uuid.uuid5(ROOT, f"job/{tenant}/{kind}/{idempotency_key}")


def form_namespace(tenant: str, form_id: str) -> uuid.UUID:
    """The namespace of a form's submissions: equal ids in two forms or tenants are two submissions."""
    return uuid.uuid5(ROOT, f"form/{tenant}/{form_id}")


class SubmissionIds:
    """Derives the ids of one form's submissions, as 16 bytes each."""

    def __init__(self, tenant: str, form_id: str) -> None:
        namespace = form_namespace(tenant, form_id).bytes
        # usedforsecurity: SHA-1 is what version 5 is defined by; nothing rests on its strength here.
        self._hash = hashlib.sha1(namespace, usedforsecurity=False)

    def of_external(self, external_id: str) -> bytes:
        """The id of the submission that its producer calls `external_id` (a text that is no UUID)."""
        return self._derive(f"id/{external_id}")

    def of_position(self, base_batch_id: str, position: int) -> bytes:
        """The id of the row without an id at `position` (from 0, in the whole file) of a base batch."""
        return self._derive(f"row/{base_batch_id}/{position}")

    def _derive(self, name: str) -> bytes:
        digest = self._hash.copy()
        digest.update(name.encode())
        value = bytearray(digest.digest()[:16])
        value[6] = (value[6] & 0x0F) | 0x50
        value[8] = (value[8] & 0x3F) | 0x80
        return bytes(value)


def parse_uuid(text: str) -> uuid.UUID | None:
    """The UUID that `text` is, written with hyphens in any case; None for any other text."""
    return uuid.UUID(text) if _CANONICAL_UUID.match(text) else None


def uuid7_unix_ms(value: uuid.UUID) -> int | None:
    """The instant in a UUIDv7 (RFC 9562 §5.7) in milliseconds since 1970; None for any other version."""
    return value.int >> 80 if value.version == 7 else None
