"""The gates' own connection to Redis: what asks a gate must not wait long where Redis is down."""

from datetime import timedelta

import redis

from penstock.producers.queue.connection import connect

#: For one try in all. A worker has its decision within 0.5 s, whether Redis refuses, is silent or is frozen.
GATE_PATIENCE = timedelta(milliseconds=400)


def connect_gates(url: str) -> "redis.Redis":
    """Make a client for gates: one try, of 0.4 s at the most. Safe to share between threads.

    A try whose answer was lost is not replayed: what it took counts, so that a limit is never exceeded.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the URL is not usable.
    """
    return connect(url, replays=0, patience=GATE_PATIENCE)
