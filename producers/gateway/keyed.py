"""What Redis remembers of idempotency keys: streams on their way, and how many rows a whole one had.

Everything else follows from the key: batch ids are made of it, and a batch's content is compared where it is enqueued.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import redis

from penstock.producers.gateway.problems import ProblemError
from penstock.producers.queue.connection import redis_errors
from penstock.schemas.errors import Code, ConflictError, InvalidInputError, UnavailableError

#: A stream that is not heard of for this long is given up, as that of a gateway that was killed.
FLIGHT = timedelta(seconds=20)
#: A base id leaves room for the number of its parts within a name's 200 characters.
_BASE_LENGTH = 190
_BASE = re.compile(r"[A-Za-z0-9._-]{1,190}\Z")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,190}\Z")

# Only whoever holds the mark moves or removes it.
_KEEP = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_END = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def parse_key(header: str | None) -> str | None:
    """The key that `Idempotency-Key` brings, a string in quotes as the IETF's draft has it, or the bare text.

    Raises:
        InvalidInputError: `REQUEST_IDEMPOTENCY_KEY_INVALID`.
    """
    if header is None:
        return None
    text = header.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\([\"\\])", r"\1", text[1:-1])
    if not _VISIBLE.match(text):
        told = f"the idempotency key is not 1 to {_BASE_LENGTH} visible ASCII characters"
        raise InvalidInputError(Code.REQUEST_IDEMPOTENCY_KEY_INVALID, told)
    return text


def new_key() -> str:
    """A key for whoever sent none."""
    return f"auto-{uuid4()}"


def name_of(key: str) -> str:
    """The key as the id of a file or a post: itself where that can be, so that `penstock submit` can go on with it."""
    if _BASE.match(key):
        return key
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:40]}"


@dataclass(frozen=True, slots=True)
class Whole:
    """How much was accepted under a key, once all of it was."""

    rows: int
    batches: int


class KeyedStreams:
    """Notes of keys. Safe to share between threads.

    Args:
        window: how long it is known how many rows a whole one had; as long as finished jobs are.
    """

    def __init__(self, client: "redis.Redis", namespace: str, window: timedelta) -> None:
        self._client = client
        self._prefix = f"{namespace}:http"
        self._window = window

    def whole(self, tenant: str, base: str) -> Whole | None:
        """What was accepted as a whole under the key; None where nothing was.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        with redis_errors("looking for an idempotency key"):
            return _whole(self._client.get(self._whole(tenant, base)))

    def complete(self, tenant: str, base: str, whole: Whole) -> None:
        """Note what was accepted as a whole.

        Raises:
            ConflictError: `BATCH_CONFLICT` where it was another number of rows before.
            PenstockError: of the `QUEUE_` family.
        """
        text = f"{whole.rows}/{whole.batches}"
        with redis_errors("noting an idempotency key"):
            known = _whole(self._client.set(self._whole(tenant, base), text, nx=True, get=True, px=self._window))
        if known is not None and known.rows != whole.rows:
            raise other_rows(base, known.rows)

    def begin(self, tenant: str, base: str) -> str:
        """Mark a stream as on its way; returns what `keep` and `end` want.

        Raises:
            ProblemError: 409, `REQUEST_IN_FLIGHT`, with the seconds after which to come again.
            PenstockError: of the `QUEUE_` family.
        """
        token = secrets.token_hex(8)
        name = self._flight(tenant, base)
        with redis_errors("marking a stream"):
            if self._client.set(name, token, nx=True, px=FLIGHT):
                return token
            left_ms: Any = self._client.pttl(name)
        seconds = max(1, -(-int(left_ms) // 1_000))
        error = UnavailableError(
            Code.REQUEST_IN_FLIGHT,
            "a stream with the same idempotency key is on its way",
            details={"retry_after_seconds": seconds},
        )
        raise ProblemError(error, 409)

    def keep(self, tenant: str, base: str, token: str) -> None:
        """Keep the mark for as long again.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        with redis_errors("marking a stream"):
            self._client.eval(_KEEP, 1, self._flight(tenant, base), token, str(FLIGHT // timedelta(milliseconds=1)))

    def end(self, tenant: str, base: str, token: str) -> None:
        """Take the mark away.

        Raises:
            PenstockError: of the `QUEUE_` family.
        """
        with redis_errors("marking a stream"):
            self._client.eval(_END, 1, self._flight(tenant, base), token)

    # Names of tenants and files can't hold a slash, so keys are unambiguous.
    def _whole(self, tenant: str, base: str) -> str:
        return f"{self._prefix}:whole:{tenant}/{base}"

    def _flight(self, tenant: str, base: str) -> str:
        return f"{self._prefix}:flight:{tenant}/{base}"


def _whole(found: Any) -> Whole | None:
    if not isinstance(found, bytes):
        return None
    rows, _, batches = found.partition(b"/")
    return Whole(int(rows), int(batches))


def other_rows(base: str, known: int) -> ConflictError:
    """For a key under which another number of rows was accepted as a whole."""
    return ConflictError(
        Code.BATCH_CONFLICT,
        f"{base!r} is known with other content: it was accepted with {known:,} rows",
        remedy="Send what was sent first, or use a new idempotency key.",
    )
