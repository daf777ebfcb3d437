"""Hears from PostgreSQL that a form has a newer version, and tells the cache."""

import logging
import threading
import uuid
from datetime import timedelta

import psycopg

from penstock.workers.forms.cache import FormCache
from penstock.workers.settings import WorkerSettings

_log = logging.getLogger(__name__)

CHANNEL = "penstock_forms"
RECONNECT_AFTER = timedelta(seconds=2)
#: Where a pooler swallows events, that is so until somebody changes the deployment.
ASK_AGAIN_AFTER = timedelta(minutes=1)
#: How long a stop may go unnoticed.
LISTEN_FOR = timedelta(milliseconds=500)
#: How long an event to ourselves may take before we call ourselves deaf.
ECHO_WITHIN = timedelta(seconds=2)


class FormListener:
    """A thread with a connection of its own.

    LISTEN needs a session, and a pooler in transaction mode takes the command and never delivers. So the thread first
    has an event sent to itself: only while events arrive does the cache believe its pointers for long.
    """

    def __init__(self, cache: FormCache, settings: WorkerSettings) -> None:
        self._cache = cache
        self._url = settings.database_url
        self._stopping = threading.Event()
        #: Set while events arrive; for tests and health.
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
            pause = RECONNECT_AFTER
            try:
                if not self._listen():
                    _log.warning("events of forms do not arrive: is DATABASE_URL a pooler in transaction mode?")
                    pause = ASK_AGAIN_AFTER
            except psycopg.Error as error:
                _log.warning("listening for form changes failed (%s); trying again", type(error).__name__)
            finally:
                self.listening.clear()
                self._cache.hears_events(False)
            self._stopping.wait(pause.total_seconds())

    def _listen(self) -> bool:
        """Listen until told to stop; False at once where events do not arrive."""
        with self._connect() as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            if not self._hears(connection):
                return False
            # What changed while nobody listened is unknown, so nothing is believed from before.
            self._cache.hears_events(True)
            self.listening.set()
            while not self._stopping.is_set():
                for notice in connection.notifies(timeout=LISTEN_FOR.total_seconds()):
                    tenant, separator, form_id = notice.payload.partition("/")
                    if separator:
                        self._cache.forget_latest(tenant, form_id)
            return True

    def _hears(self, connection: psycopg.Connection) -> bool:
        """Whether an event from another session comes while this one is idle: a pooler passes on none of those."""
        # No form's event looks like this: theirs have a slash.
        token = str(uuid.uuid4())
        with self._connect() as other:
            other.execute("SELECT pg_notify(%s, %s)", (CHANNEL, token))
        notices = connection.notifies(timeout=ECHO_WITHIN.total_seconds())
        return any(notice.payload == token for notice in notices)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            self._url,
            autocommit=True,
            application_name="penstock-form-listener",
            connect_timeout=5,
            prepare_threshold=None,
        )
