"""How files were cut into batches, noted in Redis before the first batch is sent."""

import json
from datetime import timedelta

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.schemas.errors import Code, ConflictError
from penstock.schemas.names import require_name

#: A note outlives the last look at it by this; after that the ledger alone guards the file.
NOTE_WINDOW = timedelta(days=7)


class BaseBatches:
    """Notes of base batches, one string per file."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._prefix = f"{namespace}:base:"

    def claim(self, tenant: str, base_batch_id: str, form_id: str, batch_size: int) -> None:
        """Note a file's form and batch size, or see that the note says the same.

        Raises:
            ConflictError: `BATCH_CONFLICT`.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        require_name(base_batch_id, Code.BATCH_ID_INVALID, "a batch id")
        wanted = json.dumps({"form_id": form_id, "batch_size": batch_size}).encode()
        # Names can't hold a slash, so the key is unambiguous.
        key = f"{self._prefix}{tenant}/{base_batch_id}"
        with redis_errors("noting how a file is cut"):
            known = self._client.set(key, wanted, nx=True, get=True, px=NOTE_WINDOW)
            if known is None or known == wanted:
                self._client.pexpire(key, NOTE_WINDOW)
                return
        was = json.loads(bytes(known) if isinstance(known, (bytes, bytearray)) else str(known))
        raise different_cut(base_batch_id, (was["form_id"], was["batch_size"]), (form_id, batch_size))


def different_cut(base_batch_id: str, was: tuple[str, int], wanted: tuple[str, int]) -> ConflictError:
    """What is raised where a file was sent to another form or cut otherwise: form and batch size, before and now."""
    return ConflictError(
        Code.BATCH_CONFLICT,
        f"{base_batch_id!r} was sent to the form {was[0]!r} in batches of {was[1]:,} rows,"
        f" and not to {wanted[0]!r} in batches of {wanted[1]:,}",
    )
