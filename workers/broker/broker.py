"""Penstock's queue as a dramatiq broker: actors, middleware, worker threads and command line of dramatiq work on it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import dramatiq
import redis
from dramatiq.errors import ConnectionClosed, QueueJoinTimeout, QueueNotFound

from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobState
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.errors import PenstockError
from penstock.schemas.names import DEFAULT_TENANT
from penstock.workers.broker.consumer import KnownKind, QueueConsumer, Tools, UnknownKinds, park_of
from penstock.workers.broker.delivery import Delivery, job_id_of, message_body
from penstock.workers.broker.dependencies import Dependency
from penstock.workers.broker.held import Held
from penstock.workers.broker.leases import Leases, new_boot_id
from penstock.workers.broker.pulse import Pulse
from penstock.workers.broker.settlements import Settlements
from penstock.workers.broker.settling import Settler

#: Jobs that one purge step looks at.
_PURGE_STEP = 1_000


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """How long leases last, and what becomes of jobs that nobody can run.

    Attributes:
        lease: a worker that is not heard of for so long is taken for dead.
        poison_limit: workers that a job may take down with it.
        watchdog: have a hung process end itself.
    """

    lease: timedelta = timedelta(seconds=30)
    poison_limit: int = 3
    unknown_kinds: UnknownKinds = field(default_factory=UnknownKinds)
    keep: timedelta = timedelta(hours=1)
    watchdog: bool = False


class PenstockBroker(dramatiq.Broker):
    """A broker on Penstock's queues.

    Args:
        url: where Redis is, as `REDIS_URL`; or else
        client: a client for steps, and `waiting`, one for the waits of idle consumers (the same one unless given).
        namespace: prefix of every key.
        middleware: as dramatiq's brokers take it.
        policy: leases and their limits.
        kinds: job kinds of ours that this process knows; any other is a plain dramatiq actor's.

    Attributes:
        storage: whether PostgreSQL is there, for the kinds that need it; None where that is nobody's concern. To be set
            before the first consumer.
        changed: called when changes of pauses, limits or flags were announced; to be set before the first consumer.
        is_resumed: whether jobs parked under a key may go since their pause is over.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        client: "redis.Redis | None" = None,
        waiting: "redis.Redis | None" = None,
        namespace: str = "penstock",
        middleware: list[dramatiq.Middleware] | None = None,
        policy: LeasePolicy | None = None,
        kinds: Mapping[str, KnownKind] | None = None,
    ) -> None:
        super().__init__(middleware=middleware)
        if client is None:
            client = connect(url or "redis://127.0.0.1:6379/0")
        self.client = client
        self.namespace = namespace
        self.policy = policy or LeasePolicy()
        # dramatiq's own brokers disagree whether this is a set or a mapping; nobody but the broker reads it.
        self.queues = set()
        self._waiting = waiting if waiting is not None else client
        self._kinds = dict(kinds or {})
        self.storage: Dependency | None = None
        self.changed: Callable[[], None] = lambda: None
        self.is_resumed: Callable[[str], bool] = lambda _: False
        self._enqueuer = Enqueuer(client, namespace)
        self._scripts = Scripts(client)
        self._inspector = QueueInspector(client, namespace)
        self._starting = threading.Lock()
        self._tools: Tools | None = None
        self._pulse: Pulse | None = None
        self._left = False
        self._local = threading.local()

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue; nothing happens where it is declared already."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        """The names of all declared queues."""
        return set(self.queues)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> QueueConsumer:
        """Make a consumer. The first one starts the threads that keep this process's leases.

        Args:
            queue_name: a declared queue.
            prefetch: deliveries that may be under way in this process at once.
            timeout: ms that the consumer idles at the most before it gives None.

        Raises:
            QueueNotFound: where the queue was never declared.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        tools, pulse = self._start()
        pulse.serve(queue_name)
        try:
            tools.leases.join(queue_name)
        except (redis.RedisError, OSError) as error:
            raise ConnectionClosed(error) from None
        return QueueConsumer(tools, queue_name, prefetch, timedelta(milliseconds=timeout))

    @property
    def tools(self) -> Tools:
        """What the consumers share. Starts the threads that keep leases, if no consumer did yet."""
        return self._start()[0]

    @property
    def pulse(self) -> Pulse:
        """The thread that keeps leases alive."""
        return self._start()[1]

    def _start(self) -> tuple[Tools, Pulse]:
        # Not in the constructor: dramatiq's command line forks after it, and threads don't survive that.
        with self._starting:
            if self._tools is None or self._pulse is None:
                policy = self.policy
                leases = Leases(self.client, self.namespace, new_boot_id(), policy.lease, policy.poison_limit)
                held = Held()
                settler = Settler(leases, held)
                self._tools = Tools(
                    leases=leases,
                    waiting=self._waiting,
                    held=held,
                    settler=settler,
                    settlements=Settlements(leases.boot, version("penstock")),
                    kinds=self._kinds,
                    is_actor=self._is_plain_actor,
                    unknown_kinds=policy.unknown_kinds,
                    stopping=threading.Event(),
                    leasing=threading.Lock(),
                    needed_by=self._needed_by,
                )
                self._pulse = Pulse(
                    leases,
                    held,
                    self._is_known_park,
                    watchdog=policy.watchdog,
                    held_up_by=self._tools.held_up_by,
                    changed=self.changed,
                )
                settler.start()
                self._pulse.start()
            return self._tools, self._pulse

    def _needed_by(self, queue: str) -> Dependency | None:
        """The dependency that every kind of a queue needs: with one kind that does not, the queue is served."""
        here = [name for name, actor in self.actors.items() if actor.queue_name == queue]
        whole = bool(here) and all(name in self._kinds and self._kinds[name].needs_storage for name in here)
        return self.storage if whole else None

    def _is_plain_actor(self, kind: str) -> bool:
        return kind in self.actors and kind not in self._kinds

    def _is_known_park(self, park: str) -> bool:
        plain = any(park == park_of(name) for name in self.actors)
        return (
            plain
            or self.is_resumed(park)
            or any(
                park == park_of(kind, known_version)
                for kind, known in self._kinds.items()
                for known_version in range(1, known.payload_version + 1)
            )
        )

    def enqueue(self, message: "dramatiq.Message[Any]", *, delay: int | None = None) -> "dramatiq.Message[Any]":
        """Enqueue a message of a plain dramatiq actor, ready `delay` ms from now.

        A message that is enqueued again while it runs here (what dramatiq's `Retries` does) becomes its job's retry,
        in the one step that ends its lease: no failure in between can lose it.

        Raises:
            ConnectionClosed: where Redis does not answer.
            QueueNotFound: where the queue was never declared: nobody would consume it.
        """
        if message.queue_name not in self.queues:
            raise QueueNotFound(message.queue_name)
        self.emit_before("enqueue", message, delay)
        running: Delivery | None = getattr(self._local, "delivery", None)
        if running is not None and running.work is None and running.message_id == message.message_id:
            # Encoded here: a message that can't be must fail now, while the one that runs is still there.
            running.retry = (message_body(message, running.jobs[0].leased.tenant), delay)
        else:
            self._enqueue(message, delay)
        self.emit_after("enqueue", message, delay)
        return message

    def _enqueue(self, message: "dramatiq.Message[Any]", delay: int | None) -> None:
        tenant = str(message.options.get("tenant", DEFAULT_TENANT))
        job = NewJob(
            job_id=job_id_of(message),
            kind=message.actor_name,
            tenant=tenant,
            message=message_body(message, tenant),
            # Who enqueues a message again means it: there is no other content to be in conflict with.
            digest="message",
            keep=self.policy.keep,
            due=_due(message, delay),
        )
        try:
            self._enqueuer.enqueue(message.queue_name, [job], revive=(JobState.DEAD, JobState.DONE))
        except PenstockError as error:
            if isinstance(error.__cause__, (redis.ConnectionError, redis.TimeoutError, OSError)):
                raise ConnectionClosed(error) from None
            raise

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Tell the middleware, as dramatiq does; note what this thread is about to run."""
        if signal == "process_message":
            self._local.delivery = args[0]
            args[0].began_at = time.monotonic()
        super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Tell the middleware, as dramatiq does."""
        super().emit_after(signal, *args, **kwargs)
        if signal in ("process_message", "skip_message"):
            self._local.delivery = None

    def flush(self, queue_name: str) -> None:
        """Remove a queue's waiting jobs. Leased jobs and dead letters stay.

        Raises:
            QueueNotFound: where the queue was never declared.
            PenstockError: of the `QUEUE_` family.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        keys = QueueKeys(self.namespace, queue_name)
        with redis_errors("purging"):
            parks = self.client.hkeys(keys.key("parks"))
            for place in ("ready", "scheduled", *(f"parked:{park.decode()}" for park in parks)):  # type: ignore[union-attr]
                position, seen = 0, _PURGE_STEP
                while seen >= _PURGE_STEP:
                    _, seen, position = self._scripts.run("purge", keys, place, "", _PURGE_STEP, "", position)

    def flush_all(self) -> None:
        """Remove the waiting jobs of every declared queue."""
        for queue_name in self.queues:
            self.flush(queue_name)

    def join(self, queue_name: str, *, interval: int = 100, timeout: int | None = None) -> None:
        """Wait until a queue has no job that waits or runs. For tests.

        Args:
            queue_name: a declared queue.
            interval: ms between two looks.
            timeout: ms to wait at the most.

        Raises:
            QueueJoinTimeout: where that comes first.
            QueueNotFound: where the queue was never declared.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        while True:
            counts = self._inspector.counts(queue_name)
            if not counts.ready + counts.scheduled + counts.leased + counts.parked:
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(interval / 1000)

    def leave(self, deadline: float) -> bool:
        """End the leases that were handed over, until `time.monotonic()` is `deadline`, and take leave of the queues.

        Nothing is leased after that. Returns False where Redis did not take all of them back in time.
        """
        tools, pulse = self._start()
        tools.stopping.set()
        if self.storage is not None:
            self.storage.stop()
        settled = tools.settler.stop(deadline)
        pulse.stop()
        # Where Redis does not answer, a stop must not wait for it once more for each queue.
        for name in pulse.queues if settled and not self._left else ():
            try:
                tools.leases.leave(name)
            except (redis.RedisError, OSError, PenstockError) as error:
                self.logger.warning("could not take leave of the queue %s: %s", name, type(error).__name__)
        self._left = True
        return settled

    def close(self) -> None:
        """Take leave of the queues, where the process consumed any, and close the connections."""
        if self._tools is not None:
            self.leave(time.monotonic() + 5)
        with self._starting:
            self._tools = self._pulse = None
            self._left = False
        self.client.close()
        self._waiting.close()


def _due(message: "dramatiq.Message[Any]", delay: int | None) -> datetime | timedelta | None:
    """When a message is to be ready: after its delay, or at the time that it names itself (ms since 1970)."""
    if delay is not None:
        return timedelta(milliseconds=delay)
    eta = message.options.get("eta")
    return datetime.fromtimestamp(eta / 1000, UTC) if isinstance(eta, (int, float)) else None
