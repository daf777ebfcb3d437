"""Ids of dead letters in the audit: all of them, or where they are too many, what they can be recognised by."""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

#: Ids that an audit entry lists.
LISTED_LIMIT = 1_000


def listed(ids: Sequence[UUID]) -> dict[str, Any]:
    """`count` and `ids`; over 1,000 of them `digest` in their place: SHA-256 of the ids' bytes in order."""
    found: dict[str, Any] = {"count": len(ids)}
    if len(ids) <= LISTED_LIMIT:
        return found | {"ids": [str(one) for one in sorted(ids)]}
    digest = hashlib.sha256(b"".join(one.bytes for one in sorted(ids)))
    return found | {"digest": digest.hexdigest()}
