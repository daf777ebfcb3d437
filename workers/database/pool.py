"""The connection pool: opened once per process, after any fork."""

from datetime import timedelta

import psycopg
from psycopg_pool import ConnectionPool

from penstock.workers.settings import WorkerSettings

CONNECT_TIMEOUT = timedelta(seconds=5)
IDLE_TIMEOUT = timedelta(seconds=20)


def open_pool(settings: WorkerSettings, application_name: str) -> "ConnectionPool[psycopg.Connection]":
    """Open the pool. It connects in the background: a server that is down is met at the first use.

    No check on each check-out: it was measured to double the cost of a checkout and to stall a pool whose server
    restarted; `Transactions` asks the pool to drop stale connections when one shows.
    """
    return ConnectionPool(
        settings.database_url,
        min_size=min(settings.pool_min, settings.pool_max),
        max_size=settings.pool_max,
        timeout=settings.pool_wait_seconds,
        max_idle=IDLE_TIMEOUT.total_seconds(),
        name=application_name,
        kwargs={
            "application_name": application_name,
            "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
            "autocommit": True,  # transactions begin and end in one place, with their time-outs
            "prepare_threshold": 5 if settings.prepare_statements == "on" else None,
        },
        open=True,
    )
