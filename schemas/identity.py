"""Who is who: the ids that Penstock derives, the same in every process and every language.

All are derived below one fixed root. Those of forms and submissions are UUIDs of version 5 (RFC 9562 §5.5); those of
jobs are of version 8 (§5.8) and made by SHA-256, which PostgreSQL has built in and SHA-1 is not: SQL derives the same.
In the names that they are made of, `/` parts what can't hold one.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Callable

ROOT = uuid.UUID("8d0f9b0e-6c1b-5f0a-9a53-2f7a0b8f4c11")

_CANONICAL_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def job_id(tenant: str, kind: str, idempotency_key: str) -> uuid.UUID:
    """The id of the job that `idempotency_key` names: the same key gives the same job.

    The first 16 bytes of SHA-256 of the root's 16 bytes and the name, with the bits of version and variant set.
    """
    return _of_name(f"job/{tenant}/{kind}/{idempotency_key}")


def random_ids(count: int) -> list[uuid.UUID]:
    """Ids of jobs that have no key: UUIDs of version 4, from one draw for all."""
    drawn, make = os.urandom(16 * count), uuid.UUID
    numbers = [int.from_bytes(drawn[start : start + 16]) for start in range(0, 16 * count, 16)]
    return [make(int=number & _RANDOM_BITS | _VERSION_4) for number in numbers]


#: Where a UUID of version 4 is random, and the bits of version and variant.
_RANDOM_BITS = ~(0xF000 << 64 | 0xC000 << 48) & (1 << 128) - 1
_VERSION_4 = 0x4000 << 64 | 0x8000 << 48


def dead_id(queue: str, queue_job_id: str, died_at_ms: int) -> uuid.UUID:
    """The id of one death of one job: its dead letter's, however often it is archived.

    Made as a job's id is. `died_at_ms` is by Redis's clock, in milliseconds since 1970.
    """
    return _of_name(f"dead/{queue}/{queue_job_id}/{died_at_ms}")


def _of_name(name: str) -> uuid.UUID:
    digest = hashlib.sha256(ROOT.bytes + name.encode(errors="surrogatepass")).digest()
    head, tail = int.from_bytes(digest[:8]) & ~0xF000 | 0x8000, int.from_bytes(digest[8:16]) & (1 << 62) - 1 | 1 << 63
    return uuid.UUID(int=head << 64 | tail)


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
        digest = self._hash.copy()
        digest.update(f"id/{external_id}".encode())
        return _as_version_5(digest.digest())

    def of_positions(self, base_batch_id: str) -> Callable[[int], bytes]:
        """Gives the id of the row without an id at a position (from 0, in the whole file) of a base batch."""
        of_file = self._hash.copy()
        of_file.update(f"row/{base_batch_id}/".encode())

        def of_position(position: int) -> bytes:
            digest = of_file.copy()
            digest.update(b"%d" % position)
            return _as_version_5(digest.digest())

        return of_position

    def in_a_row(self, base_batch_id: str, first: int, count: int) -> list[bytes]:
        """What `of_positions` gives for `count` positions from `first` on, in two thirds of the time."""
        of_file = self._hash.copy()
        of_file.update(f"row/{base_batch_id}/".encode())
        copy = of_file.copy
        digests = []
        for position in range(first, first + count):
            digest = copy()
            digest.update(b"%d" % position)
            digests.append(digest.digest())
        # All at once: every 20th byte of what is then one text of bytes.
        joined, size = bytearray(b"".join(digests)), of_file.digest_size
        joined[6::size] = joined[6::size].translate(_VERSION_BYTES)
        joined[8::size] = joined[8::size].translate(_VARIANT_BYTES)
        whole = bytes(joined)
        return [whole[start : start + 16] for start in range(0, size * count, size)]


#: The bytes that hold version and variant, by the byte of the hash that they replace.
_VERSION_BYTES = bytes(byte & 0x0F | 0x50 for byte in range(256))
_VARIANT_BYTES = bytes(byte & 0x3F | 0x80 for byte in range(256))
_VERSION_BYTE = tuple(bytes([byte]) for byte in _VERSION_BYTES)
_VARIANT_BYTE = tuple(bytes([byte]) for byte in _VARIANT_BYTES)


def _as_version_5(digest: bytes) -> bytes:
    return digest[:6] + _VERSION_BYTE[digest[6]] + digest[7:8] + _VARIANT_BYTE[digest[8]] + digest[9:16]


def parse_uuid(text: str) -> uuid.UUID | None:
    """The UUID that `text` is, written with hyphens in any case; None for any other text."""
    return uuid.UUID(text) if _CANONICAL_UUID.match(text) else None


def uuid7_unix_ms(value: uuid.UUID) -> int | None:
    """The instant in a UUIDv7 (RFC 9562 §5.7) in milliseconds since 1970; None for any other version."""
    return value.int >> 80 if value.version == 7 else None
