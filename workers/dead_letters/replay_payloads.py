"""A few letters' payloads, for what a dry run asks of them."""

from collections.abc import Sequence
from uuid import UUID

import psycopg

from penstock.producers.queue.compression import decompress
from penstock.schemas.errors import PenstockError

#: Bytes up to which one is opened, packed and unpacked.
_PACKED, _UNPACKED = 1024 * 1024, 16 * 1024 * 1024

_BODIES = """
SELECT dead_id, body, encoding FROM penstock.dead_letters WHERE dead_id = ANY(%s) AND octet_length(body) <= %s
"""


def payloads_of(connection: psycopg.Connection, ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """The payloads of these letters as they were sent; none of those that are large or can't be unpacked."""
    found: dict[UUID, bytes] = {}
    for dead_id, body, encoding in connection.execute(_BODIES, (list(ids), _PACKED)).fetchall():
        try:
            found[dead_id] = decompress(bytes(body), encoding, _UNPACKED)
        except PenstockError:
            # It can't be looked into here; requeueing it says why.
            continue
    return found
