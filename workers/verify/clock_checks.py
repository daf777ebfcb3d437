"""This machine's clock against the servers'. Leases go by Redis's, rows and posts by PostgreSQL's."""

from collections.abc import Callable, Iterator

from penstock.producers.queue.connection import redis_errors
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

#: So far apart, posts are late for everybody to see, and certificates and tokens are not good yet or any more.
_FAILS_FROM_SECONDS = 60.0
_REMEDY = "Keep all machines' clocks by NTP (chrony or systemd-timesyncd), and see which of the two is wrong."


def check_postgresql_clock(target: Target) -> Iterator[Result]:
    """How far PostgreSQL's clock is from ours.

    Raises:
        PenstockError: of the family `STORAGE_`.
    """
    with target.database() as connection:

        def ask() -> float:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            return float(row[0]) if row else 0.0

        yield _compare(target, "clock_postgresql", "PostgreSQL", ask)


def check_redis_clock(target: Target) -> Iterator[Result]:
    """How far Redis's clock is from ours.

    Raises:
        PenstockError: of the family `QUEUE_`.
    """
    with target.redis() as client, redis_errors("asking for its time"):
        client.ping()  # connecting is no part of what is measured

        def ask() -> float:
            seconds, micros = client.time()
            return float(seconds) + float(micros) / 1e6

        yield _compare(target, "clock_redis", "Redis", ask)


def _compare(target: Target, name: str, server: str, ask: Callable[[], float]) -> Result:
    before = target.clock()
    there = ask()
    after = target.clock()
    # It was asked at some moment between the two; only what lies outside of them is a difference.
    apart = max(before - there, there - after, 0.0)
    told = f"this machine and {server} are {apart:.1f} s apart"
    if apart > _FAILS_FROM_SECONDS:
        return Result.fail(name, told, _REMEDY)
    return Result.warn(name, told, _REMEDY) if apart > target.clock_tolerance.total_seconds() else Result.ok(name, told)
