"""What goes wrong with a system that is watched: how it begins, which alert tells it, and what mends it."""

import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from tests.deploy.monitoring.watched_system import QUEUE, Step, WatchedSystem

_WHY = ("--reason", "a test", "--yes")
#: So that a post of the tests stays where it is.
_KIND = "scheduled_post.publish"


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them.

    Attributes:
        alert: that must fire from its beginning on, and clear after its end.
    """

    name: str
    alert: str
    begin: Step
    end: Step

    def __str__(self) -> str:
        return self.name


def _kill_worker(system: WatchedSystem) -> None:
    """Killed with a job in hand."""
    system.post(4, takes_seconds=5)
    system.wait_for_leases(2)
    system.kill("worker")


def _kill_letters(system: WatchedSystem) -> None:
    system.post(25, platform="tiktok", status=400)


def _discard(system: WatchedSystem) -> None:
    system.penstock("dead", "discard", "--all", *_WHY)


def _fill_redis(system: WatchedSystem) -> None:
    client = system.valkey.client()
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.04))


def _empty_redis(system: WatchedSystem) -> None:
    system.valkey.client().config_set("maxmemory", 0)


def _crowd(system: WatchedSystem) -> None:
    """Four threads share a connection, and who has it waits for a lock."""
    system.kill("worker")
    crowd = {"PENSTOCK_POOL_MAX": "1", "PENSTOCK_WORKER_THREADS": "4", "PENSTOCK_POOL_WAIT_SECONDS": "0.5"}
    system.start("worker", **crowd)
    held = system.notes["lock"] = psycopg.connect(system.postgres.database.admin_url)
    held.execute("LOCK TABLE penstock.job_effects IN ACCESS EXCLUSIVE MODE")
    system.post(40)


def _let_go(system: WatchedSystem) -> None:
    system.notes["lock"].close()
    system.kill("worker")
    system.start("worker")


def _be_late(system: WatchedSystem) -> None:
    system.penstock("queue", "pause", "--kind", _KIND, *_WHY)
    with system.desk() as desk:
        account = desk.account()
        system.notes["late"] = desk.post(account, datetime.now(UTC) - timedelta(seconds=20))


def _cancel(system: WatchedSystem) -> None:
    system.penstock("posts", "cancel", system.notes["late"], *_WHY)


def _lose_an_answer(system: WatchedSystem) -> None:
    system.penstock("queue", "pause", "--kind", _KIND, *_WHY)
    with system.desk() as desk:
        post = desk.post(desk.account(), datetime.now(UTC))
        desk.wait_for_state(post, "claimed")
        desk.lose_the_answer(post)
    system.notes["unknown"] = post


def _settle(system: WatchedSystem) -> None:
    system.penstock("posts", "settle", system.notes["unknown"], "--live", "1", *_WHY)


def _refuse_account(system: WatchedSystem) -> None:
    with system.desk() as desk:
        account = desk.account()
        desk.refuse(account)
    system.notes["refused"] = account


def _read_only(system: WatchedSystem) -> None:
    system.postgres.database.query("ALTER SYSTEM SET default_transaction_read_only = on")
    system.postgres.database.query("SELECT pg_reload_conf()")


def _writable(system: WatchedSystem) -> None:
    system.postgres.database.query("ALTER SYSTEM RESET default_transaction_read_only")
    system.postgres.database.query("SELECT pg_reload_conf()")


def _pause(system: WatchedSystem) -> None:
    system.penstock("queue", "pause", QUEUE, *_WHY)
    system.post(5)


#: Those that don't get in each other's way: they may be there at once.
BESIDE = (
    Fault("a circuit is forced open", "PenstockCircuitOpen",
          lambda system: system.penstock("circuit", "open", "platform:x", *_WHY),
          lambda system: system.penstock("circuit", "auto", "platform:x", *_WHY)),
    Fault("jobs fail for good", "PenstockDeadLettersGrow", _kill_letters, _discard),
    Fault("a post is late", "PenstockPostsLate", _be_late, _cancel),
    Fault("a post's answer is lost", "PenstockPostsUnknownOutcome", _lose_an_answer, _settle),
    Fault("a platform refuses an account", "PenstockAccountsToAuthorise", _refuse_account,
          lambda system: system.penstock("accounts", "disable", system.notes["refused"], *_WHY)),
)  # fmt: skip

#: Each for itself.
ALONE = (
    Fault("PostgreSQL is stopped", "PenstockPostgresqlDown",
          lambda system: system.postgres.stop_immediately(), lambda system: system.postgres.start()),
    Fault("Redis is stopped", "PenstockRedisDown",
          lambda system: system.valkey.kill9(), lambda system: system.valkey.start()),
    Fault("a queue is paused", "PenstockQueuePaused", _pause,
          lambda system: system.penstock("queue", "resume", QUEUE, *_WHY)),
    Fault("Redis is nearly full", "PenstockRedisMemoryHigh", _fill_redis, _empty_redis),
    Fault("the worker is killed at work", "PenstockWorkersDie", _kill_worker, lambda system: system.start("worker")),
    Fault("the sidecar is frozen", "PenstockTargetDown",
          lambda system: system.send("sidecar", signal.SIGSTOP),
          lambda system: system.send("sidecar", signal.SIGCONT)),
    Fault("the worker is frozen", "PenstockProcessFrozen",
          lambda system: system.send("worker", signal.SIGSTOP),
          lambda system: system.send("worker", signal.SIGCONT)),
    Fault("the scheduler is stopped", "PenstockNoScheduler",
          lambda system: system.kill("scheduler"), lambda system: system.start("scheduler")),
    Fault("PostgreSQL takes no writes", "PenstockStorageHeld", _read_only, _writable),
    Fault("the pool is exhausted", "PenstockPoolExhausted", _crowd, _let_go),
)  # fmt: skip
