"""The queue against a model of it in plain Python: any steps in any order, with answers lost and workers dying."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.producers.queue.bounds import QueueFullError
from penstock.producers.queue.enqueueing import NewJob, Offer
from penstock.producers.queue.records import JobState
from penstock.workers.broker.leases import LeasedJob, Settlement, Verb
from tests.producers.queue.conftest import QUEUE, Bench, Worker, job
from tests.producers.queue.soundness import read_records
from tests.recovery.servers import full

TENANTS = ["a", "b", "c"]
WORKERS = 3
FAR_MS = 3_600_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
POISON_LIMIT = 2


@dataclass
class Known:
    """What the model knows of one job."""

    new: NewJob
    state: str = "ready"
    holder: str = ""
    attempts: int = 0
    recoveries: int = 0
    crashes: int = 0
    started: bool = False
    due: bool = False
    #: Whether its message counts against limits of tenants: it does where it came since the first such limit.
    counted: bool = True

    @property
    def shown(self) -> str:
        """The state that its producer is told."""
        return "dead" if self.state == "archived" else self.state


@dataclass
class Process:
    """A worker, what it holds, and what it did last."""

    worker: Worker
    last_lease: list[LeasedJob] = field(default_factory=list)
    held: list[LeasedJob] = field(default_factory=list)
    stopping: bool = False


class QueueMachine(RuleBasedStateMachine):
    """Steps of a queue; the model says what each must answer."""

    client: Any
    namespace: str

    @initialize(counting=st.booleans())
    def begin(self, counting: bool) -> None:
        self.bench = Bench(self.client, f"{self.namespace}-{secrets.token_hex(4)}", counted=counting)
        #: Whether a producer has come that has a limit of tenants.
        self.counting = counting
        self.jobs: dict[str, Known] = {}
        self.weights: dict[str, int] = {}
        self.accepted = self.done = self.purged = self.archived = 0
        self.processes = [self.boot() for _ in range(WORKERS)]
        #: The last settlements and their answers, to be sent again.
        self.settled: tuple[Process, list[Settlement]] | None = None

    def boot(self) -> Process:
        return Process(self.bench.worker(poison_limit=POISON_LIMIT))

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.clear()

    def known(self, new: NewJob, state: str = "ready", recoveries: int = 0) -> Known:
        """A job that begins a life."""
        return Known(new, state, recoveries=recoveries, counted=self.counting)

    def state_of(self, state: str) -> list[str]:
        return [job_id for job_id, known in self.jobs.items() if known.state == state]

    @rule(tenant=st.sampled_from(TENANTS), count=st.integers(1, 4), scheduled=st.booleans(), urgent=st.booleans())
    def enqueue(self, tenant: str, count: int, scheduled: bool, urgent: bool) -> None:
        due = timedelta(milliseconds=FAR_MS) if scheduled else None
        new = [job(tenant, due=due, urgent=urgent) for _ in range(count)]
        assert [one.offer for one in self.bench.offer(*new)] == [Offer.ACCEPTED] * count
        self.accepted += count
        self.jobs |= {str(one.job_id): self.known(one, "scheduled" if scheduled else "ready") for one in new}

    @rule(tenants=st.lists(st.sampled_from(TENANTS), min_size=1, max_size=6), limit=st.integers(1, 12),
          of_tenant=st.integers(0, 5))  # fmt: skip
    def enqueue_within(self, tenants: list[str], limit: int, of_tenant: int) -> None:
        """A producer with limits: each job goes in as long as the queue and its tenant are below theirs."""
        new = [job(tenant) for tenant in tenants]
        taken = []
        self.counting |= of_tenant > 0
        for one in new:
            held = [known for known in self.jobs.values() if known.state not in {"done", "archived"}]
            of_its_tenant = [known for known in held if known.counted and known.new.tenant == one.tenant]
            if len(held) < limit and not (of_tenant and len(of_its_tenant) >= of_tenant):
                self.jobs[str(one.job_id)] = self.known(one)
                taken.append(one.job_id)
        self.accepted += len(taken)
        enqueuer = self.bench.within(jobs=limit, tenant_jobs=of_tenant)
        if len(taken) == len(new):
            assert [one.job_id for one in enqueuer.enqueue(QUEUE, new)] == taken
            return
        with pytest.raises(QueueFullError) as caught:
            enqueuer.enqueue(QUEUE, new)
        assert [one.job_id for one in caught.value.offered if one] == taken

    @rule(tenant=st.sampled_from(TENANTS), weight=st.integers(1, 5))
    def weigh(self, tenant: str, weight: int) -> None:
        assert self.bench.weigh(tenant, weight) == self.weights.get(tenant, 1)
        self.weights[tenant] = weight

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), other=st.booleans(), revive=st.booleans(), urgent=st.booleans())
    def enqueue_again(self, data: st.DataObject, other: bool, revive: bool, urgent: bool) -> None:
        known = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]
        new = known.new
        offered = replace(new, due=None, urgent=urgent, digest="other" if other else new.digest)
        states = (JobState.DEAD, JobState.DONE) if revive else ()
        (told,) = self.bench.offer(offered, revive=states)
        if other:
            assert (told.offer, told.state) == (Offer.CONFLICT, known.shown)
        elif revive and known.state in {"dead", "archived", "done"}:
            assert (told.offer, told.state) == (Offer.REVIVED, "ready")
            self.accepted += known.state != "dead"
            recoveries = known.recoveries if known.state == "dead" else 0
            self.jobs[str(new.job_id)] = self.known(new, recoveries=recoveries)
        else:
            assert (told.offer, told.state) == (Offer.KNOWN, known.shown)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), later=st.sampled_from([-1, 0, 1, FAR_MS]))
    def call_back(self, data: st.DataObject, later: int) -> None:
        """An operator gives a dead job a new life with other content, from a death that may be another one."""
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        known = self.jobs[job_id]
        at = int(self.bench.record(job_id).get("died_at", self.bench.now())) + later
        edited = job(known.new.tenant, secrets.token_hex(4), job_id=known.new.job_id)
        (told,) = self.bench.offer(replace(edited, revives=EPOCH + timedelta(milliseconds=at)))
        if known.shown == "dead" and later >= 0:
            assert (told.offer, told.state) == (Offer.REVIVED, "ready")
            self.accepted += known.state == "archived"
            self.jobs[job_id] = self.known(edited, recoveries=known.recoveries if known.state == "dead" else 0)
        else:
            assert (told.offer, told.state) == (Offer.KNOWN, known.shown)

    @precondition(lambda self: self.state_of("dead"))
    @rule(data=st.data())
    def archive(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.state_of("dead"))))
        at = self.bench.record(job_id)["died_at"]
        for gone in (1, 0):
            assert self.bench.scripts.run("archived", self.bench.keys, FAR_MS, "", "", job_id, at) == [gone, 0]
        self.jobs[job_id].state = "archived"
        self.archived += 1

    @rule(index=st.integers(0, WORKERS - 1), wanted=st.integers(1, 6))
    def lease(self, index: int, wanted: int) -> None:
        process = self.processes[index]
        leased = process.worker.lease(wanted)
        could = {job_id for job_id, known in self.jobs.items() if known.state == "ready" or known.due}
        assert {one.job_id for one in leased} <= could
        assert len(leased) == len({one.job_id for one in leased}) <= wanted
        process.last_lease = leased
        process.held += leased
        # Whatever was due is ready now, leased or not.
        for job_id in could:
            self.jobs[job_id].state, self.jobs[job_id].due = "ready", False
        for one in leased:
            known = self.jobs[one.job_id]
            known.state, known.holder = "leased", process.worker.boot
            assert (one.attempts, one.recoveries, one.crashes) == (known.attempts, known.recoveries, known.crashes)
            assert (one.message, one.tenant) == (known.new.message, known.new.tenant)

    @rule(index=st.integers(0, WORKERS - 1))
    def lease_again(self, index: int) -> None:
        """The answer was lost, so the request is sent once more."""
        process = self.processes[index]
        still = [one for one in process.last_lease if one in process.held]
        if not still:
            return
        again = process.worker.ask(6, again=True).jobs
        assert [one.job_id for one in again] == [one.job_id for one in still]
        assert {one.token for one in again} == {one.token for one in still}

    @rule(index=st.integers(0, WORKERS - 1), data=st.data())
    def start(self, index: int, data: st.DataObject) -> None:
        held = self.processes[index].held
        if held:
            leased = data.draw(st.sampled_from(held))
            assert self.processes[index].worker.start(leased)
            self.jobs[leased.job_id].started = True

    @rule(index=st.integers(0, WORKERS - 1), data=st.data())
    def settle(self, index: int, data: st.DataObject) -> None:
        process = self.processes[index]
        if not process.held:
            return
        chosen = data.draw(st.lists(st.sampled_from(process.held), min_size=1, unique_by=lambda one: one.job_id))
        settlements = [self._settlement(one, data) for one in chosen]
        assert process.worker.settle_many(settlements) == [True] * len(settlements)
        self.settled = process, settlements
        process.held = [one for one in process.held if one not in chosen]
        for settlement in settlements:
            self._end(self.jobs[settlement.job.job_id], settlement)

    @staticmethod
    def _settlement(leased: LeasedJob, data: st.DataObject) -> Settlement:
        verb, detail = data.draw(st.sampled_from(ENDS))
        message = None if verb is Verb.ACK else data.draw(st.sampled_from(MESSAGES))
        return Settlement(leased, verb, detail, message)

    def _end(self, known: Known, settlement: Settlement) -> None:
        states = {
            Verb.ACK: "done",
            Verb.RETRY: "scheduled",
            Verb.POSTPONE: "scheduled",
            Verb.BURY: "dead",
            Verb.RELEASE: "ready",
            Verb.PARK: "parked",
        }
        known.state, known.started = states[settlement.verb], False
        known.due = known.state == "scheduled" and settlement.detail["delay"] == 0
        known.attempts += settlement.verb is Verb.RETRY
        if settlement.message is not None:
            known.new = replace(known.new, message=settlement.message)
            known.counted = self.counting
        self.done += settlement.verb is Verb.ACK

    @precondition(lambda self: self.settled)
    @rule()
    def settle_again(self) -> None:
        """The answer was lost. Nothing changes, whatever has become of the jobs: the invariants see to it."""
        assert self.settled is not None
        process, settlements = self.settled
        before = self.bench.places()
        process.worker.settle_many(settlements)
        assert self.bench.places() == before

    @rule(index=st.integers(0, WORKERS - 1), data=st.data())
    def settle_what_is_somebody_elses(self, index: int, data: st.DataObject) -> None:
        process, other = self.processes[index], self.processes[(index + 1) % WORKERS]
        if other.held:
            (verb, detail) = data.draw(st.sampled_from(ENDS))
            # With a token of its own.
            (leased,) = data.draw(st.lists(st.sampled_from(other.held), min_size=1, max_size=1))
            stolen = LeasedJob(
                **{name: getattr(leased, name) for name in leased.__slots__ if name != "token"}, token="x/1"
            )
            assert process.worker.settle_many([Settlement(stolen, verb, detail)]) == [False]

    @rule(index=st.integers(0, WORKERS - 1))
    def tick(self, index: int) -> None:
        process = self.processes[index]
        tick = process.worker.tick(stopping=process.stopping)
        assert tick.held == len(process.held)
        assert tick.recovered == 0
        due = [known for known in self.jobs.values() if known.due]
        assert tick.promoted == len(due)
        for known in due:
            known.state, known.due = "ready", False

    @rule(index=st.integers(0, WORKERS - 1), stopping=st.booleans(), leaves=st.booleans())
    def die(self, index: int, stopping: bool, leaves: bool) -> None:
        """A worker dies, another one recovers its jobs, and a new one comes in its place."""
        process = self.processes[index]
        process.worker.tick(stopping=stopping)
        if leaves:
            assert process.worker.leave() == len(process.held)
        else:
            process.worker.fall_silent()
        tick = self.bench.worker(poison_limit=POISON_LIMIT).tick(member=False)
        assert tick.recovered == len(process.held)
        poison = 0
        for leased in process.held:
            known = self.jobs[leased.job_id]
            known.recoveries += 1
            known.crashes += known.started and not stopping
            known.state = "ready"
            if known.started and not stopping and known.crashes >= POISON_LIMIT:
                known.state = "dead"
                poison += 1
            known.started = False
        assert tick.buried == poison
        for known in self.jobs.values():
            if known.due:
                known.state, known.due = "ready", False
        for leased in process.held:
            assert not process.worker.settle(leased, Verb.ACK), "it comes back from the dead, too late"
        self.processes[index] = self.boot()

    @rule(at_once=st.integers(0, 4), key=st.sampled_from(["p", "q"]))
    def release(self, at_once: int, key: str) -> None:
        parked = self.bench.places().places.get(f"parked:{key}", [])
        worker = self.bench.worker()
        gone = parked[:at_once]
        assert worker.release(key, at_once) == (len(gone), len(parked) - len(gone))
        by_seq = sorted(parked, key=lambda job_id: int(self.bench.record(job_id)["seq"]))
        assert parked == by_seq
        for job_id in gone:
            self.jobs[job_id].state = "ready"

    @rule(tenant=st.sampled_from(["", *TENANTS]), place=st.sampled_from(["ready", "scheduled", "parked:p"]))
    def purge(self, tenant: str, place: str) -> None:
        before = self.bench.places().places
        removed, _, _ = self.bench.scripts.run("purge", self.bench.keys, place, tenant, 1_000, "", 0)
        inside = [one for name, ids in before.items() for one in ids if name.startswith((place, *self._lanes(place)))]
        gone = [one for one in inside if tenant in {"", self.jobs[one].new.tenant}]
        assert removed == len(gone)
        self.purged += removed
        for job_id in gone:
            del self.jobs[job_id]

    @staticmethod
    def _lanes(place: str) -> list[str]:
        return ["alone", "urgent"] if place == "ready" else []

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.bench.require_sound()
        counted = {"accepted": self.accepted, "done": self.done, "purged": self.purged, "archived": self.archived}
        for state in ("ready", "scheduled", "leased", "parked", "dead"):
            counted[state] = len(self.state_of(state))
        assert self.bench.counts() == {name: count for name, count in counted.items() if count}
        noted = {job_id for job_id, record in read_records(self.client, self.bench.keys).items() if "held" in record}
        assert noted == {
            job_id for job_id, known in self.jobs.items() if known.counted and known.state not in {"done", "archived"}
        }
        for process in self.processes:
            held = self.bench.places().places.get(f"leased:{process.worker.boot}", [])
            assert sorted(held) == sorted(one.job_id for one in process.held)


ENDS: list[tuple[Verb, dict[str, Any]]] = [
    (Verb.ACK, {}),
    (Verb.RETRY, {"delay": 0, "code": "C", "told": "t", "entry": '{"outcome":"retried"}'}),
    (Verb.RETRY, {"delay": FAR_MS}),
    (Verb.POSTPONE, {"delay": FAR_MS, "blocked_by": "b"}),
    (Verb.BURY, {"code": "C", "told": "t"}),
    (Verb.RELEASE, {}),
    (Verb.RELEASE, {"alone": True}),
    (Verb.PARK, {"key": "p", "blocked_by": "p"}),
    (Verb.PARK, {"key": "q", "blocked_by": "q", "offer": FAR_MS, "limit": FAR_MS}),
]
#: What a job's message may become, so that its size changes; None leaves it.
MESSAGES = [None, None, b"", b"short", b"a longer message than any had before"]


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as made:
        yield made


def test_any_steps_in_any_order_lose_and_double_nothing(client: "redis.Redis", namespace: str) -> None:
    machine = type("Machine", (QueueMachine,), {"client": client, "namespace": namespace})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=60 if full() else 25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
