"""Rows as a block of PostgreSQL's binary COPY format.

The format is told in PostgreSQL's documentation of COPY, "Binary Format"; those of the column types in the source
of their `_recv` functions (timestamptz: microseconds since 2000; jsonb: a version byte and the text).
"""

import struct
from collections.abc import Sequence

from penstock.workers.submissions.rows import Accepted

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

_START = struct.Struct(">hiqiqi16s")
_JSONB = struct.Struct(">iB")
_LENGTH = struct.Struct(">i")


def copy_block(rows: Sequence[Accepted], *, form_key: int, form_id: str, batch_id: str, received_us: int) -> bytes:
    """The rows of one batch as a whole COPY stream, header and trailer with it."""
    received = received_us - POSTGRESQL_EPOCH_US
    batch_columns = struct.pack(">ii", 4, form_key) + _text(batch_id) + _text(form_id)
    parts = [_HEADER]
    append, start, jsonb = parts.append, _START.pack, _JSONB.pack
    for row in rows:
        append(start(len(COLUMNS), 8, row.submitted_us - POSTGRESQL_EPOCH_US, 8, received, 16, row.submission_id))
        append(batch_columns)
        append(_NULL if row.external_id is None else _text(row.external_id))
        append(jsonb(len(row.answers) + 1, _JSONB_VERSION))
        append(row.answers)
    append(_TRAILER)
    return b"".join(parts)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded
