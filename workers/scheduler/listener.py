"""Hears from PostgreSQL that there is something to do, and wakes the loops that do it."""

import logging
import threading
from collections.abc import Callable, Collection
from datetime import timedelta

import psycopg
from psycopg import sql

from penstock.schemas.refusals import refusal_of

_log = logging.getLogger(__name__)

RECONNECT_AFTER = timedelta(seconds=2)
#: How long a stop may go unnoticed.
LISTEN_FOR = timedelta(milliseconds=500)


class EventListener:
    """A thread with a connection of its own, since LISTEN needs a session.

    Events make things quicker and nothing depends on them: a pooler in transaction mode delivers none, and then the
    loops' timers have to do.

    Args:
        database_url: where to listen.
        channels: what to listen to.
        heard: called with the channel of each event, and with every channel when listening begins.
    """

    def __init__(self, database_url: str, channels: Collection[str], heard: Callable[[str], None]) -> None:
        self._url = database_url
        self._channels = channels
        self._heard = heard
        self._stopping = threading.Event()
        #: Set while events can arrive.
        self.listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-events", daemon=True)

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._thread.start()

    def stop(self, timeout: timedelta) -> None:
        """Stop, and wait so long for the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout.total_seconds())

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                reason = refusal_of(error) or type(error).__name__
                _log.warning("listening for events failed (%s); trying again", reason)
            finally:
                self.listening.clear()
            self._stopping.wait(RECONNECT_AFTER.total_seconds())

    def _listen(self) -> None:
        with self._connect() as connection:
            for channel in self._channels:
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self.listening.set()
            # What was told while nobody listened is unknown.
            for channel in self._channels:
                self._heard(channel)
            while not self._stopping.is_set():
                for notice in connection.notifies(timeout=LISTEN_FOR.total_seconds()):
                    self._heard(notice.channel)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            self._url,
            autocommit=True,
            application_name="penstock-scheduler-events",
            connect_timeout=5,
            prepare_threshold=None,
            # A server that vanished without a word is noticed within about half a minute (seconds; milliseconds).
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        )
