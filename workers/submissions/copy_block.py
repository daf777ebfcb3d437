"""Rows as a block of PostgreSQL's binary COPY format.

The format is told in PostgreSQL's documentation of COPY, "Binary Format"; those of the column types in the source
of their `_recv` functions (timestamptz: microseconds since 2000; jsonb: a version byte and the text).
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from penstock.workers.submissions.accepted import Accepted, PlainRows

#: The order of the columns in the block.
COLUMNS = (
    "submitted_at",
    "received_at",
    "submission_id",
    "form_key",
    "batch_id",
    "form_id",
    "external_id",
    "answers",
)

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_JSONB_VERSION = 1

#: Microseconds from 1970 to 2000.
POSTGRESQL_EPOCH_US = 946_684_800_000_000

_START = struct.Struct(">hiqiqi")
_JSONB = struct.Struct(">iB")
_LENGTH = struct.Struct(">i")


def copy_block(blocks: Iterable[bytes]) -> bytes:
    """A whole COPY stream of the rows of some batches, each as `rows_block` made it: with header and trailer."""
    return b"".join((_HEADER, *blocks, _TRAILER))


def rows_block(rows: Sequence[Accepted], *, form_key: int, form_id: str, batch_id: str, received_us: int) -> bytes:
    """The rows of one batch, without the stream's header and trailer."""
    received = received_us - POSTGRESQL_EPOCH_US
    batch_columns = struct.pack(">ii", 4, form_key) + _text(batch_id) + _text(form_id)
    if isinstance(rows, PlainRows):
        return _plain_block(rows, received, batch_columns)
    parts: list[bytes] = []
    append, start = parts.append, _START.pack
    for row in rows:
        append(start(len(COLUMNS), 8, row.submitted_us - POSTGRESQL_EPOCH_US, 8, received, 16))
        append(row.submission_id)
        append(batch_columns)
        append(_NULL if row.external_id is None else _text(row.external_id))
        append(_answers_head(len(row.answers)))
        append(row.answers)
    return b"".join(parts)


def _plain_block(rows: PlainRows, received: int, batch_columns: bytes) -> bytes:
    """As `rows_block`: what is the same in all rows is made once, and columns are laid in at one go."""
    count = len(rows)
    start = _START.pack(len(COLUMNS), 8, rows.submitted_us - POSTGRESQL_EPOCH_US, 8, received, 16)
    parts = [start] * (5 * count)
    parts[1::5] = rows.ids
    parts[2::5] = [batch_columns + _NULL] * count
    parts[3::5] = map(_answers_head, map(len, rows.answers))
    parts[4::5] = rows.answers
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _answers_head(size: int) -> bytes:
    return _JSONB.pack(size + 1, _JSONB_VERSION)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded
