"""Workers in this process, on a real Redis and a real PostgreSQL, with one actor that does as it is told."""

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import dramatiq
import psycopg
import pytest
import redis
from dramatiq.middleware import Retries
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, ConfigDict

from penstock.producers import JobState, Producer
from penstock.producers.queue.connection import connect
from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.job_view import JobView
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.broker.actors import declare_actors, known_kinds
from penstock.workers.broker.broker import LeasePolicy, PenstockBroker
from penstock.workers.broker.gating import Admit, admit_all
from penstock.workers.broker.performing import Performer
from penstock.workers.broker.stopping import stop_worker
from penstock.workers.broker.time_limits import TimeLimits
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.execution import Execution
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.middleware import middleware
from penstock.workers.protection.gates import JobGates
from penstock.workers.registry import Policy, Registration
from penstock.workers.settings import WorkerSettings
from tests.producers.queue.soundness import require_sound
from tests.system import Database, wait_for

QUEUE = Queue.POSTS
#: What every payload holds, and what must be found nowhere else.
ANSWER = "my-very-private-answer"
POLICY = Policy(max_retries=2, backoff_base=timedelta(milliseconds=10), backoff_cap=timedelta(milliseconds=20))

Behaviour = Callable[[Job], Outcome]


class Chore(BaseModel):
    """A payload. Not of the class of those that are known by their modules: it must not stay behind for other tests."""

    model_config = ConfigDict(extra="forbid")
    kind: ClassVar[str] = "chore.do"
    queue: ClassVar[Queue] = QUEUE
    payload_version: ClassVar[int] = 2

    name: str
    answer: str


class Errand(Chore):
    """Another kind in the same queue."""

    kind: ClassVar[str] = "errand.run"


def finished(_: Job) -> Outcome:
    return Done()


@dataclass
class Actor:
    """Does what the job's name is to do. Its effect is a row, in the transaction that it is given."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    #: Of each start: the number of the attempt, by the job's name.
    attempts: dict[str, list[int]] = field(default_factory=dict)
    #: The names of the jobs of each delivery.
    deliveries: list[list[str]] = field(default_factory=list)

    def __call__(self, jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        names = [Chore.model_validate_json(job.payload).name for job in jobs]
        self.deliveries.append(names)
        for name, job in zip(names, jobs, strict=True):
            self.attempts.setdefault(name, []).append(job.attempt)
            transaction.connection.execute("INSERT INTO public.chores VALUES (%s, %s)", (job.job_id, name))
        return [self.behaviours.get(name, finished)(job) for name, job in zip(names, jobs, strict=True)]


@dataclass
class Shop:
    """A worker of this process."""

    broker: PenstockBroker
    worker: dramatiq.Worker
    limits: TimeLimits
    stopped: bool = False

    def stop(self, grace: timedelta = timedelta(seconds=5)) -> int:
        """Stop it as a process does; returns how many jobs were given back although they were started."""
        self.stopped = True
        left = stop_worker(self.worker, self.broker, self.limits, grace)
        self.broker.close()
        self.limits.stop()
        for thread in [*self.worker.workers, *self.worker.consumers.values()]:
            thread.join(10)
        return left


@dataclass
class Floor:
    """A queue, its producer, and workers on demand."""

    settings: WorkerSettings
    namespace: str
    client: Any
    producer: Producer
    pool: "ConnectionPool[psycopg.Connection]"
    database: Database
    actor: Actor = field(default_factory=Actor)
    shops: list[Shop] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = QueueKeys(self.namespace, QUEUE)
        self.inspector = QueueInspector(self.client, self.namespace)

    def broker(self, *, client: Any = None, waiting: Any = None, **options: Any) -> PenstockBroker:
        """A broker without an actor; threads start with its first consumer."""
        return PenstockBroker(
            client=connect(self.settings.redis_url, replays=0) if client is None else client,
            waiting=connect(self.settings.redis_url, replays=0) if waiting is None else waiting,
            namespace=self.namespace,
            **options,
        )

    def prepare(
        self,
        *,
        policy: Policy = POLICY,
        kinds: Sequence[type[Chore]] = (Chore,),
        threads: int = 2,
        leases: LeasePolicy | None = None,
        client: Any = None,
        gates: Callable[[Job], JobGates] | None = None,
        admit: Callable[[Mapping[str, Registration]], Admit] = lambda _: admit_all,
    ) -> Shop:
        """A worker that is not started yet; `admit` makes its gatekeeper of the registrations."""
        registrations: dict[str, Any] = {
            kind.kind: Registration(kind, lambda _: self.actor, policy, gates=gates)  # type: ignore[arg-type]
            for kind in kinds
        }
        transactions = Transactions(self.pool, self.settings, lambda _: None)
        execution = Execution(dict.fromkeys(registrations, self.actor), registrations, transactions, 1_000_000)
        limits = TimeLimits(lambda: pytest.fail("a delivery hangs"))
        broker = self.broker(client=client, middleware=middleware(), policy=leases, kinds=known_kinds(registrations))
        declare_actors(broker, registrations, Performer(execution, broker, limits, admit(registrations)))
        worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=100)
        worker.queue_prefetch = 2 * threads
        shop = Shop(broker, worker, limits)
        self.shops.append(shop)
        return shop

    def open(self, **options: Any) -> Shop:
        """A worker that runs."""
        shop = self.prepare(**options)
        shop.limits.start()
        shop.worker.start()
        return shop

    def put(self, name: str, behaviour: Behaviour | None = None, *, kind: str = Chore.kind, version: int = 1) -> UUID:
        """Enqueue a job of that name."""
        if behaviour is not None:
            self.actor.behaviours[name] = behaviour
        body = json.dumps({"name": name, "answer": ANSWER}).encode()
        return self.producer.enqueue(EncodedPayload(kind, QUEUE, version, body, None)).job_id

    def put_raw(self, job_id: UUID, message: bytes, **facts: Any) -> None:
        """Enqueue bytes as a producer that is none of ours."""
        members: dict[str, Any] = {"kind": Chore.kind, "tenant": "acme", "digest": "d", "keep": timedelta(hours=1)}
        new = NewJob(job_id=job_id, message=message, **(members | facts))
        Enqueuer(self.client, self.namespace).enqueue(QUEUE, [new])

    def view(self, job_id: UUID) -> JobView:
        found = self.inspector.find(job_id)
        assert found is not None
        return found

    def wait_until(self, job_id: UUID, *states: str) -> JobView:
        """Wait until a job is in one of these states."""

        def is_there() -> bool:
            record = self.producer.job(job_id)
            return record is not None and record.state in states

        wait_for(is_there, f"{job_id} to be {' or '.join(states)}")
        return self.view(job_id)

    def ended(self, job_id: UUID) -> JobView:
        return self.wait_until(job_id, JobState.DONE, JobState.DEAD)

    def effects(self, job_id: UUID) -> int:
        return int(self.database.value("SELECT count(*) FROM public.chores WHERE job_id = %s", job_id))

    def held_by_redis(self, shop: Shop) -> int:
        return int(self.client.zcard(self.keys.key(f"leased:{shop.broker.tools.leases.boot}")))

    def counts(self) -> dict[str, int]:
        """The counts that are not 0."""
        told = self.inspector.counts(QUEUE)
        names = ("accepted", "done", "ready", "scheduled", "leased", "parked", "dead")
        return {name: getattr(told, name) for name in names if getattr(told, name)}


@pytest.fixture(scope="module")
def chores(database: Database) -> None:
    database.query("CREATE TABLE public.chores (job_id uuid, name text)")
    database.query("GRANT ALL ON public.chores TO public")


@pytest.fixture
def floor(settings: WorkerSettings, namespace: str, database: Database, chores: None) -> Iterator[Floor]:
    """A queue of the test's own; at the end its workers are stopped, and it must be sound."""
    own = f"{namespace}-{secrets.token_hex(4)}"
    with (
        redis.Redis.from_url(settings.redis_url) as client,
        Producer(settings.redis_url, tenant="acme", namespace=own) as producer,
        open_pool(settings, "penstock-broker-test") as pool,
    ):
        made = Floor(settings, own, client, producer, pool, database)
        yield made
        for shop in made.shops:
            if not shop.stopped:
                shop.stop(timedelta(seconds=2))
        require_sound(client, own, QUEUE)


def message(job_id: UUID, payload: bytes, **header: Any) -> bytes:
    """A job on the wire, with these members of the header replaced."""
    members = {
        "v": 1,
        "id": str(job_id),
        "kind": Chore.kind,
        "queue": QUEUE,
        "tenant": "acme",
        "enqueued_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(members | header).encode() + b"\n" + payload


class Gate:
    """Holds an actor until the test lets it go."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self._outcome = outcome or Done()

    def __call__(self, _: Job) -> Outcome:
        self.entered.set()
        # In small steps: an interrupt lands between two.
        for _step in range(3_000):
            if self.go_on.wait(0.01):
                return self._outcome
        raise AssertionError("nobody opened the gate")

    def wait(self) -> None:
        assert self.entered.wait(20), "nobody came"


def failing(times: int, error: BaseException) -> Behaviour:
    """Fails so often, and is done then."""
    left = iter(range(times))

    def behave(_: Job) -> Outcome:
        if next(left, None) is not None:
            raise error
        return Done()

    return behave


@dataclass
class Stage:
    """A broker with plain actors and its worker."""

    broker: PenstockBroker
    worker: dramatiq.Worker

    def actor(self, function: Callable[..., Any], **options: Any) -> "dramatiq.Actor[..., Any]":
        return dramatiq.actor(function, broker=self.broker, queue_name=QUEUE, **options)

    def join(self) -> None:
        self.broker.join(QUEUE, timeout=20_000)


Play = Callable[..., Stage]


@pytest.fixture
def play(floor: Floor) -> Iterator[Play]:
    """Makes a stage; its worker starts with `worker.start()`."""
    made: list[Stage] = []

    def make(*extra: dramatiq.Middleware, client: Any = None, retries: bool = True) -> Stage:
        middleware = [*([Retries(min_backoff=20, max_backoff=50)] if retries else []), *extra]
        broker = floor.broker(client=client, middleware=middleware)
        made.append(Stage(broker, dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)))
        return made[-1]

    yield make
    for stage in made:
        if stage.worker.workers:
            stage.worker.stop(timeout=5_000)
        stage.broker.close()
