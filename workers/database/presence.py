"""Asks whether PostgreSQL is there and takes writes, by a connection of its own."""

import logging
import selectors
import time
from datetime import timedelta
from typing import Protocol

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from penstock.schemas.errors import Code
from penstock.schemas.refusals import refusal_of
from penstock.workers.database.failures import decide_storage
from penstock.workers.protection.decisions import SQLSTATES, TOO_MANY_CLIENTS

_log = logging.getLogger(__name__)

#: To connect, and again for the answer. libpq knows none below 2 s.
ASK_TIMEOUT = timedelta(seconds=2)
#: On on a replica, and where an operator or a disk that filled up made the server so.
_QUESTION = b"SELECT current_setting('transaction_read_only')"


class Presence(Protocol):
    """What is known of whether PostgreSQL is there; `doubt` has somebody ask."""

    @property
    def is_away(self) -> bool:  # noqa: D102  the class tells
        ...

    def doubt(self) -> None:  # noqa: D102
        ...


class StorageProber:
    """Asks by a new connection each time: an old one may be cut, or lead to a server that was replaced."""

    def __init__(self, url: str, application_name: str = "penstock-prober") -> None:
        self._url = url
        self._application_name = application_name
        self._refusal: str | None = None

    def __call__(self) -> bool:
        """Whether a job that is run now could write. Takes up to twice `ASK_TIMEOUT`, and raises nothing."""
        try:
            serves = self._ask()
        except psycopg.Error as error:
            self._tell(refusal_of(error))
            decision = decide_storage(error)
            _log.debug("PostgreSQL was asked and does not serve: %s", decision.reason)
            # Full, it is there: who has a connection can work, and who has none comes again later.
            return decision in (SQLSTATES[TOO_MANY_CLIENTS], SQLSTATES["53300"])
        self._refusal = None
        return serves

    def _tell(self, refusal: str | None) -> None:
        """Log what no waiting mends, such as a certificate that is over; once, until it is another."""
        if refusal is not None and refusal != self._refusal:
            _log.warning("no connection to PostgreSQL: %s", refusal, extra={"code": Code.STORAGE_UNAVAILABLE})
        self._refusal = refusal

    def _ask(self) -> bool:
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            application_name=self._application_name,
            connect_timeout=int(ASK_TIMEOUT.total_seconds()),
            prepare_threshold=None,
        )
        try:
            answer = _answer(connection.pgconn, time.monotonic() + ASK_TIMEOUT.total_seconds())
        finally:
            connection.close()
        if answer == b"on":
            _log.debug("PostgreSQL was asked, and takes no writes")
        return answer == b"off"


def _answer(pgconn: PGconn, deadline: float) -> bytes | None:
    """The answer to the question; None where none comes in time.

    A pooler accepts connections while the server behind it is away, and lets questions wait for minutes.

    Raises:
        psycopg.OperationalError: where the connection breaks.
    """
    pgconn.send_query(_QUESTION)
    with selectors.DefaultSelector() as selector:
        selector.register(pgconn.socket, selectors.EVENT_READ)
        while pgconn.is_busy():
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            pgconn.consume_input()
    result = pgconn.get_result()
    if result is None or result.status != ExecStatus.TUPLES_OK:
        return None
    return result.get_value(0, 0)
