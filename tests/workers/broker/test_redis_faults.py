"""Redis fails around a step, before it or after: the step is run again, and nothing is lost or done twice."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
import redis

from penstock.producers import JobState
from penstock.producers.queue.connection import connect
from penstock.schemas.errors import Code
from penstock.workers.broker.broker import LeasePolicy
from penstock.workers.job import Dead, Done, Job, Outcome, Retry
from penstock.workers.registry import Policy
from tests.system import wait_for
from tests.workers.broker.conftest import QUEUE, Floor, Gate, failing
from tests.workers.broker.faults import FaultyClient

ERRORS: dict[str, Callable[[], Exception]] = {
    "connection": lambda: redis.ConnectionError("cut"),
    "timeout": lambda: redis.TimeoutError("slow"),
    "memory": lambda: redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"),
    "response": lambda: redis.ResponseError("OOM command not allowed"),
    "demoted": lambda: redis.ReadOnlyError("You can't write against a read only replica."),
    "loading": lambda: redis.BusyLoadingError("Redis is loading the dataset in memory"),
    "system": lambda: OSError("broken pipe"),
}

each_error = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
each_side = pytest.mark.parametrize("when", ["before", "after"])


@pytest.fixture
def client(floor: Floor) -> FaultyClient:
    return FaultyClient(connect(floor.settings.redis_url, replays=0))


@each_side
@each_error
def test_ends_of_leases_are_told_until_redis_has_them(
    floor: Floor, client: FaultyClient, error: Callable[[], Exception], when: str
) -> None:
    floor.open(client=client)
    client.fail("settle", 3, when=when, error=error)
    ids = [
        floor.put("done"),
        floor.put("dead", lambda _: Dead(Code.BATCH_CONFLICT, "told")),
        floor.put("again", failing(1, ValueError())),
    ]
    views = [floor.ended(job_id) for job_id in ids]
    assert [view.state for view in views] == ["done", "dead", "done"]
    assert client.failed["settle"] == 3
    # Each attempt is told once, however often Redis was.
    assert floor.actor.attempts == {"done": [1], "dead": [1], "again": [1, 2]}
    assert (len(views[1].history), views[1].attempts, views[2].attempts) == (1, 1, 1)
    assert [floor.effects(job_id) for job_id in ids] == [1, 1, 1]
    assert floor.counts() == {"accepted": 3, "done": 2, "dead": 1}


@each_side
@each_error
def test_a_lease_whose_answer_is_lost_is_asked_for_again(
    floor: Floor, client: FaultyClient, error: Callable[[], Exception], when: str
) -> None:
    client.fail("lease", 3, when=when, error=error)
    ids = [floor.put(f"j{number}") for number in range(5)]
    floor.open(client=client)
    for job_id in ids:
        assert floor.ended(job_id).state == "done"
    assert client.failed["lease"] == 3
    assert floor.actor.attempts == {f"j{number}": [1] for number in range(5)}


@each_side
def test_a_start_that_can_not_be_told_is_told_again(floor: Floor, client: FaultyClient, when: str) -> None:
    job_id = floor.put("suspect")
    lost = floor.broker()
    assert len(lost.tools.leases.lease(QUEUE, 1, 1).jobs) == 1
    lost.pulse.stop()
    floor.client.zadd(floor.keys.key("workers"), {lost.tools.leases.boot: 1})
    client.fail("start", 2, when=when)
    floor.open(client=client)
    view = floor.ended(job_id)
    assert (view.state, view.attempts) == ("done", 0)
    assert (client.failed["start"], client.tried["start"]) == (2, 3)
    assert floor.actor.attempts == {"suspect": [1]}
    lost.close()


def test_one_lease_that_can_not_be_ended_does_not_hold_up_the_others(floor: Floor, client: FaultyClient) -> None:
    """Redis may refuse what one of them says; the ends of all others go on."""
    shop = floor.prepare(client=client)
    settler = shop.broker.tools.settler
    real = shop.broker.tools.leases.settle

    def refuse_one(queue: str, settlements: Any) -> list[bool]:
        if len(settlements) > 1 and any(one.detail.get("code") == Code.BATCH_EMPTY for one in settlements):
            raise redis.ResponseError("ERR of this one")
        return real(queue, settlements)

    settler._leases.settle = refuse_one  # type: ignore[method-assign]
    names = [f"j{number}" for number in range(6)]
    gate = Gate(Dead(Code.BATCH_EMPTY, "told"))
    for name in names:
        floor.actor.behaviours[name] = lambda _: Dead(Code.BATCH_EMPTY, "told")
    ids = [floor.put(name) for name in names] + [floor.put("last", gate)]
    shop.limits.start()
    shop.worker.start()
    gate.go_on.set()
    assert {floor.ended(job_id).state for job_id in ids} == {"dead"}


def test_a_lease_whose_answer_never_comes_is_given_back(floor: Floor, client: FaultyClient) -> None:
    """Redis thinks that this process holds jobs which it never got to know of."""
    shop = floor.prepare(client=client)
    leases = shop.broker.tools.leases
    put = [floor.put(f"j{number}") for number in range(3)]
    shop.broker.pulse.serve(QUEUE)
    # The request is never repeated: its consumer died with its thread.
    client.fail("lease", when="after")
    with pytest.raises(redis.ConnectionError):
        leases.lease(QUEUE, 3, leases.next_request(QUEUE))
    assert floor.counts() == {"accepted": 3, "leased": 3}
    wait_for(lambda: floor.counts() == {"accepted": 3, "ready": 3}, "the strays to be given back")
    ready = floor.client.lrange(floor.keys.key("ready:acme"), 0, -1)
    assert [one.decode() for one in ready] == list(map(str, put)), "in their order"
    view = floor.view(put[0])
    assert (view.attempts, view.recoveries) == (0, 0)


def test_what_is_just_on_its_way_is_no_stray(floor: Floor, client: FaultyClient) -> None:
    gate = Gate()
    shop = floor.open(client=client, threads=1)
    job_id = floor.put("slow", gate)
    gate.wait()
    ticks = client.tried["tick"]
    wait_for(lambda: client.tried["tick"] >= ticks + 3, "some pulses")
    assert floor.held_by_redis(shop) == 1
    gate.go_on.set()
    assert floor.ended(job_id).state == "done"
    assert floor.actor.attempts == {"slow": [1]}


@each_error
def test_the_pulse_outlives_an_outage(floor: Floor, client: FaultyClient, error: Callable[[], Exception]) -> None:
    gate = Gate()
    shop = floor.open(client=client, leases=LeasePolicy(lease=timedelta(seconds=3)))
    job_id = floor.put("slow", gate)
    gate.wait()
    client.fail("tick", 2, error=error)
    wait_for(lambda: client.failed["tick"] == 2, "the outage")
    expiry = floor.client.zscore(floor.keys.key("workers"), shop.broker.tools.leases.boot)
    wait_for(
        lambda: floor.client.zscore(floor.keys.key("workers"), shop.broker.tools.leases.boot) > expiry,
        "the next pulse",
        seconds=20,
    )
    gate.go_on.set()
    assert floor.ended(job_id).state == "done"
    assert floor.actor.attempts == {"slow": [1]}


def test_a_long_job_keeps_its_lease(floor: Floor) -> None:
    """It runs for longer than its lease lasts, with another worker there who would recover it."""
    gate = Gate()
    policy = LeasePolicy(lease=timedelta(seconds=4))
    floor.open(leases=policy, threads=1)
    job_id = floor.put("slow", gate)
    gate.wait()
    other = floor.open(leases=policy, threads=1)
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 5, "more than a lease")
    assert floor.view(job_id).state == JobState.LEASED
    gate.go_on.set()
    assert floor.ended(job_id).state == "done"
    assert floor.actor.attempts == {"slow": [1]}
    assert other.stop() == 0


def test_a_lease_that_was_lost_ends_nothing_and_the_effect_is_there_once(floor: Floor) -> None:
    """The worker is thought dead while it works; another one does the job, and the first one's word counts no more."""
    gates = [Gate(Retry(Code.STORAGE_REFUSED, "of the first")), Gate()]
    turns = iter(gates)

    def behave(job: Job) -> Outcome:
        return next(turns, lambda _: Done())(job)

    first = floor.open(threads=1)
    job_id = floor.put("twice", behave)
    gates[0].wait()
    # It stands still: neither its pulse nor its consumer is heard of.
    first.broker.pulse.stop()
    first.broker.pulse.join(10)
    first.broker.tools.stopping.set()
    first.worker.consumers[QUEUE].stop()
    first.worker.consumers[QUEUE].join(10)
    floor.client.zadd(floor.keys.key("workers"), {first.broker.tools.leases.boot: 1})
    floor.open(threads=1)
    gates[1].wait()
    assert floor.view(job_id).recoveries == 1
    gates[0].go_on.set()
    wait_for(lambda: not first.broker.tools.held.all_jobs(), "the first one's end")
    assert floor.view(job_id).state == "leased"
    gates[1].go_on.set()
    view = floor.ended(job_id)
    assert (view.state, view.attempts) == ("done", 0)
    assert floor.counts() == {"accepted": 1, "done": 1}


def test_a_queue_of_a_later_release_is_left_alone_by_a_running_worker(
    floor: Floor, caplog: pytest.LogCaptureFixture
) -> None:
    floor.open()
    floor.ended(floor.put("before"))
    floor.client.hset(floor.keys.key("meta"), "layout", 99)
    wait_for(lambda: "QUEUE_LAYOUT_NEWER" in str([vars(line) for line in caplog.records]), "the refusal")
    floor.client.hset(floor.keys.key("meta"), "layout", 1)
    assert floor.ended(floor.put("after")).state == "done"


def test_idle_workers_sleep(floor: Floor, client: FaultyClient) -> None:
    """At most two calls a second for each queue and process: a pulse, and a lease at the end of each long wait."""
    waits: list[float] = []
    real = connect(floor.settings.redis_url, replays=0)

    class Waiting:
        def blpop(self, *arguments: Any, **options: Any) -> Any:
            waits.append(time.monotonic())
            return real.blpop(*arguments, **options)

        def close(self) -> None:
            real.close()

    shop = floor.prepare(client=client, policy=Policy())
    shop.broker._waiting = Waiting()  # type: ignore[assignment]
    shop.worker = dramatiq.Worker(shop.broker, worker_threads=2, worker_timeout=3_000)
    shop.worker.start()
    wait_for(lambda: len(waits) >= 1, "the first sleep")
    began, before = time.monotonic(), client.tried.total() + len(waits)
    wait_for(lambda: time.monotonic() - began >= 4, "four seconds", seconds=10)
    seconds = time.monotonic() - began
    assert client.tried.total() + len(waits) - before <= 2 * seconds + 2
    job_id = floor.put("awake")
    assert floor.ended(job_id).state == "done"
