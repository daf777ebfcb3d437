"""Size limits that are checked before anything is sent, and again by the worker."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may hold; the settings `PENSTOCK_BATCH_SIZE_LIMIT` and so on."""

    #: Rows of one batch.
    batch_size: int = 1_000
    #: Bytes of one row as compact JSON.
    row_bytes: int = 256 * 1024
    #: Bytes of one job's payload before compression.
    message_bytes: int = 16 * 1024 * 1024
