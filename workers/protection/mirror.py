"""A hash of Redis's, copied into memory: what is asked for each job must not cost a round trip."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Generic, TypeVar, cast

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.schemas.errors import PenstockError

_log = logging.getLogger(__name__)

#: Changes are announced; this is for announcements that did not arrive.
REFRESH_EVERY = timedelta(seconds=30)
#: Where Redis did not answer, it is asked again so soon.
_AGAIN = timedelta(seconds=1)

Value = TypeVar("Value")


class Mirror(Generic[Value]):
    """The last known copy of a hash, and its age. Reading it never waits. Safe to share between threads.

    Args:
        client: one whose patience is short: while Redis is away only the copy's own thread waits.
        key: of the hash.
        parse: makes the value of a field's name and bytes; a ValueError leaves the field out.
        every: how often to copy it.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        client: redis.Redis,
        key: str,
        parse: Callable[[str, bytes], Value],
        every: timedelta = REFRESH_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._key = key
        self._parse = parse
        self._every = every
        self._clock = clock
        self._values: Mapping[str, Value] = MappingProxyType({})
        self._read_at: float | None = None
        self._away = False
        self._ended = threading.Event()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def values(self) -> Mapping[str, Value]:
        """The hash as it was read last; empty before it was."""
        return self._values

    @property
    def age(self) -> timedelta | None:
        """How long ago it was read; None where it never was."""
        read_at = self._read_at
        return None if read_at is None else timedelta(seconds=self._clock() - read_at)

    def read(self) -> Mapping[str, Value]:
        """Read the hash now, in one command, and keep it.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`; the copy stays as it was.
        """
        asked_at = self._clock()
        with redis_errors(f"reading {self._key}"):
            found = cast("dict[bytes, bytes]", self._client.hgetall(self._key))
        values = {}
        for field, text in found.items():
            name = field.decode(errors="replace")
            try:
                values[name] = self._parse(name, text)
            except ValueError:
                _log.warning("what %s holds of %s is not readable, and is passed over", self._key, name)
        self._values, self._read_at = MappingProxyType(values), asked_at
        return self._values

    def start(self) -> None:
        """Read it, and go on reading it in a thread of its own. Where Redis is away it begins empty."""
        if self._thread is None:
            self._try_to_read()
            self._thread = threading.Thread(target=self._run, name="penstock-mirror", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Read it no more; the last copy stays."""
        self._ended.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """Have its thread read it now; returns at once."""
        self._due.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._due.wait((_AGAIN if self._away else self._every).total_seconds())
            # Before the read: what changes while it reads may be more than it sees.
            self._due.clear()
            if not self._ended.is_set():
                self._try_to_read()

    def _try_to_read(self) -> None:
        try:
            self.read()
        except PenstockError as error:
            if not self._away:
                _log.warning("%s; what was known before is used", error.message, extra={"code": error.code})
            self._away = True
        else:
            if self._away:
                _log.info("%s is read again", self._key)
            self._away = False
