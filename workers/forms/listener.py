"""Hears from PostgreSQL that a form has a newer version, and tells the cache."""

import logging
import threading
from datetime import timedelta

import psycopg

from penstock.workers.forms.cache import FormCache
from penstock.workers.settings import WorkerSettings

_log = logging.getLogger(__name__)

CHANNEL = "penstock_forms"
RECONNECT_AFTER = timedelta(seconds=2)
#: How long a stop may go unnoticed.
LISTEN_FOR = timedelta(milliseconds=500)


class FormListener:
    """A thread with a connection of its own (LISTEN needs a session, so not PgBouncer's transaction mode).

    Where it can't listen, the cache's time limit still holds, and every reconnection drops all pointers.
    """

    def __init__(self, cache: FormCache, settings: WorkerSettings) -> None:
        self._cache = cache
        self._url = settings.database_url
        self._stopping = threading.Event()
        #: Set while the thread listens; for tests and health.
        self.listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-form-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait for the thread."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                _log.warning("listening for form changes failed (%s); trying again", type(error).__name__)
            finally:
                self.listening.clear()
            self._stopping.wait(RECONNECT_AFTER.total_seconds())

    def _listen(self) -> None:
        with psycopg.connect(
            self._url, autocommit=True, application_name="penstock-form-listener", connect_timeout=5
        ) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            # What changed while nobody listened is unknown, so nothing is believed.
            self._cache.forget_all_latest()
            self.listening.set()
            while not self._stopping.is_set():
                for notice in connection.notifies(timeout=LISTEN_FOR.total_seconds()):
                    tenant, _, form_id = notice.payload.partition("/")
                    self._cache.forget_latest(tenant, form_id)
