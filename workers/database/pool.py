"""The connection pool: opened once per process, after any fork."""

from datetime import timedelta

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from penstock.workers.settings import WorkerSettings

CONNECT_TIMEOUT = timedelta(seconds=5)
IDLE_TIMEOUT = timedelta(seconds=20)
#: How long the pool tries by itself to replace a connection. Its waits double: left to itself, it would be asleep for
#: half a minute when a server comes back after one. What it gives up is made anew at the first use.
RECONNECT_TIMEOUT = timedelta(seconds=2)
#: What of the way to the server is bounded where the URL does not say otherwise: a host that lost its power closes no
#: connection, and the kernel would go on sending to it for a quarter of an hour.
NETWORK_LIMITS = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
}


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
        reconnect_timeout=RECONNECT_TIMEOUT.total_seconds(),
        reconnect_failed=_try_again_for_who_waits,
        name=application_name,
        kwargs=_network_limits(settings.database_url)
        | {
            "application_name": application_name,
            "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
            "autocommit": True,  # transactions begin and end in one place, with their time-outs
            "prepare_threshold": 5 if settings.prepare_statements == "on" else None,
        },
        open=True,
    )


def _try_again_for_who_waits(pool: "ConnectionPool[psycopg.Connection]") -> None:
    """Begin anew: a client that came while the last try was failing has set none off, and would wait in vain."""
    if pool.get_stats().get("requests_waiting"):
        pool.check()


def require_answer(settings: WorkerSettings, application_name: str) -> None:
    """Connect once, beside the pool: of why it can't connect, a pool tells nothing but that time ran out.

    Raises:
        psycopg.OperationalError: it can't, and why.
    """
    psycopg.connect(
        settings.database_url,
        application_name=application_name,
        connect_timeout=int(CONNECT_TIMEOUT.total_seconds()),
        prepare_threshold=None,
    ).close()


def _network_limits(url: str) -> dict[str, int]:
    """The limits that the URL does not set itself."""
    said = conninfo_to_dict(url)
    return {name: limit for name, limit in NETWORK_LIMITS.items() if name not in said}
