"""One look from the outside, for a command: connects, looks, and goes."""

from contextlib import ExitStack
from datetime import timedelta

import psycopg

from penstock.producers.queue.connection import connect
from penstock.workers.health.examination import Health
from penstock.workers.health.report import HealthReport
from penstock.workers.health.sources import Sources
from penstock.workers.health.vitals import ReadVitals
from penstock.workers.settings import WorkerSettings

#: A command has no probe behind it that waits; a server far away may take its time.
LIMIT = timedelta(seconds=5)
_PATIENCE = timedelta(seconds=4)
_CONNECT_SECONDS = 3


def look_once(settings: WorkerSettings) -> HealthReport:
    """Examine the deployment; takes about 5 s at the most."""
    with ExitStack() as stack:
        client = stack.enter_context(connect(settings.redis_url, replays=0, patience=_PATIENCE))
        vitals = ReadVitals(settings.metrics_folder) if settings.metrics_folder.is_dir() else None
        # Without a pool, which would keep to itself why a server refuses us.
        health = Health(Sources(settings, lambda: _connect(settings), client, vitals), limit=LIMIT)
        stack.callback(health.close)
        return health.report()


def _connect(settings: WorkerSettings) -> "psycopg.Connection":
    return psycopg.connect(
        settings.database_url,
        autocommit=True,
        connect_timeout=_CONNECT_SECONDS,
        application_name="penstock-health",
        prepare_threshold=None,
    )
