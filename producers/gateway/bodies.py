"""Bodies of requests: read whole within limits, or piece by piece; packed with gzip or not."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from penstock.producers.gateway.problems import malformed
from penstock.schemas.errors import Code, InvalidInputError, UnavailableError

JSON = "application/json"
NDJSON = "application/x-ndjson"
#: Other names of the same.
_NDJSON = (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines")

#: Bytes that are unpacked at once: a packed body can grow a thousandfold.
PIECE = 256 * 1024
#: A stream that brings less than this within its idle time is ended.
LEAST_BYTES = 1_024
_GZIP = 16 + zlib.MAX_WBITS


class Budget:
    """Bytes of bodies that are held at once. For one event loop."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    @contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Have so many within the block.

        Raises:
            UnavailableError: `REQUEST_OVERLOADED` where there are fewer left.
        """
        if count > self._left:
            raise UnavailableError(Code.REQUEST_OVERLOADED, "the gateway holds as many bytes of bodies as it may")
        self._left -= count
        try:
            yield
        finally:
            self._left += count


def media_type(request: Request) -> str:
    """`application/json` or `application/x-ndjson`.

    Raises:
        InvalidInputError: `REQUEST_MEDIA_TYPE_UNKNOWN` for anything else.
    """
    told = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if told == JSON:
        return JSON
    if told in _NDJSON:
        return NDJSON
    raise InvalidInputError(Code.REQUEST_MEDIA_TYPE_UNKNOWN, f"the body's Content-Type is not {JSON} or {NDJSON}")


def require_json(request: Request) -> None:
    """See that the body is said to be JSON.

    Raises:
        InvalidInputError: `REQUEST_MEDIA_TYPE_UNKNOWN`.
    """
    if media_type(request) != JSON:
        raise InvalidInputError(Code.REQUEST_MEDIA_TYPE_UNKNOWN, f"the body's Content-Type is not {JSON}")


def is_packed(request: Request) -> bool:
    """Whether the body is packed with gzip.

    Raises:
        InvalidInputError: `REQUEST_MEDIA_TYPE_UNKNOWN` where it is packed otherwise.
    """
    told = request.headers.get("content-encoding", "identity").strip().lower()
    if told not in {"identity", "gzip", "x-gzip", ""}:
        raise InvalidInputError(Code.REQUEST_MEDIA_TYPE_UNKNOWN, "the body's Content-Encoding is not gzip")
    return told.endswith("gzip")


def reservation(request: Request, limit: int) -> int:
    """The bytes to reserve for a body before it is read: what it says of its length, or all that it may have.

    Raises:
        InvalidInputError: `REQUEST_BODY_TOO_LARGE` where it says that it is longer.
    """
    told = request.headers.get("content-length", "")
    if not told.isdecimal():
        return limit
    if int(told[:20]) > limit:
        raise too_large(limit)
    return limit if is_packed(request) else int(told)


async def read_whole(request: Request, limit: int, request_seconds: float) -> bytes:
    """The body, unpacked.

    Args:
        request: whose body it is.
        limit: bytes that it may have.
        request_seconds: what the request may take in all; nine tenths of it are the body's.

    Raises:
        InvalidInputError: `REQUEST_BODY_TOO_LARGE`, `REQUEST_TOO_SLOW`, `REQUEST_MEDIA_TYPE_UNKNOWN`.
        ProblemError: 400 where it is not what its packing says.
        ClientDisconnect: the other side went away.
    """
    seconds = request_seconds * 0.9
    try:
        async with asyncio.timeout(seconds):
            return await _read_whole(request, limit)
    except TimeoutError:
        told = f"the body did not come within {seconds:g} s"
        raise InvalidInputError(Code.REQUEST_TOO_SLOW, told) from None


async def _read_whole(request: Request, limit: int) -> bytes:
    found = bytearray()
    async for piece in _unpacked(request.stream(), is_packed(request)):
        found += piece
        if len(found) > limit:
            raise too_large(limit)
    return bytes(found)


async def read_pieces(request: Request, idle_seconds: float) -> AsyncIterator[bytes]:
    """The body as it comes, unpacked, in pieces of bounded size.

    Raises:
        InvalidInputError: `REQUEST_TOO_SLOW` where less than 1,024 bytes came within the idle time.
        ProblemError: 400 where it is not what its packing says.
        ClientDisconnect: the other side went away.
    """
    async for piece in _unpacked(_lively(request.stream(), idle_seconds), is_packed(request)):
        yield piece


def too_large(limit: int) -> InvalidInputError:
    """For a body beyond its limit."""
    return InvalidInputError(Code.REQUEST_BODY_TOO_LARGE, f"the body is longer than {limit:,} bytes")


async def _lively(pieces: AsyncIterator[bytes], idle_seconds: float) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends_at, since = loop.time() + idle_seconds, 0
    while True:
        try:
            async with asyncio.timeout_at(ends_at):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            told = f"less than {LEAST_BYTES:,} bytes of the body came within {idle_seconds:g} s"
            raise InvalidInputError(Code.REQUEST_TOO_SLOW, told) from None
        since += len(piece)
        yield piece
        # What the gateway itself took for the piece is nobody's idleness.
        if since >= LEAST_BYTES:
            ends_at, since = loop.time() + idle_seconds, 0


async def _unpacked(pieces: AsyncIterator[bytes], packed: bool) -> AsyncIterator[bytes]:
    if not packed:
        async for piece in pieces:
            if piece:
                yield piece
        return
    unpacker = zlib.decompressobj(_GZIP)
    async for piece in pieces:
        left, unpacked = piece, b""
        # All of a piece may have gone in while some of it has not come out yet.
        while left or len(unpacked) == PIECE:
            if unpacker.eof:
                # Files that were packed one by one and joined are one file to gzip.
                unpacker = zlib.decompressobj(_GZIP)
            unpacked = _unpack(unpacker, left)
            yield unpacked
            left = unpacker.unconsumed_tail or unpacker.unused_data
            # Others have their turn: a small piece can hold a great deal.
            await asyncio.sleep(0)
    if not unpacker.eof:
        raise malformed("the gzip-packed body ends too early")


def _unpack(unpacker: "zlib._Decompress", piece: bytes) -> bytes:
    try:
        return unpacker.decompress(piece, PIECE)
    except zlib.error:
        raise malformed("the body is not packed with gzip, or broken") from None
